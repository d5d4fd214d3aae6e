"""The wheel, on a clock that is only counted: whoever is on it, whatever they say and however late it is turned."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from voxtra.media.wheel import MAX_CATCH_UP, MAX_LEAD, SLOT_S, SLOTS, Beat, Wheel

PERIOD_S = SLOTS * SLOT_S
LEAD_S = MAX_LEAD * SLOT_S


class Talker:
    """What a line does with its beat: frames that wait, and when each went."""

    def __init__(self, wheel, now):
        self.wheel = wheel
        self.beat = Beat(lambda: None)
        self.queue = []
        self.sent = []
        self.times = []
        self.all = []
        self.silent = False
        self.joined = now
        wheel.join(self.beat, now)

    def play(self, frames, now):
        self.queue += frames
        self.all += frames
        if self.silent and self.queue:
            self.silent = False
            self.wheel.hasten(self.beat, now)

    def tick(self, now):
        if not self.queue:
            self.silent = True
            if self.wheel.ease(self.beat):
                return
            self.times.append(now)
            return
        self.sent.append(self.queue.pop(0))
        self.times.append(now)


def turn(wheel, talkers, now):
    """What the clock does when its timer fires."""
    by_beat = {talker.beat: talker for talker in talkers}
    while due := wheel.take(now):
        for beat in due:
            if beat.live:
                by_beat[beat].tick(now)


def test_ticks_never_drift():
    wheel = Wheel(100.0)
    talker = Talker(wheel, 100.0)
    for n in range(10_000):
        turn(wheel, [talker], wheel.next + (n % 7) * 0.0011)  # always a bit late
    late = [at - (100.0 + (n + 1) * PERIOD_S) for n, at in enumerate(talker.times)]
    assert len(late) >= 9_000
    assert max(late) < 0.009
    assert wheel.skipped == 0


def test_a_short_stall_is_made_up_for_and_a_long_one_is_skipped():
    wheel = Wheel(0.0)
    talker = Talker(wheel, 0.0)
    turn(wheel, [talker], 0.061)
    assert len(talker.times) == 3
    turn(wheel, [talker], 0.061)
    assert len(talker.times) == 3
    turn(wheel, [talker], 1.061)
    assert len(talker.times) == 3 + MAX_CATCH_UP
    assert wheel.skipped == 50 - MAX_CATCH_UP
    assert wheel.next == pytest.approx(1.08)


@pytest.mark.parametrize(("after_ms", "waits_ms"), [(0, 10), (4, 6), (9, 1), (10, 0), (13, 0), (19, 0)])
def test_sound_after_silence_waits_only_until_half_a_period_has_passed(after_ms, waits_ms):
    wheel = Wheel(0.0)
    talker = Talker(wheel, 0.0)
    turn(wheel, [talker], 0.02)
    now = 0.02 + after_ms / 1000
    talker.play([1, 2], now)
    assert max(now, wheel.next) - now == pytest.approx(waits_ms / 1000)
    while talker.queue:
        now = max(now, wheel.next)
        turn(wheel, [talker], now)
    assert talker.sent == [1, 2]
    assert talker.times[-1] - talker.times[-2] == pytest.approx(PERIOD_S, abs=SLOT_S)


def test_the_lead_is_given_back_by_one_longer_interval():
    wheel = Wheel(0.0)
    talker = Talker(wheel, 0.0)
    turn(wheel, [talker], 0.02)
    talker.play([1], 0.03)
    for _ in range(4):
        turn(wheel, [talker], wheel.next)
    assert talker.times == pytest.approx([0.02, 0.03, 0.06, 0.08])


def test_sound_that_comes_while_the_lead_is_given_back_goes_at_once():
    wheel = Wheel(0.0)
    talker = Talker(wheel, 0.0)
    turn(wheel, [talker], 0.02)
    talker.play([1], 0.03)
    turn(wheel, [talker], 0.03)
    turn(wheel, [talker], 0.05)  # nothing to say: it waits for 10 ms more
    assert len(talker.times) == 2
    talker.play([2], 0.052)
    turn(wheel, [talker], 0.052)
    assert talker.times == pytest.approx([0.02, 0.03, 0.052])


@settings(max_examples=60, deadline=None, stateful_step_count=40)
class Wheels(RuleBasedStateMachine):
    """Lines that come, speak, are silent and go, on a timer that may be late, by more than is made up for."""

    @initialize(start=st.floats(0, 1e6))
    def begin(self, start):
        self.now = start
        self.wheel = Wheel(start)
        self.talkers = []
        self.gone = []
        self.frame = 0
        self.stalled = False

    @precondition(lambda self: len(self.talkers) < 6)
    @rule()
    def join(self):
        self.talkers.append(Talker(self.wheel, self.now))

    @precondition(lambda self: self.talkers)
    @rule(which=st.integers(0, 5))
    def leave(self, which):
        talker = self.talkers.pop(which % len(self.talkers))
        self.wheel.leave(talker.beat)
        self.gone.append((talker, len(talker.times)))

    @precondition(lambda self: self.talkers)
    @rule(which=st.integers(0, 5), count=st.integers(1, 4))
    def play(self, which, count):
        frames = list(range(self.frame, self.frame + count))
        self.frame += count
        talker = self.talkers[which % len(self.talkers)]
        talker.play(frames, self.now)

    @rule(ms=st.floats(0, 90))
    def on_time(self, ms):
        """The timer fires when it should, to within a millisecond."""
        end = self.now + ms / 1000
        while self.wheel.next is not None and self.wheel.next <= end:
            self.now = max(self.now, self.wheel.next + (self.frame % 3) * 0.0003)
            turn(self.wheel, self.talkers, self.now)
        self.now = max(self.now, end)

    @rule(ms=st.floats(0, 250))
    def held_up(self, ms):
        self.stalled = True
        self.now += ms / 1000
        turn(self.wheel, self.talkers, self.now)

    @invariant()
    def none_lost_none_double_in_order(self):
        for talker in self.talkers:
            assert talker.sent + talker.queue == talker.all

    @invariant()
    def no_drift(self):
        for talker in self.talkers:
            assert 0 <= talker.beat.lead <= MAX_LEAD
            passed = self.now - talker.joined
            most = (passed + LEAD_S) / PERIOD_S + 1
            assert len(talker.times) <= most
            if not self.stalled:
                assert len(talker.times) >= passed / PERIOD_S - 2

    @invariant()
    def never_too_close_nor_too_far(self):
        if self.stalled:
            return
        for talker in self.talkers:
            gaps = [after - before for before, after in zip(talker.times, talker.times[1:], strict=False)]
            assert all(LEAD_S - 0.001 < gap < PERIOD_S + LEAD_S + 0.001 for gap in gaps), gaps

    @invariant()
    def nobody_is_called_after_leaving(self):
        assert all(len(talker.times) == count for talker, count in self.gone)
        assert len(self.wheel) == len(self.talkers)


TestWheels = Wheels.TestCase


@given(st.lists(st.floats(0, 5), max_size=50))
def test_made_and_skipped_are_the_time_that_passed(waits):
    wheel, now = Wheel(3.0), 3.0
    talker = Talker(wheel, now)
    for wait in waits:
        now += wait
        turn(wheel, [talker], now)
        assert now - 1e-5 <= wheel.next <= now + PERIOD_S + 1e-5
    made = len(talker.times) + wheel.skipped
    assert made == pytest.approx((now - 3.0) / PERIOD_S, abs=len(waits) + 1.001)
