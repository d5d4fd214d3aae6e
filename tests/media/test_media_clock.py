import asyncio

from voxtra.media.clock import Clock, shared_clock
from voxtra.media.wheel import MAX_LEAD


async def test_all_are_called_and_the_clock_sleeps_when_none_is_left():
    clock = Clock()
    calls = {"a": 0, "b": 0}

    def count(name):
        calls[name] += 1

    beats = [clock.join(lambda: count("a")), clock.join(lambda: count("b"))]
    await asyncio.sleep(0.25)
    for beat in beats:
        clock.leave(beat)
        clock.leave(beat)
    assert len(clock) == 0
    assert clock._timer is None
    assert abs(calls["a"] - calls["b"]) <= 1
    assert 8 <= calls["a"] + clock.skipped <= 14


async def test_a_failing_tick_is_reported_and_dropped_and_the_others_go_on():
    reports = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))
    clock, ticks = Clock(), []

    def bad():
        raise ValueError("no")

    clock.join(bad)
    beat = clock.join(lambda: ticks.append(1))
    await asyncio.sleep(0.15)
    clock.leave(beat)
    assert [type(error) for error in reports] == [ValueError]
    assert len(ticks) >= 3


async def test_leaving_within_a_tick_is_at_once():
    clock, ticks = Clock(), []
    first = clock.join(lambda: clock.leave(second))
    second = clock.join(lambda: ticks.append(1))
    second.due = first.due  # whatever the machine did between the two
    await asyncio.sleep(0.07)
    clock.leave(first)
    assert ticks == []
    assert clock._timer is None


async def test_a_hastened_tick_comes_early_and_once():
    clock, hastened, times = Clock(), [], []

    def tick():
        times.append((beat.made, beat.due))
        if len(times) == 1:
            hastened.extend(clock.hasten(beat) for _ in range(2))

    beat, other = clock.join(tick), clock.join(lambda: None)
    async with asyncio.timeout(5):
        while len(times) < 3:
            await asyncio.sleep(0.001)
    assert hastened == [True, False]
    (first, planned), (second, _) = times[:2]
    assert second >= first + MAX_LEAD
    assert times[1][1] == planned + MAX_LEAD  # hastened by that much, the frame after it is due 20 ms later
    clock.leave(beat)
    assert not clock.hasten(beat)
    clock.leave(other)
    assert clock._timer is None


async def test_one_clock_a_loop():
    assert shared_clock() is shared_clock()
