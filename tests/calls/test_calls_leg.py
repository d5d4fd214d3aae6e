from __future__ import annotations

import asyncio

import pytest
from fake_calls import FakeAri, breathe

from voxtra.ari import Channel, ChannelHangupRequest, StasisEnd
from voxtra.calls.leg import Leg
from voxtra.calls.switchboard import Switchboard
from voxtra.errors import (
    ARIConflictError,
    ARIConnectionLostError,
    ARINotInStasisError,
    ARIServerError,
    CallEndedError,
    ConfigurationError,
)


async def test_answer_once(ari: FakeAri, leg: Leg) -> None:
    assert leg.entered.done()
    assert not leg.up.is_set()
    await leg.answer()
    await leg.answer()
    assert ari.names() == ["channels.answer"]
    assert leg.channel.state == "Up"


async def test_the_far_end_hangs_up(ari: FakeAri, leg: Leg) -> None:
    ari.hang_up("caller", 17)
    end = await leg.cause_known()
    assert (end.reason, end.cause, end.text) == ("hangup", 17, "Normal Clearing")
    with pytest.raises(CallEndedError, match="caller is over"):
        leg.check()
    with pytest.raises(CallEndedError):
        await leg.answer()
    await leg.hangup()  # as good
    assert "channels.hangup" not in ari.names()


async def test_we_hang_up(ari: FakeAri, leg: Leg) -> None:
    await leg.hangup("busy")
    assert ari.asked_for("channels.hangup") == [{"channel_id": "caller", "reason": "busy"}]
    assert (await leg.cause_known()).reason == "local"


async def test_gone_before_we_hung_up_is_the_far_ends_doing(ari: FakeAri, leg: Leg) -> None:
    del ari.channels_there["caller"]  # its events are still on their way
    await leg.hangup()
    assert leg.ended.result().reason == "hangup"


async def test_a_call_that_asterisk_says_is_over_was_not_ended_by_us(ari: FakeAri, leg: Leg) -> None:
    ari.answers["channels.answer"] = ARINotInStasisError(
        "POST", "/channels/caller/answer", 409, "not in Stasis"
    )
    with pytest.raises(CallEndedError):
        await leg.answer()
    await leg.hangup()  # Asterisk takes it still, while the far end's hang-up is on its way
    assert (await leg.cause_known()).reason == "hangup"


async def test_what_a_reconnect_tells_of_a_channel(ari: FakeAri, switchboard: Switchboard, leg: Leg) -> None:
    ours = Leg(ari, switchboard, "vx-call-1")  # type: ignore[arg-type]
    ari.deaf = True
    ari.arrive("vx-call-1", state="Up")
    ari.channels_there["caller"].state = "Up"
    assert not ours.entered.done()
    ari.resync()
    assert ours.entered.done()
    assert ours.up.is_set()
    assert leg.up.is_set()
    ours.close()


@pytest.mark.parametrize("app_data", ["", "other"])
async def test_a_reconnect_tells_that_it_went_elsewhere(ari: FakeAri, leg: Leg, app_data: str) -> None:
    ari.channels_there["caller"].dialplan.app_name = "Stasis" if app_data else "Queue"
    ari.channels_there["caller"].dialplan.app_data = app_data
    ari.resync()
    assert leg.ended.result().reason == "left"


async def test_a_reconnect_during_an_errand_in_the_dialplan_is_no_end(ari: FakeAri, leg: Leg) -> None:
    async def departure() -> None:
        ari.channels_there["caller"].dialplan.app_name = "Queue"
        ari.tell(StasisEnd(channel=ari.channels_there["caller"]))

    away = await leg.excursion(departure)
    ari.resync()
    assert not leg.is_over
    assert not away.returned.done()
    ari.channels_there["caller"].dialplan.app_name = "Stasis"
    ari.resync()  # it came back while the connection was down
    assert away.returned.done()
    assert leg.away is None


async def test_a_reconnect_while_it_rings_is_no_end(ari: FakeAri, switchboard: Switchboard) -> None:
    ours = Leg(ari, switchboard, "vx-call-1")  # type: ignore[arg-type]
    ari.deaf = True
    ari.arrive("vx-call-1").dialplan.app_name = "AppDial2"
    ari.deaf = False
    ari.resync()
    assert not ours.is_over
    ours.close()


async def test_a_hang_up_reason_that_is_none(leg: Leg) -> None:
    with pytest.raises(ConfigurationError, match="'angry': one of normal, busy"):
        await leg.hangup("angry")  # type: ignore[arg-type]
    assert not leg.is_over


async def test_a_hang_up_that_asterisk_is_asked_for(ari: FakeAri, leg: Leg) -> None:
    channel = ari.channels_there["caller"]
    ari.tell(ChannelHangupRequest(channel=channel, soft=True, cause=32))  # "channel request hangup"
    assert not leg.is_over
    ari.tell(StasisEnd(channel=channel))
    assert leg.ended.result().reason == "hangup"


async def test_taken_by_somebody_else(ari: FakeAri, leg: Leg, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.02)
    ari.tell(
        StasisEnd(channel=ari.channels_there["caller"])
    )  # "channel redirect", or another client's continue
    assert (await leg.cause_known()).reason == "left"
    with pytest.raises(CallEndedError, match="left") as caught:
        leg.check()
    assert caught.value.reason == "left"


async def test_an_end_that_nobody_asked_for(ari: FakeAri, leg: Leg) -> None:
    waiting = asyncio.ensure_future(leg.cause_known())
    ari.gone("caller", 0)  # TIMEOUT(absolute)
    assert (await waiting).reason == "hangup"


@pytest.mark.parametrize(
    "error", [ARINotInStasisError("POST", "/x", 409, "Channel not in Stasis application")]
)
async def test_a_refusal_that_means_the_end(ari: FakeAri, leg: Leg, error: Exception) -> None:
    ari.answers["channels.answer"] = error
    with pytest.raises(CallEndedError, match="not in Stasis"):
        await leg.answer()
    assert not leg.up.is_set()


async def test_a_conflict_is_the_end_only_when_it_is(ari: FakeAri, leg: Leg) -> None:
    conflict = ARIConflictError("POST", "/x", 409, "busy")
    ari.answers["channels.answer"] = conflict
    with pytest.raises(ARIConflictError):
        await leg.answer()

    def hung_up_meanwhile(**_: object) -> Exception:
        ari.hang_up("caller")
        return conflict

    ari.answers["channels.answer"] = hung_up_meanwhile
    with pytest.raises(CallEndedError):
        await leg.answer()


async def test_other_refusals_come_out(ari: FakeAri, leg: Leg) -> None:
    for error in (ARIServerError("POST", "/x", 500), ARIConnectionLostError("POST", "/x")):
        ari.answers["channels.answer"] = error
        with pytest.raises(type(error)):
            await leg.answer()
    ari.answers.clear()
    await leg.answer()
    assert leg.up.is_set()


async def test_the_connection_breaks_during_a_hang_up(ari: FakeAri, leg: Leg) -> None:
    ari.answers["channels.hangup"] = ARIConnectionLostError("DELETE", "/x")
    with pytest.raises(ARIConnectionLostError):
        await leg.hangup()
    assert not leg.is_over
    del ari.channels_there["caller"]
    ari.resync()
    assert leg.ended.result().reason == "lost"


async def test_leaving_is_no_hang_up(ari: FakeAri, leg: Leg) -> None:
    await leg.leave(lambda: ari.channels.continue_in_dialplan(channel_id="caller"))  # type: ignore[attr-defined]
    assert leg.ended.result().reason == "left"
    assert (await leg.cause_known()).cause == 0


async def test_a_departure_that_failed_is_none(ari: FakeAri, leg: Leg) -> None:
    ari.answers["channels.continue_in_dialplan"] = ARIServerError("POST", "/x", 500)
    with pytest.raises(ARIServerError):
        await leg.leave(lambda: ari.channels.continue_in_dialplan(channel_id="caller"))  # type: ignore[attr-defined]
    ari.hang_up("caller")
    assert leg.ended.result().reason == "hangup"


async def test_the_end_of_another_channel_is_not_ours(ari: FakeAri, leg: Leg) -> None:
    leg._take(StasisEnd(channel=Channel(id="replaced")))
    assert not leg.is_over


async def test_the_cause_is_waited_for_but_not_for_ever(
    ari: FakeAri, leg: Leg, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.02)
    waiting = asyncio.ensure_future(leg.cause_known())
    ari.tell(ChannelHangupRequest(channel=ari.channels_there["caller"]))
    assert (await waiting).reason == "hangup"


async def test_a_cause_that_comes_later_is_added(ari: FakeAri, leg: Leg) -> None:
    ari.tell(ChannelHangupRequest(channel=ari.channels_there["caller"]))
    ari.tell(StasisEnd(channel=ari.channels_there["caller"]))
    assert leg.ended.result().cause == 0
    ari.gone("caller", 19)
    assert leg.ended.result().cause == 19


async def test_a_leg_asked_for_that_never_came_is_not_lost_by_a_reconnect(
    ari: FakeAri, switchboard: Switchboard
) -> None:
    leg = Leg(ari, switchboard, "vx-call-1")  # type: ignore[arg-type]
    ari.resync()
    assert not leg.is_over
    leg.close()


async def test_listeners_hear_until_it_is_closed(ari: FakeAri, leg: Leg) -> None:
    heard: list[str] = []
    leg.on_event(lambda event: heard.append(event.type))
    ari.press("caller", "1")
    leg.close()
    ari.press("caller", "2")
    await breathe()
    assert heard == ["ChannelDtmfReceived"]
