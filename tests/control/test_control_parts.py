"""The desk's parts without a network: event log, statuses, buckets, idempotency, seat."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.control.call import STATUS_OF, Call
from voxtra.control.events import MAX_EVENTS, EventLog, turn_event
from voxtra.control.gate import Denied
from voxtra.control.idempotency import Idempotency
from voxtra.control.limits import Buckets
from voxtra.control.requests import checked, denied
from voxtra.control.seat import Seat
from voxtra.errors import CallEndedError, PipelineNotConfiguredError, TelephonyError
from voxtra.events import CallEndedEvent, EventType, VoxtraEvent
from voxtra.types import CallDirection
from voxtra.wire import ENDED, Attach, CallStatus, Originate


def call(direction: CallDirection = CallDirection.OUTBOUND) -> Call:
    return Call(org="o", to="+12125551234", from_="+15558675309", direction=direction)


STEPS = st.sampled_from(["ringing", "in_progress", "end", "destroyed", "turn"])


@given(
    st.lists(STEPS, max_size=12), st.integers(0, 127), st.sampled_from(["hangup", "local", "failed", "lost"])
)
def test_any_order_of_events_leaves_a_call_in_order(steps: list[str], cause: int, reason: str) -> None:
    one = call()
    order: tuple[CallStatus, ...] = ("dialing", "ringing", "in_progress")
    for step in steps:
        before = one.status
        match step:
            case "ringing" | "in_progress":
                one.became("ringing" if step == "ringing" else "in_progress")
            case "end":
                one.take(CallEndedEvent(reason=reason, cause=cause))
            case "destroyed":
                one.take(VoxtraEvent(type=EventType.SESSION_DESTROYED))
            case _:
                one.take(VoxtraEvent(type=EventType.TURN_ENDED, data={"text": "x"}))
        if before in ENDED:
            assert one.status == before
        elif one.status in order:
            assert order.index(one.status) >= order.index(before)
    told = [event.data["status"] for event in one.log.since(0) if event.name == "status"]
    assert told == list(dict.fromkeys(told))
    assert told[-1] == one.status
    assert one.log.closed is one.is_over
    if one.outcome is not None:
        assert STATUS_OF[one.outcome] == one.status


@pytest.mark.parametrize(
    ("reason", "cause", "outcome"),
    [("hangup", 17, "busy"), ("hangup", 21, "rejected"), ("hangup", 19, "no_answer"), ("hangup", 18, "no_answer"),
     ("local", 0, "no_answer"), ("hangup", 34, "failed"), ("hangup", 1, "failed"), ("failed", 0, "failed"),
     ("lost", 0, "failed")],
)  # fmt: skip
def test_what_became_of_a_call_that_was_not_answered(reason: str, cause: int, outcome: str) -> None:
    one = call()
    one.take(CallEndedEvent(reason=reason, cause=cause))
    assert one.outcome == outcome


def test_inbound_ends() -> None:
    one = call(CallDirection.INBOUND)
    one.take(CallEndedEvent(reason="hangup", cause=0))
    assert (one.outcome, one.status) == ("unanswered", "no_answer")
    two = call(CallDirection.INBOUND)
    two.became("in_progress")
    two.take(CallEndedEvent(reason="left", cause=0))
    assert (two.outcome, two.cause) == ("transferred", 0)


async def test_the_log_is_bounded_and_many_may_follow_it() -> None:
    log = EventLog("call_12345678")
    for number in range(MAX_EVENTS + 10):
        log.add("status", {"n": number})
    assert len(log.since(0)) == MAX_EVENTS
    assert log.since(0)[0].seq == 11  # a gap tells what was missed

    async def read(after: int) -> list[int]:
        return [event.seq async for event in log.follow(after)]

    readers = [asyncio.create_task(read(after)) for after in (0, log.last, log.last + 5)]
    await asyncio.sleep(0)
    log.add("status", {})
    log.close()
    first, second, third = await asyncio.gather(*readers)
    assert (len(first), second, third) == (MAX_EVENTS + 1, [log.last], [])
    log.shorten()
    assert [event.seq for event in log.since(0)] == list(range(log.last - 99, log.last + 1))


def test_events_that_are_no_business_of_the_stream() -> None:
    assert turn_event(VoxtraEvent(type=EventType.DTMF_RECEIVED)) is None
    dropped = VoxtraEvent(type=EventType.USER_SPEECH_ENDED, data={"dropped": "stopped"})
    assert turn_event(dropped) is None
    dropped.data["dropped"] = "backchannel"
    assert turn_event(dropped) == ("backchannel_dropped", {"reason": "backchannel"})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=50), st.floats(0.1, 20))
def test_a_bucket_never_gives_more_than_its_rate(asks: list[tuple[str, float]], rate: float) -> None:
    buckets = Buckets(rate)
    now, given_out = 0.0, {"a": 0, "b": 0}
    for name, pause in asks:
        now += pause
        wait = buckets.take(name, now)
        assert wait >= 0
        if not wait:
            given_out[name] += 1
            assert given_out[name] <= max(1.0, 2 * rate) + now * rate + 1e-6
        else:
            assert wait <= 1 / rate + 1e-9


async def test_idempotency_forgets_after_a_day() -> None:
    now = 0.0
    once = Idempotency(lambda: now)
    made: list[str] = []

    async def make() -> str:
        made.append(f"call_{len(made)}")
        return made[-1]

    assert await once.once("o", "k", "b", make) == ("call_0", True)
    assert await once.once("o", "k", "b", make) == ("call_0", False)
    assert await once.once("other", "k", "b", make) == ("call_1", True)
    assert await once.once("o", "", "b", make) == ("call_2", True)
    now = 86_401.0
    assert await once.once("o", "k", "b", make) == ("call_3", True)


async def test_who_waits_for_the_same_answer_gets_the_same_failure() -> None:
    once = Idempotency(lambda: 0.0)
    go = asyncio.Event()

    async def make() -> str:
        await go.wait()
        raise Denied("no", "FORBIDDEN")

    both = [asyncio.create_task(once.once("o", "k", "b", make)) for _ in range(2)]
    await asyncio.sleep(0)
    go.set()
    for each in both:
        with pytest.raises(Denied, match="no"):
            await each


async def test_one_at_a_time_has_the_seat() -> None:
    there: set[str] = set()
    finished: list[BaseException | None] = []
    seat = Seat("call", finished.append)

    async def sits(name: str, *, stubborn: bool = False) -> None:
        assert not there
        there.add(name)
        try:
            await asyncio.sleep(60)
        finally:
            if stubborn:
                await asyncio.sleep(0.02)
            there.discard(name)

    await seat.give(lambda: sits("a", stubborn=True))
    await asyncio.sleep(0)
    await asyncio.gather(seat.give(lambda: sits("b")), seat.give(lambda: sits("c")), seat.clear())
    assert not seat.taken
    assert not there
    assert not finished  # those who were told to leave are not done by themselves
    await seat.give(lambda: asyncio.sleep(0))
    await asyncio.sleep(0.01)
    assert finished == [None]
    await seat.close(0)
    await seat.give(lambda: sits("d"))
    assert not seat.taken


def test_failures_on_the_wire() -> None:
    assert denied(CallEndedError("x")).code == "GONE"
    assert denied(PipelineNotConfiguredError("stt")).code == "UNPROCESSABLE"
    assert denied(TelephonyError("x")).code == "INTERNAL_SERVER_ERROR"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(["orgId", "to", "from", "trunkId", "agent", "ringTimeoutSec", "mode"])
                | st.text(),
                x,
            )
        ),
    )
)
def test_no_input_is_more_than_refused(value: object) -> None:
    for model in (Originate, Attach):
        with pytest.raises(Denied) as refused:
            checked(model, value)
        assert refused.value.code == "BAD_REQUEST"
        assert len(str(refused.value)) < 4000
