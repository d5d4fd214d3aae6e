import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.media.jitter import LOST, Concealment, JitterBuffer
from voxtra.media.rtp import Packet


def packet(sequence, ssrc=7):
    return Packet(0, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc, b"")


def feed(buffer, *sequences, ssrc=7):
    out = []
    for sequence in sequences:
        buffer.add(packet(sequence, ssrc))
        while (item := buffer.pop()) is not None:
            out.append("lost" if item is LOST else item.sequence)
    return out


def test_in_order_nothing_waits():
    buffer = JitterBuffer()
    for n in range(100):
        assert feed(buffer, n) == [n]
    assert len(buffer) == 0


def test_order_is_restored():
    assert feed(JitterBuffer(), 1, 3, 2, 5, 6, 4, 7) == [1, 2, 3, 4, 5, 6, 7]


def test_a_lost_packet_is_given_up_when_enough_wait():
    buffer = JitterBuffer(depth=3)
    assert feed(buffer, 1, 3, 4) == [1]
    assert feed(buffer, 5) == ["lost", 3, 4, 5]
    assert feed(buffer, 2) == []
    assert buffer.late == 1


def test_duplicates_come_once():
    buffer = JitterBuffer()
    assert feed(buffer, 1, 1, 3, 3, 2, 2) == [1, 2, 3]
    assert buffer.duplicates == 1
    assert buffer.late == 2


def test_sequence_wraps():
    assert feed(JitterBuffer(), 65534, 65535, 1, 0, 2) == [65534, 65535, 0, 1, 2]


def test_another_ssrc_or_a_jump_is_a_new_beginning():
    buffer = JitterBuffer()
    assert feed(buffer, 1, 2) == [1, 2]
    assert feed(buffer, 900, 901, ssrc=8) == [900, 901]
    assert feed(buffer, 5000, 5001, ssrc=8) == [5000, 5001]
    assert feed(buffer, 10, 11, 12, 13, 14, ssrc=8) == [13, 14]  # back by far: believed at the fourth
    assert buffer.resets == 3


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 2)), max_size=200), st.integers(1, 8))
def test_any_flood_keeps_memory_and_output_bounded(arrivals, depth):
    buffer = JitterBuffer(depth, max_gap=50)
    out = 0
    for sequence, ssrc in arrivals:
        out += len(feed(buffer, sequence, ssrc=ssrc))
        assert len(buffer) < max(depth, 2)
    assert out <= len(arrivals) * 51


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_with_loss_and_reordering_within_depth_every_slot_comes_once_in_order(data):
    start = data.draw(st.integers(0, 0xFFFF))
    lost = data.draw(st.sets(st.integers(1, 58), max_size=15))
    order = [n for n in range(60) if n not in lost]
    for _ in range(data.draw(st.integers(0, 20))):  # swaps of neighbours; each packet moves once
        at = data.draw(st.integers(1, len(order) - 2))
        if order[at + 1] - order[at] == 1 and order[at - 1] < order[at]:
            order[at], order[at + 1] = order[at + 1], order[at]
    order += range(60, 64)  # what comes after flushes the last gap
    buffer = JitterBuffer(depth=3, max_gap=200)
    out = feed(buffer, *(start + n for n in order))
    numbers = [(start + n) & 0xFFFF for n in range(len(out))]
    assert [n for n in out if n != "lost"] == [n for n, o in zip(numbers, out, strict=True) if o != "lost"]
    assert len(out) >= 60


def test_concealment_repeats_and_fades_to_silence():
    tone = (8000 * np.sin(2 * math.pi * 400 * np.arange(160) / 8000)).astype("<i2").tobytes()
    hide = Concealment(320)
    assert hide.conceal() == bytes(320)
    hide.good(tone)
    levels = [np.frombuffer(hide.conceal(), "<i2").astype(float).std() for _ in range(5)]
    full = np.frombuffer(tone, "<i2").astype(float).std()
    assert levels == [pytest.approx(full * f, abs=1) for f in (0.75, 0.5, 0.25, 0, 0)]
