from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from fake_calls import FakeAri, FakeTransport, breathe

from voxtra.ari import Channel, ChannelDestroyed
from voxtra.calls.leg import Leg
from voxtra.calls.media import CallMedia
from voxtra.calls.switchboard import Switchboard
from voxtra.errors import ARIConnectionLostError, ARIServerError, CallEndedError, MediaError
from voxtra.media.interlock import Interlock
from voxtra.media.line import Offer
from voxtra.media.turnstile import Turnstile

STEPS = [
    "channels.external_media",
    "bridges.create_with_id",
    "bridges.add_channel",
]


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def opening(ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, leg: Leg) -> Any:
    return lambda: CallMedia.open(ari, switchboard, transport, leg)  # type: ignore[arg-type]


def left(ari: FakeAri, switchboard: Switchboard) -> set[str]:
    """What is still there of ours."""
    return {*ari.channels_there, *ari.bridges_there, *switchboard._mailboxes} - {"caller", "channel:caller"}


async def test_open_join_close(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any
) -> None:
    media = await opening()
    assert ari.names() == STEPS
    assert ari.asked_for("channels.external_media")[0]["format"] == "ulaw"
    assert media.line.paused, "what is played before the call is in the bridge would be lost"
    await asyncio.gather(media.join(), media.join())
    assert len(ari.asked_for("bridges.add_channel")) == 2
    assert not media.line.paused
    await media.close()
    await media.close()
    assert left(ari, switchboard) == set()
    assert transport.lines[0].closed.done()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [ARIServerError("POST", "/x", 500), ARIConnectionLostError("POST", "/x")])
async def test_a_step_that_fails_leaves_nothing(
    ari: FakeAri,
    switchboard: Switchboard,
    transport: FakeTransport,
    opening: Any,
    step: str,
    error: Exception,
) -> None:
    ari.answers[step] = error
    with pytest.raises(type(error)):
        await opening()
    await breathe()
    assert left(ari, switchboard) == set()
    assert all(line.closed.done() for line in transport.lines)
    assert transport.lines or all(offer.cancelled for offer in transport.offers)


@pytest.mark.proves("failure 4")
@pytest.mark.parametrize("step", STEPS)
async def test_cut_off_at_any_step_it_leaves_nothing(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any, step: str
) -> None:
    """Asterisk carries out the request that we no longer wait for."""
    known = getattr(ari, "_" + step.replace(".", "_"))
    ari.gates[step] = gate = asyncio.Event()
    done: list[object] = []
    task = asyncio.ensure_future(opening())
    await breathe()
    assert ari.names()[-1] == step
    known(**ari.asked[-1][1])
    done.append(step)
    task.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await breathe()
    assert left(ari, switchboard) == set()


async def test_the_line_does_not_come_about(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any
) -> None:
    transport.error = MediaError("nobody came")
    with pytest.raises(MediaError, match="nobody came"):
        await opening()
    await breathe()
    assert left(ari, switchboard) == set()


@pytest.mark.proves("failure 3")
async def test_the_media_channel_does_not_reach_the_application(
    ari: FakeAri, switchboard: Switchboard, opening: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.calls.media.OPEN_S", 0.02)
    from voxtra.ari import Channel

    ari.answers["channels.external_media"] = lambda **_: Channel(id="mute")
    with pytest.raises(MediaError, match=r"did not reach the application within 0\.02 s"):
        await opening()

    def dies(channel_id: str, **_: Any) -> Channel:
        channel = ari.channels_there[channel_id] = Channel(id=channel_id, name="WebSocket/x")
        ari.gone(channel_id)
        return channel

    ari.answers["channels.external_media"] = dies
    ari.ready = False
    with pytest.raises(MediaError, match="closed the media channel"):
        await opening()
    assert "wait_ready" in ari.names()
    await breathe()
    assert left(ari, switchboard) == set()


async def test_the_caller_is_gone_when_it_would_be_joined(
    ari: FakeAri, switchboard: Switchboard, opening: Any
) -> None:
    media = await opening()
    del ari.channels_there["caller"]
    with pytest.raises(CallEndedError):
        await media.join()
    assert not media.joined
    await media.close()
    assert left(ari, switchboard) == set()


async def test_the_connection_breaks_while_it_is_joined(
    ari: FakeAri, switchboard: Switchboard, opening: Any
) -> None:
    media = await opening()
    ari.answers["bridges.add_channel"] = ARIConnectionLostError("POST", "/x")
    with pytest.raises(ARIConnectionLostError):
        await media.join()
    assert media.line.paused
    ari.answers.clear()
    await media.join()
    assert not media.line.paused
    ari.answers["channels.hangup"] = ARIConnectionLostError("DELETE", "/x")
    await media.close()  # never fails; the next connection finds what is left
    ari.answers.clear()
    ari.resync()
    await breathe()
    assert left(ari, switchboard) == set()


async def test_no_line_to_be_had_leaves_no_mailbox(ari: FakeAri, switchboard: Switchboard, leg: Leg) -> None:
    """All ports are taken: that may last, and every call tries."""

    class Full(FakeTransport):
        def offer(self) -> Offer:
            raise MediaError("no free RTP port")

    before = dict(switchboard._mailboxes)
    with pytest.raises(MediaError, match="port"):
        await CallMedia.open(ari, switchboard, Full(), leg)  # type: ignore[arg-type]
    assert switchboard._mailboxes == before


async def test_no_socket_connects_while_another_channel_goes(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any, tmp_path: Path
) -> None:
    """chan_websocket would lock its list for good: Asterisk had to be restarted."""
    transport.turnstile = Turnstile(Interlock("asterisk", tmp_path))
    first = await opening()
    ari.deaf = True
    closing = asyncio.ensure_future(first.close())
    second = asyncio.ensure_future(opening())
    await breathe(40)
    assert len(ari.asked_for("channels.external_media")) == 2, "both may be made and ended at once"
    assert ari.asked_for("channels.hangup")
    assert len(transport.lines) == 1, "that it is gone is not told yet"
    ari.deaf = False
    ari.tell(ChannelDestroyed(channel=Channel(id=first._source.leg.id), cause=16, cause_txt=""))
    ari.resync()
    await asyncio.gather(closing, second)
    assert len(transport.lines) == 2
    await second.result().close()
    assert left(ari, switchboard) == set()


async def test_what_was_asked_for_as_the_connection_broke_is_hung_up_later(
    ari: FakeAri, switchboard: Switchboard, opening: Any
) -> None:
    """It may be there, in no application yet: no reconciliation would find it."""

    def breaks(**_: Any) -> Exception:
        ari.ready = False
        return ARIConnectionLostError("POST", "/channels/externalMedia")

    ari.answers["channels.external_media"] = breaks
    ari.gates["wait_ready"] = asyncio.Event()
    with pytest.raises(ARIConnectionLostError):
        await opening()
    await breathe(40)
    assert not ari.asked_for("channels.hangup")
    ari.ready = True
    ari.gates["wait_ready"].set()
    await breathe(40)
    (asked,) = ari.asked_for("channels.external_media")
    assert [each["channel_id"] for each in ari.asked_for("channels.hangup")] == [asked["channel_id"]]
    assert left(ari, switchboard) == set()
