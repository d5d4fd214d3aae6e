"""What a call's state, sound and length are after a verb that was cut short, or that ended with the call."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_app import World, running
from fake_calls import breathe
from office import Office, until, waits

from voxtra import CallSession, CallState
from voxtra.ari import ChannelHangupRequest
from voxtra.ari.events import ChannelHold, ChannelUnhold, ChannelVarset
from voxtra.ari.models import Variable
from voxtra.errors import ARINotFoundError, ARINotInStasisError, ARIServerError, CallEndedError, SessionError

Patch = pytest.MonkeyPatch
REFUSED = ARIServerError("POST", "/there", 500, "Allocation failed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.3)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.02)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.05)


async def on_the_line(world: World) -> CallSession:
    call = world.call()
    await call.open_line()
    await until(lambda: not world.transport.lines[0].paused)
    return call


def far_end(world: World, *, holds: bool) -> None:
    kind = ChannelHold if holds else ChannelUnhold
    world.ari.tell(kind(channel=world.ari.channels_there["caller"]))


# ---- the state


@pytest.mark.parametrize("verb", ["queue", "transfer", "refer"])
async def test_a_verb_that_ends_after_the_call_leaves_its_state(monkeypatch: Patch, verb: str) -> None:
    request = {"queue": "continue_in_dialplan", "transfer": "ring", "refer": "redirect"}[verb]
    seen: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        try:
            if verb == "queue":
                await call.transfer_to_queue("support")
            else:
                await call.transfer_to({"transfer": "PJSIP/bob", "refer": "sip:bob@example.com"}[verb])
        finally:
            seen.append((call.state, call.duration >= 0))

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.get_channel_var"] = Variable(value="INVITE, REFER")
        world.ari.answers["channels.originate_with_id"] = lambda **_: None
        gate = world.ari.gates[f"channels.{request}"] = asyncio.Event()
        world.call()
        await until(lambda: f"channels.{request}" in world.ari.names())
        world.ari.answers[f"channels.{request}"] = ARINotFoundError("POST", "/x", 404, "Channel not found")
        world.ari.hang_up("caller")
        await until(lambda: "call.ended" in world.types())
        await breathe()
        gate.set()
        await world.over()
    assert seen == [(CallState.COMPLETED, True)]


@pytest.mark.parametrize("before", [True, False])
async def test_the_far_ends_hold_changes_while_it_is_transferred(monkeypatch: Patch, before: bool) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = world.call()
        await call.answer()
        if before:
            far_end(world, holds=True)
        transfer = asyncio.ensure_future(call.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        far_end(world, holds=not before)
        office.refuse(bob)
        assert (await transfer).reason == "busy"
        assert call.state is (CallState.IN_PROGRESS if before else CallState.ON_HOLD)
        world.ari.hang_up("caller")
        await world.over()


async def test_the_far_ends_hold_stays_when_ours_ends(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        call = world.call()
        await call.answer()
        await call.hold()
        far_end(world, holds=True)
        await call.unhold()
        assert call.state is CallState.ON_HOLD
        far_end(world, holds=False)
        assert call.state is CallState.IN_PROGRESS
        world.ari.hang_up("caller")
        await world.over()


async def test_an_agent_who_took_the_call_and_hung_up_at_once(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        call = world.call()

        def away(channel_id: str, **_: Any) -> bool:
            channel = world.ari.channels_there[channel_id]
            world.ari.tell(ChannelVarset(channel=channel, variable="BRIDGEPEER", value="PJSIP/agent-1"))
            asyncio.get_running_loop().call_soon(world.ari.hang_up, "caller")
            return True

        world.ari.answers["channels.continue_in_dialplan"] = away
        result = await call.transfer_to_queue("support")
        assert (result.reason, result.detail) == ("completed", "PJSIP/agent-1")
        await world.over()
    assert call.state is CallState.COMPLETED


async def test_who_asks_something_of_a_call_in_a_queue_has_not_lost_it(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        call = world.call()
        world.ari.answers["channels.continue_in_dialplan"] = True
        world.ari.answers["channels.play_with_id"] = ARINotInStasisError(
            "POST", "/x", 409, "Channel not in Stasis application"
        )
        queueing = asyncio.ensure_future(call.transfer_to_queue("support"))
        await until(lambda: call._leg.away is not None)
        await breathe()
        with pytest.raises(CallEndedError, match="in the dialplan") as caught:
            await call._leg.do(lambda: world.ari.channels.play_with_id())  # type: ignore[attr-defined]
        assert caught.value.reason == "left"
        await call.hangup()
        assert (await queueing).reason == "hangup"
        assert call.end is not None
        assert call.end.reason == "local"
        await world.over()


# ---- hold


async def test_a_hold_cut_off_while_its_music_begins(monkeypatch: Patch) -> None:
    """Asterisk begins it all the same: it would be all that the far end hears."""
    async with running(monkeypatch, waits) as world:
        call = await on_the_line(world)
        world.ari.gates["channels.start_moh"] = asyncio.Event()
        holding = asyncio.ensure_future(call.hold())
        await until(lambda: "channels.start_moh" in world.ari.names())
        holding.cancel()
        await asyncio.wait({holding})
        assert holding.cancelled()
        await breathe()
        assert [name for name in world.ari.names() if name in ("channels.stop_moh", "channels.unhold")] == [
            "channels.stop_moh",
            "channels.unhold",
        ]
        assert call.state is CallState.IN_PROGRESS
        assert not world.transport.lines[0].paused
        world.ari.hang_up("caller")
        await world.over()


async def test_an_unhold_cut_off_on_the_way_back(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        call = await on_the_line(world)
        await call.hold()
        gate = world.ari.gates["bridges.add_channel"] = asyncio.Event()
        unholding = asyncio.ensure_future(call.unhold())
        await until(lambda: world.ari.names()[-1] == "bridges.add_channel")
        unholding.cancel()
        await asyncio.wait({unholding})
        gate.set()
        assert call.state is CallState.IN_PROGRESS
        await until(lambda: not world.transport.lines[0].paused)
        assert world.types().count("call.resumed") == 1
        world.ari.hang_up("caller")
        await world.over()


# ---- transfers


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_a_refer_that_can_not_be_asked_for_leaves_the_caller_on_the_line(
    monkeypatch: Patch, how: str
) -> None:
    async with running(monkeypatch, waits) as world:
        call = await on_the_line(world)
        world.ari.answers["channels.get_channel_var"] = Variable(value="INVITE, REFER")
        world.ari.gates["channels.redirect"] = asyncio.Event()
        transfer = asyncio.ensure_future(call.transfer_to("sip:bob@example.com"))
        await until(lambda: "channels.redirect" in world.ari.names())
        if how == "cancelled":
            transfer.cancel()
        else:
            world.ari.answers["channels.redirect"] = REFUSED
            world.ari.gates["channels.redirect"].set()
        await asyncio.wait({transfer})
        assert transfer.cancelled() or transfer.exception() is REFUSED
        await until(lambda: not world.transport.lines[0].paused)
        assert call.state is CallState.IN_PROGRESS
        world.ari.hang_up("caller")
        await world.over()


@pytest.mark.parametrize("verb", ["transfer_to", "transfer_warm"])
async def test_a_transfer_cut_off_says_so_though_the_way_back_fails(monkeypatch: Patch, verb: str) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = await on_the_line(world)
        transfer = asyncio.ensure_future(getattr(call, verb)("PJSIP/bob"))
        await office.ringing()
        world.ari.answers["bridges.add_channel"] = world.ari.answers["channels.stop_moh"] = REFUSED
        transfer.cancel()
        await asyncio.wait({transfer})
        assert transfer.cancelled()
        world.ari.answers.clear()
        world.ari.hang_up("caller")
        await world.over()


# ---- listening in


async def test_who_listens_in_hangs_up_before_it_begins(monkeypatch: Patch) -> None:
    failed: list[str] = []

    async with running(monkeypatch, waits) as world:
        call, listener = world.call(), world.call("listener")

        async def listen() -> None:
            try:
                await listener.listen_in(call)
            except CallEndedError as error:
                failed.append(error.reason)

        listening = asyncio.ensure_future(listen())
        await until(lambda: "channels.snoop_channel_with_id" in world.ari.names())
        world.ari.hang_up("listener")
        async with asyncio.timeout(1):
            await listening
        with pytest.raises(SessionError, match="itself"):
            await call.listen_in(call)
        world.ari.hang_up("caller")
        await world.over()
    assert failed == ["hangup"]


# ---- the end


async def test_a_call_is_as_long_as_it_lived(monkeypatch: Patch) -> None:
    """Not until all is cleared up: Asterisk may take its time."""
    async with running(monkeypatch, waits) as world:
        call = await on_the_line(world)
        gate = world.ari.gates["channels.hangup"] = asyncio.Event()
        world.ari.hang_up("caller")
        await breathe(5)
        duration = call.duration
        await asyncio.sleep(0.05)
        assert call.duration == duration
        gate.set()
        await world.over()
    (ended,) = [event for event in world.events if str(event.type) == "call.ended"]
    assert ended.duration_seconds == round(duration, 3)  # type: ignore[attr-defined]


async def test_an_answer_that_is_told_after_the_end_is_none(monkeypatch: Patch) -> None:
    """Requests and events come by different ways."""
    raised: list[str] = []

    async def handler(call: CallSession) -> None:
        try:
            await call.answer()
        except CallEndedError as error:
            raised.append(error.reason)

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.answer"] = lambda **_: True
        gate = world.ari.gates["channels.answer"] = asyncio.Event()
        call = world.call()
        await until(lambda: "channels.answer" in world.ari.names())
        world.ari.hang_up("caller")
        await until(lambda: "call.ended" in world.types())
        gate.set()
        await world.over()
    assert raised == ["hangup"]
    assert call.state is CallState.COMPLETED
    assert call.duration == 0
    assert "call.answered" not in world.types()


@pytest.mark.parametrize("where", ["on hold", "held by the far end", "in a bridge"])
async def test_what_nobody_hears_is_not_waited_for_at_the_hang_up(monkeypatch: Patch, where: str) -> None:
    async with running(monkeypatch, waits) as world:
        call = await on_the_line(world)
        other = world.call("other")
        await call.send_audio_bytes(bytes(8000 * 60))
        if where == "on hold":
            await call.hold()
        elif where == "in a bridge":
            await call.bridge_with(other)
        else:
            far_end(world, holds=True)
        async with asyncio.timeout(0.5):
            await call.hangup()
        world.ari.hang_up("other")
        await world.over()


async def test_a_callback_that_comes_after_the_end_is_called_all_the_same(monkeypatch: Patch) -> None:
    """The far end hung up while the handler looked something up: what it begins then is cleared up, too."""
    ended: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_hangup
        async def first() -> None:
            ended.append("first")

        await until(lambda: "call.ended" in world.types() and ended)

        @call.on_hangup
        async def late() -> None:
            await asyncio.sleep(0.01)
            ended.append("late")

    async with running(monkeypatch, handler) as world:
        world.call()
        await breathe()
        world.ari.hang_up("caller")
        await world.over()
        await until(lambda: len(ended) == 2)
        await asyncio.sleep(0.02)
    assert ended == ["first", "late"]


@pytest.mark.parametrize("late_s", [0.0, 0.1], ids=["while the cause is waited for", "while it is told"])
async def test_a_stop_by_force_as_the_call_ends(monkeypatch: Patch, late_s: float) -> None:
    ended: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_hangup
        async def slow() -> None:
            await asyncio.sleep(0.2)

        @call.on_hangup
        async def note() -> None:
            ended.append("on_hangup")

        await waits(call)

    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.05)
    async with running(monkeypatch, handler) as world:
        call = world.call()
        await until(lambda: len(call._on_hangup) == 2)
        await call.answer()
        world.ari.tell(ChannelHangupRequest(channel=world.ari.channels_there["caller"]))
        await breathe(5)
        await asyncio.sleep(late_s)
        (task,) = world.app._exchange._running
        task.cancel()
        await world.over()
        del world.ari.channels_there["caller"]
    assert ended == ["on_hangup"]
    assert world.types().count("call.ended") == 1
