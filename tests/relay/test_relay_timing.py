"""Clocks, lateness, bounds: with time given from outside."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from voxtra.relay.allowance import Allowance
from voxtra.relay.catch_up import KEEP_S, CatchUp
from voxtra.relay.lateness import AHEAD_S, HOLD_S, IN_TIME_S, LATE_S, Lateness
from voxtra.relay.media_clock import MediaClock
from voxtra.relay.outbox import Outbox
from voxtra.wire import SoundFrame

# ---- media clock


def test_the_first_line_counts_its_frames() -> None:
    clock = MediaClock()
    assert [clock.at(n, 5.0 + n * 0.02) for n in (7, 8, 10)] == [140_000, 160_000, 200_000]


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.lists(st.floats(0, 0.1), min_size=1, max_size=20), st.floats(0, 30)),
        min_size=1,
        max_size=6,
    )
)
def test_time_never_goes_back_and_follows_the_clock(
    lines: list[tuple[int, list[float], float]],
) -> None:
    clock = MediaClock()
    now, last, began = 100.0, -20_000, None
    for first, waits, gap in lines:
        clock.new_line()
        opened = now
        for number, wait in enumerate(waits):
            now += wait
            if began is None:
                began = now - first * 0.02
            at = clock.at(first + number, now)
            assert at >= last + 20_000
            assert at % 20_000 == 0
            if number == 0 and opened > 100:
                assert at >= int((now - began) * 1e6) - 20_001, "a gap is a gap"
            last = at
        now += gap


# ---- lateness


def frame(us: float) -> SoundFrame:
    return SoundFrame(int(us), b"x")


def play(arrivals: list[tuple[float, float]]) -> tuple[list[int], Lateness]:
    """Frames (arrival s, time s) through it, expired as its owner would; what was heard, in µs."""
    lateness, heard = Lateness(), []
    for now, at in arrivals:
        while (deadline := lateness.deadline) is not None and deadline <= now:
            heard += lateness.expire(deadline)
        heard += lateness.push(frame(at * 1e6), now)
    while (deadline := lateness.deadline) is not None:
        heard += lateness.expire(deadline)
    return [f.timestamp_us for f in heard], lateness


@given(st.lists(st.floats(0, LATE_S - 0.02), min_size=1, max_size=80), st.floats(0, 1e6))
def test_jitter_loses_nothing(delays: list[float], origin: float) -> None:
    arrivals, now = [], 0.0
    for number, delay in enumerate(delays):
        now = max(now, number * 0.02 + (delay if number else 0))  # the first one ties the clocks
        arrivals.append((now, origin + number * 0.02))
    heard, lateness = play(arrivals)
    assert len(heard) == len(delays)
    assert heard == sorted(heard)
    assert lateness.late == 0


@given(st.integers(1, 100), st.floats(0.6, 8), st.integers(30, 100))
def test_a_stall_costs_its_own_sound_alone(before: int, stall: float, after: int) -> None:
    """All that piled up comes at once, and then live sound goes on: no delay remains."""
    resume = before * 0.02 + stall
    times = [number * 0.02 for number in range(before + int(stall * 50) + after)]
    heard, lateness = play([(at if at < before * 0.02 else max(at, resume), at) for at in times])
    lost = [at for at in times if int(at * 1e6) not in set(heard)]
    assert lateness.late == len(lost)
    assert len(heard) + lateness.late == len(times)
    assert all(before * 0.02 - 0.001 <= at < resume - IN_TIME_S + 0.001 for at in lost)
    assert len(lost) >= int((stall - IN_TIME_S) * 50) - 2


@given(st.lists(st.tuples(st.integers(1, 80), st.floats(0.2, 20)), min_size=1, max_size=8))
@example([(69, 1.0), (55, 0.5), (4, 1.0)])
def test_who_counts_frames_and_pauses_loses_nothing(spurts: list[tuple[int, float]]) -> None:
    """Timestamps that stand still in a pause are not what they should be, and yet all is heard."""
    arrivals, now, at = [], 0.0, 0.0
    for count, pause in spurts:
        for _ in range(count):
            arrivals.append((now, at))
            now, at = now + 0.02, at + 0.02
        now += pause
    heard, lateness = play(arrivals)
    assert len(heard) == len(arrivals)
    assert heard == sorted(heard)
    assert lateness.late == 0


@given(
    st.lists(st.tuples(st.integers(60, 200), st.floats(0.1, 20)), min_size=1, max_size=6),
    st.sampled_from(["counts", "monotonic"]),
)
def test_speech_that_comes_all_at_once_is_never_late(spurts: list[tuple[int, float]], clock: str) -> None:
    arrivals, now, at = [], 0.0, 0.0
    for count, pause in spurts:
        for number in range(count):
            arrivals.append((now + number * 1e-5, at if clock == "counts" else now))
            at += 0.02
        now += pause
    assert count * 0.02 > AHEAD_S
    heard, lateness = play(arrivals)
    assert len(heard) == len(arrivals)
    assert lateness.late == 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 2**63)), max_size=80))
def test_whatever_the_times_say_every_frame_is_heard_once_or_late(frames: list[tuple[float, int]]) -> None:
    lateness, heard, now = Lateness(), 0, 0.0
    for wait, us in frames:
        now += wait
        heard += len(lateness.push(SoundFrame(us, b"x"), now))
        assert (lateness.deadline is None) == (not lateness._held)
    heard += len(lateness.expire(now + 1))
    assert heard + lateness.late == len(frames)


def test_held_frames_have_their_deadline() -> None:
    lateness = Lateness()
    assert lateness.push(frame(0), 0.0)
    assert lateness.deadline is None
    assert lateness.push(frame(20_000), 5.0) == []
    assert lateness.deadline == 5.0 + HOLD_S
    assert lateness.expire(5.0 + HOLD_S / 2) == []
    assert lateness.expire(5.0 + HOLD_S) == [frame(20_000)]
    assert lateness.deadline is None
    assert lateness.push(frame(40_000), 5.1) == [frame(40_000)], "in time by the clock tied anew"


# ---- bounds


@given(st.lists(st.floats(0, 0.1), max_size=400))
def test_an_allowance_is_kept(waits: list[float]) -> None:
    allowance = Allowance(0.0, rate=100, burst=20)
    now, taken = 0.0, 0
    for wait in waits:
        now += wait
        taken += allowance.take(now)
        assert taken <= 20 + now * 100 + 1e-6
    assert taken >= min(len(waits), 20)


def test_a_publisher_in_real_time_is_never_short() -> None:
    allowance = Allowance(0.0)
    assert all(allowance.take(number * 0.01) for number in range(20_000))


@given(st.lists(st.booleans(), max_size=200), st.integers(1, 10))
def test_an_outbox_keeps_the_newest_in_order(puts: list[bool], limit: int) -> None:
    outbox, waiting = Outbox(limit), []
    for number, put in enumerate(puts):
        if put:
            message = str(number).encode()
            waiting.append(message)
            assert outbox.put(message) == (len(waiting) > limit)
            waiting = waiting[-limit:]
        else:
            assert outbox.take() == (waiting.pop(0) if waiting else None)
        assert len(outbox) == len(waiting)


# ---- catching up


def through(arrivals: list[float], *, ahead: float = 0.0) -> tuple[CatchUp, list[float]]:
    """Frames of 20 ms into a line that plays in real time, behind ``ahead`` s of others' sound; how much
    waited at each."""
    catch_up, end, waits = CatchUp(), ahead, []
    for now in arrivals:
        waits.append(max(0.0, end - now))
        if not catch_up.skip(0.02, waits[-1], now):
            end = max(end, now) + 0.02
    return catch_up, waits


@given(st.floats(0.12, 0.6), st.integers(1, 50), st.floats(0, 0.03))
def test_live_sound_that_fell_behind_catches_up(stall: float, before: int, jitter: float) -> None:
    resume, arrivals, now = before * 0.02 + stall, [], 0.0
    for number in range(before + 1000):
        now = max(now, number * 0.02 + jitter * (number % 3) / 2)
        arrivals.append(now if number < before else max(now, resume))
    catch_up, waits = through(arrivals)
    assert max(waits[-100:]) <= KEEP_S + 0.06
    assert catch_up.skipped * 0.02 <= stall + 0.06, "no more is skipped than was too much"


@given(st.lists(st.floats(0, KEEP_S - 0.02), min_size=10, max_size=300))
def test_live_sound_with_some_jitter_is_left_alone(delays: list[float]) -> None:
    arrivals, now = [], 0.0
    for number, delay in enumerate(delays):
        now = max(now, number * 0.02 + delay)
        arrivals.append(now)
    assert through(arrivals)[0].skipped == 0


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0.3, 15)), min_size=1, max_size=5), st.floats(0, 20))
def test_synthesised_speech_is_never_skipped(spurts: list[tuple[int, float]], ahead: float) -> None:
    """It comes at once and waits, for itself or for others, as long as it has to."""
    arrivals, now = [], 0.0
    for count, pause in spurts:
        arrivals += [now + number * 1e-5 for number in range(count)]
        now += pause
    assert through(arrivals, ahead=ahead)[0].skipped == 0


@given(st.floats(1.2, 8), st.integers(1, 15), st.floats(0, 5))
def test_speech_that_streams_faster_than_it_is_spoken_is_never_skipped(
    speed: float, chunk: int, ahead: float
) -> None:
    arrivals = [number // chunk * chunk * 0.02 / speed for number in range(400)]
    assert through(arrivals, ahead=ahead)[0].skipped == 0


def test_an_open_microphone_does_not_get_between_others_words() -> None:
    """While an agent speaks for 20 s it is left out after a second, and then all is live again."""
    catch_up, waits = through([n * 0.02 for n in range(2500)], ahead=20.0)
    assert max(waits) < 21.1
    assert max(waits[1200:]) <= KEEP_S + 0.06
    assert 900 < catch_up.skipped < 1100
