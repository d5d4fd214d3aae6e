import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.media.clock import MAX_CATCH_UP, Clock, Schedule, shared_clock


def test_ticks_never_drift():
    schedule = Schedule(100.0)
    now, made = 100.0, 0
    for n in range(10_000):
        now = schedule.next + (n % 7) * 0.0011  # always a bit late
        made += schedule.due(now)
    assert made == 10_000
    assert schedule.next == pytest.approx(100.0 + 10_001 * 0.02)
    assert schedule.skipped == 0


def test_a_short_stall_is_made_up_for_and_a_long_one_is_skipped():
    schedule = Schedule(0.0)
    assert schedule.due(0.061) == 3
    assert schedule.due(0.061) == 0
    assert schedule.due(1.061) == MAX_CATCH_UP
    assert schedule.skipped == 50 - MAX_CATCH_UP
    assert schedule.next == pytest.approx(1.08)


@given(st.lists(st.floats(0, 5), max_size=50))
def test_made_and_skipped_are_the_time_that_passed(waits):
    schedule, now, made = Schedule(3.0), 3.0, 0
    for wait in waits:
        now += wait
        made += schedule.due(now)
        assert now - 1e-5 <= schedule.next <= now + 0.02 + 1e-5
    assert made + schedule.skipped == pytest.approx((now - 3.0) / 0.02, abs=1.001)


async def test_all_are_called_and_the_clock_sleeps_when_none_is_left():
    clock = Clock()
    calls = {"a": 0, "b": 0}

    def count(name):
        calls[name] += 1

    leave = [clock.join(lambda: count("a")), clock.join(lambda: count("b"))]
    await asyncio.sleep(0.25)
    for end in leave:
        end()
        end()
    assert len(clock) == 0
    assert clock._timer is None
    assert calls["a"] == calls["b"]
    assert 8 <= calls["a"] + clock.skipped <= 14


async def test_a_failing_tick_is_reported_and_dropped_and_the_others_go_on():
    reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    clock, ticks = Clock(), []

    def bad():
        raise ValueError("no")

    clock.join(bad)
    leave = clock.join(lambda: ticks.append(1))
    await asyncio.sleep(0.15)
    leave()
    assert [type(error) for error in reports] == [ValueError]
    assert len(ticks) >= 3


async def test_leaving_within_a_tick_is_at_once():
    clock, ticks = Clock(), []
    leave_second = None
    leave_first = clock.join(lambda: leave_second())
    leave_second = clock.join(lambda: ticks.append(1))
    await asyncio.sleep(0.07)
    leave_first()
    assert ticks == []


async def test_one_clock_a_loop():
    assert shared_clock() is shared_clock()
