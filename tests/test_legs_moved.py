"""A call that goes from one bridge to another, or out of one: nobody stays behind in silence, no leg is nobody's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_app import World, running
from fake_calls import breathe
from office import Office, progress, refer, until, waits

from voxtra import CallSession
from voxtra.ari import StasisEnd
from voxtra.ari.events import ChannelVarset
from voxtra.errors import ARIServerError, SessionError
from voxtra.testing.fake_speech import FakeTTS

Patch = pytest.MonkeyPatch
REFUSED = ARIServerError("POST", "/there", 500, "Allocation failed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.05)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.02)
    monkeypatch.setattr("voxtra.live.CALLBACK_S", 0.5)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.05)


async def two_bridged(world: World) -> tuple[CallSession, CallSession]:
    first, second = world.call("first"), world.call("second")
    await first.bridge_with(second)
    return first, second


async def test_who_is_left_by_a_transfer_out_of_their_bridge_is_back(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, second = await two_bridged(world)
        old = first.bridge_id
        transfer = asyncio.ensure_future(first.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        office.pick_up(bob)
        assert await transfer
        await until(lambda: second.bridge_id is None)
        assert first.bridge_id not in (None, old)
        await breathe(40)
        assert old not in world.ari.bridges_there
        assert second.is_active
        world.ari.hang_up("second")
        await breathe(40)
        assert first.is_active
        world.ari.hang_up(bob)
        await world.over()


async def test_a_conference_goes_on_without_who_was_transferred(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, second = await two_bridged(world)
        third = world.call("third")
        await third.bridge_with(second)
        transfer = asyncio.ensure_future(first.transfer_to("PJSIP/bob"))
        office.pick_up(await office.ringing())
        assert await transfer
        assert second.bridge_id == third.bridge_id is not None
        world.ari.hang_up("second")
        await until(lambda: third.bridge_id is None)
        world.ari.hang_up("first")
        world.ari.hang_up("third")
        await world.over()


@pytest.mark.parametrize("how", ["the room", "cancelled"])
async def test_a_transfer_out_of_a_bridge_that_fails_leaves_all_as_it_was(
    monkeypatch: Patch, how: str
) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, second = await two_bridged(world)
        old = first.bridge_id

        def add(bridge_id: str, channel: list[str]) -> Any:
            return REFUSED if bridge_id != old and channel == ["first"] else None

        if how == "the room":
            world.ari.answers["bridges.add_channel"] = add
        else:
            world.ari.gates["channels.ring_stop"] = asyncio.Event()
        transfer = asyncio.ensure_future(first.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        office.pick_up(bob)
        if how == "cancelled":
            await until(lambda: "channels.ring_stop" in world.ari.names())
            transfer.cancel()
            world.ari.gates.clear()
        await asyncio.wait({transfer})
        assert transfer.cancelled() or isinstance(transfer.exception(), ARIServerError)
        await until(lambda: bob not in world.ari.channels_there)
        assert first.bridge_id == second.bridge_id == old
        assert list(world.ari.bridges_there) == [old]
        world.ari.hang_up("first")
        world.ari.hang_up("second")
        await world.over()


async def test_who_is_left_by_a_call_that_goes_to_a_queue_is_back(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        first, second = await two_bridged(world)

        def away(channel_id: str, **_: Any) -> None:
            world.ari.tell(StasisEnd(channel=world.ari.channels_there[channel_id]))

        world.ari.answers["channels.continue_in_dialplan"] = away
        transfer = asyncio.ensure_future(first.transfer_to_queue("support"))
        await until(lambda: second.bridge_id is None)
        assert first.bridge_id is None
        await until(lambda: not world.ari.bridges_there)
        world.ari.arrive("first", state="Up", args="queue TIMEOUT")
        assert (await transfer).reason == "timeout"
        world.ari.hang_up("first")
        world.ari.hang_up("second")
        await world.over()


async def test_two_transfers_one_after_the_other_leave_no_leg(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = world.call()
        for count in (1, 2):
            transfer = asyncio.ensure_future(call.transfer_to("PJSIP/bob"))
            office.pick_up(await office.ringing(count))
            assert await transfer
            await breathe(60)
            ours = [each for each in world.ari.channels_there if each.startswith("vx-call")]
            assert ours == office.rung[-1:]
            assert len(world.ari.bridges_there) == 1
        world.ari.hang_up("caller")
        await world.over()


async def test_a_phone_that_stays_after_its_transfer_is_with_its_handler_again(monkeypatch: Patch) -> None:
    """It is told first that it went well: most phones hang up then."""
    order: list[str] = []

    async def handler(call: CallSession) -> None:
        @call.on_transfer
        async def wanted(target: str) -> str:
            return "PJSIP/bob"

        await call.answer()
        if call.id == "first":
            other = world.app.get_session("second")
            assert other is not None
            await call.bridge_with(other)
            await call.bridged()
            order.extend(["bridged", *progress(world)])
        else:
            await call.listen_dtmf(timeout=None)

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        second, first = world.call("second"), world.call("first")
        await until(first._other_party)
        refer(world, first, "2000")
        bob = await office.ringing()
        office.pick_up(bob)
        await until(lambda: order)
        assert order == ["bridged", "channel_progress", "channel_answered"]
        await until(lambda: not first.is_active)
        assert second.is_active
        assert bob in world.ari.channels_there
        world.ari.hang_up("second")
        await world.over()


async def test_a_caller_hands_on_whom_they_were_connected_with(monkeypatch: Patch) -> None:
    """The ends of a transfer end together, but not when one of them has gone on to somebody else."""

    async def handler(call: CallSession) -> None:
        @call.on_transfer
        async def wanted(target: str) -> str:
            return "PJSIP/carol"

        await call.answer()
        await call.transfer_warm("PJSIP/bob", accept=None)

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        caller = world.call()
        bob = await office.ringing()
        office.pick_up(bob)
        await until(caller._other_party)
        refer(world, caller, "2000")
        carol = await office.ringing(2)
        office.pick_up(carol)
        await until(lambda: "channel_answered" in progress(world))
        await until(lambda: not caller.is_active)
        await breathe(60)
        assert {bob, carol} <= set(world.ari.channels_there)
        world.ari.hang_up(bob)
        await world.over()


@pytest.mark.parametrize("target", ["Local/9001@from-inside", "+442079460000"])
async def test_the_far_end_names_an_extension_and_nothing_that_costs(monkeypatch: Patch, target: str) -> None:
    """``Local/…`` would lead into every context of the dialplan, a number to the trunk at the app's cost."""
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, _ = await two_bridged(world)
        refer(world, first, target)
        await until(lambda: progress(world))
        assert progress(world) == ["channel_declined"]
        assert office.rung == []
        world.ari.hang_up("first")
        world.ari.hang_up("second")
        await world.over()


async def test_taken_back_at_once(monkeypatch: Patch) -> None:
    taken: list[bool] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.transfer_to("PJSIP/bob")
        taken.append(await call.take_back())
        await call.listen_dtmf(timeout=None)

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        call = world.call()
        bob = await office.ringing()
        office.pick_up(bob)
        await until(lambda: taken and bob not in world.ari.channels_there)
        assert taken == [True]
        assert call.is_active
        assert call.bridge_id is None
        world.ari.hang_up("caller")
        await world.over()


async def test_who_leaves_the_bridge_of_a_transfer_is_back(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = world.call()
        transfer = asyncio.ensure_future(call.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        office.pick_up(bob)
        assert await transfer
        await call.unbridge()
        await until(lambda: bob not in world.ari.channels_there)
        await breathe(40)
        assert call.is_active
        world.ari.hang_up("caller")
        await world.over()


async def test_who_goes_into_a_bridge_and_is_cut_off_is_told_why(monkeypatch: Patch) -> None:
    """What fails in coming back is not what went wrong, and least of all in place of a cancellation."""
    async with running(monkeypatch, waits) as world:
        first, second = world.call("first"), world.call("second")
        await first.open_line()
        for each in (first, second):
            await each.answer()
        await until(lambda: not world.transport.lines[0].paused)
        gate = world.ari.gates["bridges.add_channel"] = asyncio.Event()
        bridging = asyncio.ensure_future(first.bridge_with(second))
        await until(lambda: world.ari.names()[-1] == "bridges.add_channel")
        world.ari.answers["bridges.add_channel"] = REFUSED
        world.ari.gates.clear()
        bridging.cancel()
        await asyncio.wait({bridging})
        gate.set()
        assert bridging.cancelled()
        world.ari.answers.clear()
        world.ari.hang_up("first")
        world.ari.hang_up("second")
        await world.over()


async def test_an_answer_to_who_waits_no_more_is_taken_out_of_the_bridge(monkeypatch: Patch) -> None:
    """Asterisk does not stop half-way: who joins a conference and gives up would be heard there."""
    async with running(monkeypatch, waits) as world:
        first, second = await two_bridged(world)
        third = world.call("third")
        await third.answer()
        world.ari.gates["bridges.add_channel"] = asyncio.Event()
        bridging = asyncio.ensure_future(third.bridge_with(first))
        await until(
            lambda: ["third"] in [each["channel"] for each in world.ari.asked_for("bridges.add_channel")]
        )
        bridging.cancel()
        await asyncio.wait({bridging})
        world.ari.gates.clear()
        await breathe(40)
        out = world.ari.asked_for("bridges.remove_channel")
        assert out == [{"bridge_id": first.bridge_id, "channel": ["third"]}]
        assert third.bridge_id is None
        assert second.bridge_id == first.bridge_id
        for name in ("first", "second", "third"):
            world.ari.hang_up(name)
        await world.over()


# ---- the transfer itself


async def test_a_transfer_tells_where_it_stands(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = world.call()
        assert call.transfer is None
        gate = world.ari.gates["bridges.create_with_id"] = asyncio.Event()
        transferring = asyncio.ensure_future(call.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        transfer = call.transfer
        assert transfer is not None
        assert (transfer.target, transfer.method, transfer.state) == ("PJSIP/bob", "bridge", "calling")
        assert transfer.leg is None
        with pytest.raises(SessionError, match="'PJSIP/bob' is under way"):
            await call.transfer_to_queue("support")
        office.pick_up(bob)
        await until(lambda: transfer.state == "connecting")
        assert transfer.leg is not None
        assert transfer.leg.id == bob
        assert transfer.result is None
        gate.set()
        result = await transferring
        assert (transfer.state, transfer.result) == ("connected", result)
        world.ari.hang_up(bob)
        await world.over()
        assert transfer.state == "over"
        assert transfer.result is result


async def test_a_warm_transfer_tells_where_it_stands(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call = world.call()
        transferring = asyncio.ensure_future(call.transfer_warm("PJSIP/bob"))
        bob = await office.ringing()
        transfer = call.transfer
        assert transfer is not None
        assert transfer.state == "calling"
        office.pick_up(bob)
        await until(lambda: transfer.state == "asking")
        world.ari.press(bob, "2")
        assert (await transferring).reason == "declined"
        assert transfer.state == "over"
        await until(lambda: bob not in world.ari.channels_there)
        world.ari.hang_up("caller")
        await world.over()


async def test_a_warm_transfer_out_of_a_bridge_leaves_it(monkeypatch: Patch) -> None:
    """And not its other members tied to the end of whoever took the call."""
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, second = await two_bridged(world)
        transferring = asyncio.ensure_future(first.transfer_warm("PJSIP/bob", accept=None))
        office.pick_up(await office.ringing())
        assert await transferring
        assert second.bridge_id is None
        assert second.is_active
        world.ari.hang_up("first")
        world.ari.hang_up("second")
        await world.over()


async def test_a_queue_that_gives_the_call_back_is_over(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        call = world.call()
        world.ari.answers["channels.continue_in_dialplan"] = True
        queueing = asyncio.ensure_future(call.transfer_to_queue("support"))
        await until(lambda: call._leg.away is not None and call._leg.away.begun)
        assert call.transfer is not None
        assert (call.transfer.method, call.transfer.state) == ("queue", "calling")
        channel = world.ari.channels_there["caller"]
        world.ari.tell(ChannelVarset(channel=channel, variable="BRIDGEPEER", value="PJSIP/agent-1"))
        assert await queueing
        assert call.transfer.state == "connected"
        world.ari.arrive("caller", state="Up", args="queue")
        await breathe()
        assert call.transfer.state == "over"
        world.ari.hang_up("caller")
        await world.over()


@pytest.mark.parametrize("verb", ["bridge", "hold", "queue"])
async def test_moved_on_while_it_comes_back(monkeypatch: Patch, verb: str) -> None:
    """Where Asterisk was asked for first it does first; and who has gone is not taken for being on the line."""
    async with running(monkeypatch, waits) as world:
        first, second, third = world.call("first"), world.call("second"), world.call("third")
        await first.open_line()
        await third.answer()
        await first.bridge_with(second)
        line = world.transport.lines[0]
        assert line.paused
        own = first._live.media.bridge_id  # type: ignore[union-attr]
        gate = world.ari.gates["bridges.add_channel"] = asyncio.Event()
        world.ari.answers["channels.continue_in_dialplan"] = True
        world.ari.asked.clear()
        world.ari.hang_up("second")
        await until(
            lambda: {"bridge_id": own, "channel": ["first"]} in world.ari.asked_for("bridges.add_channel")
        )
        moving: asyncio.Future[Any] = asyncio.ensure_future(
            first.bridge_with(third)
            if verb == "bridge"
            else first.hold()
            if verb == "hold"
            else first.transfer_to_queue("support")
        )
        await breathe(60)
        del world.ari.gates["bridges.add_channel"]
        gate.set()
        await breathe(60)
        assert line.paused
        if verb == "bridge":
            await moving
            assert [each["bridge_id"] == own for each in world.ari.asked_for("bridges.add_channel")] == [
                True,
                False,
                False,
            ]
            world.ari.hang_up("third")
        elif verb == "hold":
            await moving
            await first.unhold()
            world.ari.hang_up("third")
        else:
            world.ari.arrive("first", state="Up", args="queue TIMEOUT")
            await moving
            world.ari.hang_up("third")
        await until(lambda: not line.paused)
        asked = world.ari.asked_for("bridges.add_channel")
        assert asked[-1] == {"bridge_id": own, "channel": ["first"]}
        assert len([each for each in asked if each == asked[-1]]) == 2
        world.ari.hang_up("first")
        await world.over()


async def test_moved_on_while_it_is_made_ready(monkeypatch: Patch) -> None:
    """The line is opened beside the handler, which has other plans meanwhile."""
    async with running(monkeypatch, waits, tts=FakeTTS()) as world:
        ari, first_room, first_join = world.ari, asyncio.Event(), asyncio.Event()
        carry_out, seen = ari.carry_out, list[str]()

        async def slowly(name: str, arguments: dict[str, Any]) -> Any:
            if name == "bridges.create_with_id" and "room" not in seen:
                seen.append("room")
                await first_room.wait()
            elif name == "bridges.add_channel" and arguments["channel"] == ["first"] and "join" not in seen:
                seen.append("join")
                await first_join.wait()
            return await carry_out(name, arguments)

        ari.gates["channels.external_media"] = asyncio.Event()
        second, first = world.call("second"), world.call("first")
        for each in (first, second):
            await each.answer()
        monkeypatch.setattr(ari, "carry_out", slowly)
        bridging = asyncio.ensure_future(first.bridge_with(second))
        await until(lambda: "room" in seen)
        ari.gates.pop("channels.external_media").set()
        await until(lambda: "join" in seen)
        first_room.set()
        await breathe(60)
        first_join.set()
        room = await bridging
        await breathe(40)
        media = first._live.media
        assert media is not None
        assert media.line.paused
        asked = ari.asked_for("bridges.add_channel")
        assert [each["bridge_id"] for each in asked if each["channel"] == ["first"]] == [
            media.bridge_id,
            room,
        ]
        ari.hang_up("second")
        await until(lambda: not media.line.paused)
        assert ari.asked_for("bridges.add_channel")[-1] == {
            "bridge_id": media.bridge_id,
            "channel": ["first"],
        }
        ari.hang_up("first")
        await world.over()


async def test_who_goes_from_a_transfer_to_something_else_is_not_hung_up_with_it(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        call, other = world.call(), world.call("other")
        transfer = asyncio.ensure_future(call.transfer_to("PJSIP/bob"))
        bob = await office.ringing()
        office.pick_up(bob)
        assert await transfer
        await other.answer()

        def snoop(snoop_id: str, **_: Any) -> None:
            world.ari.arrive(snoop_id, name="Snoop/1", state="Up")

        world.ari.answers["channels.snoop_channel_with_id"] = snoop
        bridge = await call.listen_in(other)
        await until(lambda: bob not in world.ari.channels_there)
        await breathe(40)
        assert call.is_active
        assert call.bridge_id == bridge
        world.ari.hang_up("other")
        world.ari.hang_up("caller")
        for each in [each for each in world.ari.channels_there if each.startswith("vx-snoop")]:
            world.ari.gone(each)
        await world.over()


async def test_a_transfer_by_a_callback_outlives_the_handler(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            await call.transfer_to("PJSIP/bob")

        await call.answer()
        await until(lambda: office.rung)

    async with running(monkeypatch, handler) as world:
        office = Office(world)
        call = world.call()
        await breathe()
        world.ari.press("caller", "0")
        bob = await office.ringing()
        await breathe(60)
        assert call.is_active
        office.pick_up(bob)
        await until(lambda: call.bridge_id)
        world.ari.hang_up(bob)
        await world.over()


async def test_the_app_sends_an_attended_transfer_elsewhere(monkeypatch: Patch) -> None:
    async with running(monkeypatch, waits) as world:
        office = Office(world)
        first, second = await two_bridged(world)
        third = world.call("third")

        @first.on_transfer
        async def wanted(target: str) -> str:
            return "PJSIP/bob"

        refer(world, first, "", third)
        bob = await office.ringing()
        office.pick_up(bob)
        await until(lambda: "channel_answered" in progress(world))
        assert second.transfer is not None
        assert second.transfer.target == "PJSIP/bob"
        for name in ("first", "second", "third"):
            world.ari.hang_up(name)
        await world.over()
