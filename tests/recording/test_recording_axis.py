"""The axis against a model of what belongs where: sample for sample, over pauses and moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.recording.axis import RETURN_SLOTS, StereoAxis
from voxtra.recording.spans import Spans
from voxtra.recording.tape import LEFT, RIGHT

FRAME, SLOT_S, START = 160, 0.02, 500.0
SLOTS = 150


def count_up(first, count):
    """Every sample tells its place: 1, 2, ..."""
    return ((np.arange(first, first + count) % 32767) + 1).astype("<i2")


def asterisk(first, count):
    """The same, negative."""
    return -count_up(first, count)


class World:
    """An axis, and what the finished file should hold."""

    def __init__(self):
        self.axis = StereoAxis(8000, START)
        self.file = np.zeros((SLOTS * FRAME, 2), np.int16)
        self.line = np.zeros_like(self.file)
        self.muted = np.zeros(SLOTS * FRAME, bool)
        self.away = np.zeros((SLOTS * FRAME, 2), bool)
        self.taped = np.zeros_like(self.file)
        self.is_muted = self.is_away = False
        self.now = START
        self.track = self.axis.follow(0, 0, False, lambda: self.now)

    def write(self, until):
        for each in self.axis.hand_on(until):
            pcm = np.frombuffer(each.pcm, "<i2")
            if each.lane is None:
                self.file[each.at : each.at + len(pcm) // 2] = pcm.reshape(-1, 2)
            else:
                self.file[each.at : each.at + len(pcm), each.lane] = pcm

    def expected(self):
        both = np.where(self.away, self.taped, self.line)
        both[self.muted] = 0
        return both


def run(ops, segments, write_at):
    world = World()
    axis = world.axis
    by_slot = {}
    for slot, op in ops:
        by_slot.setdefault(slot, []).append(op)
    world.track.played(count_up(0, SLOTS * FRAME).tobytes())
    for slot in range(SLOTS):
        first, last = slot * FRAME, (slot + 1) * FRAME
        world.now = START + slot * SLOT_S
        for op in by_slot.get(slot, ()):
            world.track.advance(axis.slot(world.now))
            getattr(axis, op)(world.now)
            if op in ("mute", "unmute"):
                world.is_muted = op == "mute"
            elif op == "depart":
                world.is_away = True
                world.away[first:] = True
            elif world.is_away:
                world.is_away = False
                world.away[first + RETURN_SLOTS * FRAME :, LEFT] = False
                world.away[first:, RIGHT] = False
        world.muted[first:last] = world.is_muted
        world.line[first:last, LEFT] = world.line[first:last, RIGHT] = count_up(first, FRAME)
        world.now = START + (slot + 1) * SLOT_S
        axis.hear(world.now, world.line[first:last, LEFT].tobytes())
        world.track.advance(axis.slot(world.now))
        if slot in write_at:
            world.write(first)
    for lane, at, count in segments:
        pcm = asterisk(at, count)
        axis.lay(lane, at, pcm[: max(0, SLOTS * FRAME - at)].tobytes())
        first = max(at, 0)
        last = max(first, min(at + count, SLOTS * FRAME))
        world.taped[first:last, lane] = pcm[first - at : last - at]
        world.write(0)
    world.write(SLOTS * FRAME)
    return world


moves = st.lists(
    st.tuples(st.integers(0, SLOTS - 1), st.sampled_from(["mute", "unmute", "depart", "back"])), max_size=12
)
segment = st.tuples(
    st.sampled_from([LEFT, RIGHT]), st.integers(-2000, SLOTS * FRAME - 1), st.integers(1, SLOTS * FRAME)
)


@settings(max_examples=60, deadline=None)
@pytest.mark.proves("field 12")
@given(
    ops=moves, segments=st.lists(segment, max_size=5), write_at=st.sets(st.integers(0, SLOTS - 1), max_size=8)
)
def test_every_sample_is_the_lines_or_asterisks_or_silent_in_a_pause(ops, segments, write_at):
    world = run(sorted(ops, key=lambda op: op[0]), segments, write_at)
    np.testing.assert_array_equal(world.file, world.expected())


def test_a_pause_stays_silent_whatever_is_laid_in_later():
    whole = [(lane, 0, SLOTS * FRAME) for lane in (LEFT, RIGHT)]
    world = run([(0, "depart"), (40, "mute"), (60, "unmute")], whole, {50, 100})
    assert not world.file[40 * FRAME : 60 * FRAME].any()
    assert (world.file[: 40 * FRAME] < 0).all()
    assert (world.file[60 * FRAME :] < 0).all()


@given(
    ops=st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.integers(0, 30)), max_size=20),
    window=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_spans_are_what_a_list_of_marks_says(ops, window):
    spans, marks, at, since = Spans(), set(), 0, None
    for op, step in ops:
        at += step
        if op == "begin" and since is None:
            since = at
        elif op == "end" and since is not None:
            marks |= set(range(since, at))
            since = None
        getattr(spans, op)(at)
    first, last = min(window), max(window)
    if since is not None:
        marks |= set(range(since, last))
    found = [x for since, until in spans.within(first, last) for x in range(since, until)]
    assert found == sorted(x for x in marks if first <= x < last)
    assert spans.is_open == (since is not None)
