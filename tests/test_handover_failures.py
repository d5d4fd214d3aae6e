"""What goes wrong while a call is handed over: nobody is left on a leg that no call owns, nobody in silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_app import running
from fake_calls import breathe, missing
from office import Office, progress, refer, until

from voxtra import CallSession, CallState
from voxtra.ari import Channel
from voxtra.ari.events import ChannelHold, ChannelStateChange, ChannelUnhold
from voxtra.errors import ARIServerError, CallEndedError, OriginateError
from voxtra.testing.fake_speech import FakeTTS

Patch = pytest.MonkeyPatch
REFUSED = ARIServerError("POST", "/there", 500, "Allocation failed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.05)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.02)
    monkeypatch.setattr("voxtra.live.CALLBACK_S", 0.3)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.1)  # shorter than that, as in earnest


async def test_a_caller_who_holds_while_it_rings_is_back_after_a_transfer_that_fails(
    monkeypatch: Patch,
) -> None:
    results: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        line = await call.open_line()
        results.append(await call.transfer_to("PJSIP/bob"))
        results.append((call.state, line.paused, call._live._away))

    async with running(monkeypatch, handler, tts=FakeTTS()) as world:
        office = Office(world)
        world.call()
        ringing = await office.ringing()
        channel = world.ari.channels_there["caller"]
        world.ari.tell(ChannelHold(channel=channel))
        world.ari.tell(ChannelUnhold(channel=channel))
        assert world.transport.lines[0].paused, "what is played now is heard by nobody"
        office.refuse(ringing)
        await world.over()
    assert results[0].reason == "busy"
    assert results[1] == (CallState.IN_PROGRESS, False, False)


@pytest.mark.parametrize("how", ["the room", "cancelled"])
async def test_who_picked_up_is_hung_up_where_the_two_do_not_get_together(
    monkeypatch: Patch, how: str
) -> None:
    failed: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        try:
            async with asyncio.timeout(0.05):
                await call.transfer_to("PJSIP/bob")
        except (TimeoutError, ARIServerError) as error:
            failed.append(type(error).__name__)
        await call.listen_dtmf()

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        if how == "the room":
            world.ari.answers["bridges.create_with_id"] = REFUSED
        else:
            world.ari.gates["channels.ring_stop"] = asyncio.Event()
        world.call()
        office.pick_up(await office.ringing())
        await until(lambda: failed)
        await until(lambda: list(world.ari.channels_there) == ["caller"])
        world.ari.gates.clear()
        world.ari.hang_up("caller")
        await world.over()


@pytest.mark.parametrize("flaw", ["the brief fails", "cancelled", "the bridge"])
async def test_a_colleague_is_not_left_in_a_warm_transfer_that_breaks_off(
    monkeypatch: Patch, flaw: str
) -> None:
    seen: list[str] = []

    async def brief(agent: CallSession) -> None:
        if flaw == "the brief fails":
            raise ValueError("the user's own")
        if flaw == "cancelled":
            await asyncio.sleep(60)

    async def handler(call: CallSession) -> None:
        await call.answer()
        try:
            async with asyncio.timeout(0.1):
                await call.transfer_warm("PJSIP/bob", brief=brief, accept=None)
        except (ValueError, TimeoutError, ARIServerError) as error:
            seen.append(type(error).__name__)
        await until(lambda: len(world.app.active_sessions) == 1)
        seen.append(str(call.state))

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        world.call()
        ringing = await office.ringing()
        if flaw == "the bridge":
            world.ari.answers["bridges.create_with_id"] = REFUSED
        office.pick_up(ringing)
        await world.over()
    assert seen == [
        {"the brief fails": "ValueError", "cancelled": "TimeoutError", "the bridge": "ARIServerError"}[flaw],
        "in_progress",
    ]


async def test_a_call_placed_and_hung_up_at_once_rings_nowhere(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        Office(world)

        def hang_up(channel_id: str, **_: Any) -> None:  # Asterisk takes requests in the order they come
            if channel_id not in world.ari.channels_there:
                raise missing(f"/channels/{channel_id}")
            world.ari.gone(channel_id)

        world.ari.answers["channels.hangup"] = hang_up
        call = await world.app.originate("PJSIP/bob", wait=False)
        await call.hangup()
        with pytest.raises(OriginateError):
            await call.answered()
        await breathe(40)
        assert not [name for name in world.ari.channels_there if name.startswith("vx-call")]


async def test_answered_just_as_nobody_waits_any_more(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        office = Office(world)
        placing = asyncio.ensure_future(world.app.originate("PJSIP/bob"))
        ringing = await office.ringing()
        await breathe()
        (session,) = world.app.active_sessions
        office.pick_up(ringing)
        while not session._dialling.done():  # type: ignore[union-attr]
            await asyncio.sleep(0)
        assert not placing.done()
        placing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await placing
        await world.over(1.0)
        assert ringing not in world.ari.channels_there


async def test_an_answer_that_was_lost_with_the_connection(monkeypatch: Patch) -> None:
    """Early media: the channel is in the application before it is answered."""
    async with running(monkeypatch) as world:

        def create(channel_id: str, **_: Any) -> None:
            world.ari.arrive(channel_id, state="Down")

        world.ari.answers["channels.create"] = create
        call = await world.app.originate("PJSIP/bob", early_media=True)
        await until(lambda: "channels.dial" in world.ari.names())
        await breathe()
        world.ari.channels_there[call.id].state = "Up"  # told to nobody
        world.ari.resync()
        await call.answered(timeout=1)
        assert call.state is CallState.IN_PROGRESS


async def test_an_answer_is_one_when_the_call_has_come_in(monkeypatch: Patch) -> None:
    """Asterisk tells of the answer before the channel is in the application, and refuses what is asked meanwhile."""
    async with running(monkeypatch) as world:
        office = Office(world)
        call = await world.app.originate("PJSIP/bob", wait=False)
        ringing = await office.ringing()
        playing = asyncio.ensure_future(call.play_file("hello-world"))
        await breathe(40)
        world.ari.tell(ChannelStateChange(channel=Channel(id=ringing, name="PJSIP/bob", state="Up")))
        await breathe(40)
        assert call.state is CallState.RINGING
        assert "channels.play_with_id" not in world.ari.names()
        office.pick_up(ringing)
        await until(lambda: "channels.play_with_id" in world.ari.names())
        assert call.state is CallState.IN_PROGRESS
        await call.hangup()
        assert (await playing).reason == "hangup"


async def test_verbs_of_a_call_that_rings_wait_for_its_answer(monkeypatch: Patch) -> None:
    """It is the far end that answers a call that we placed."""
    async with running(monkeypatch) as world:
        office = Office(world)
        call = await world.app.originate("PJSIP/bob", wait=False)
        ringing = await office.ringing()
        playing = asyncio.ensure_future(call.play_file("hello-world"))
        await breathe(40)
        assert call.state is CallState.RINGING
        assert not playing.done()
        office.pick_up(ringing)
        await until(lambda: "channels.play_with_id" in world.ari.names())
        world.ari.played(world.ari.asked_for("channels.play_with_id")[0]["playback_id"])
        assert (await playing).reason == "finished"
        await call.hangup()
        refused = await world.app.originate("PJSIP/bob", wait=False)
        playing = asyncio.ensure_future(refused.play_file("hello-world"))
        await until(lambda: len(office.rung) == 2)
        office.refuse(office.rung[1])
        assert (await playing).reason == "hangup"
        assert "channels.answer" not in world.ari.names()


async def test_listening_in_that_fails_leaves_no_bridge(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.company.SNOOP_S", 0.02)
    failed: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        if call.id == "caller":
            await call.listen_dtmf(timeout=None)
            return
        try:
            await call.listen_in(world.app.active_sessions[0])
        except CallEndedError as error:
            failed.append(str(error))
        await breathe(40)
        assert world.ari.bridges_there == {}

    async with running(monkeypatch, handler) as world:
        world.call()
        await breathe()
        world.call("listener")
        await until(lambda: failed)
        world.ari.hang_up("caller")
        await world.over()


async def test_who_hangs_up_while_the_other_comes_into_the_bridge(monkeypatch: Patch) -> None:
    reasons: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        if call.id == "other":
            await call.listen_dtmf(timeout=None)
            return
        other = world.app.get_session("other")
        assert other is not None
        try:
            await call.bridge_with(other)
        except CallEndedError as error:
            reasons.append(error.reason)

    async with running(monkeypatch, handler) as world:
        other = world.call("other")
        await breathe()
        adding: list[str] = []

        def add(bridge_id: str, channel: list[str]) -> None:
            adding.extend(channel)
            if channel == ["other"]:
                world.ari.hang_up("caller")

        world.ari.answers["bridges.add_channel"] = add
        world.call()
        await until(lambda: "other" in adding)
        await until(lambda: other.bridge_id is None)
        assert other.is_active
        world.ari.hang_up("other")
        await world.over()


async def test_an_attended_transfer_of_calls_whose_handlers_have_returned(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        if call.id in ("first", "second"):  # both of the phone that transfers
            other = world.app.get_session({"first": "caller", "second": "colleague"}[call.id])
            assert other is not None
            await call.bridge_with(other)
        else:
            await until(lambda: call.bridge_id)

    async with running(monkeypatch, handler) as world:
        caller, colleague = world.call("caller"), world.call("colleague")
        first, second = world.call("first"), world.call("second")
        await until(lambda: first._other_party() and second._other_party())
        await breathe(40)
        refer(world, first, "", second)
        await until(lambda: len(progress(world)) == 2)
        assert progress(world) == ["channel_progress", "channel_answered"]
        await until(lambda: not first.is_active)  # alone, and its handler is done
        world.ari.hang_up("second")
        await breathe(60)
        assert caller.is_active
        assert colleague.is_active
        assert caller.bridge_id == colleague.bridge_id is not None
        world.ari.hang_up("caller")
        await world.over()


@pytest.mark.parametrize("flaw", ["the callback fails", "nobody answers"])
async def test_the_far_end_is_told_how_its_transfer_went(monkeypatch: Patch, flaw: str) -> None:
    async def handler(call: CallSession) -> None:
        @call.on_transfer
        async def wanted(target: str) -> str:
            if flaw == "the callback fails":
                raise ValueError("the user's own")
            return "PJSIP/bob"

        await call.answer()
        if call.id == "first":
            other = world.app.get_session("caller")
            assert other is not None
            await call.bridge_with(other)
        else:
            await until(lambda: call.bridge_id)

    async with running(monkeypatch, handler) as world:
        Office(world)
        world.call("caller")
        first = world.call("first")
        await until(first._other_party)
        refer(world, first, "2000")
        await until(lambda: "channel_unavailable" in progress(world))
        assert first.bridge_id
        world.ari.hang_up("caller")
        await world.over()


async def test_who_transfers_hangs_up_before_the_target_answers(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        @call.on_transfer
        async def wanted(target: str) -> str:
            return "PJSIP/bob"

        await call.answer()
        if call.id == "first":
            other = world.app.get_session("caller")
            assert other is not None
            await call.bridge_with(other)
        else:
            await until(lambda: call.bridge_id)

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        caller, first = world.call("caller"), world.call("first")
        await until(first._other_party)
        refer(world, first, "2000")
        ringing = await office.ringing()
        world.ari.hang_up("first")
        await asyncio.sleep(0.15)  # the grace of what the first call has begun is over
        assert ringing in world.ari.channels_there
        assert caller.is_active
        office.pick_up(ringing)
        await until(lambda: caller.bridge_id)
        world.ari.hang_up(ringing)
        await world.over()
