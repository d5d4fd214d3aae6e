"""Frames on their way out."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from voxtra.voice.outbox import BOUND_S, LATE_S, Outbox
from voxtra.wire import AudioFormat

PCM = AudioFormat(codec="pcm16", sample_rate=8000)


def taken(outbox: Outbox) -> list[tuple[int, bytes]]:
    found = []
    while frame := outbox.take():
        found.append(tuple(frame))
    return found  # type: ignore[return-value]


@given(st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 10**9)), min_size=1, max_size=20))
def test_nothing_is_lost_and_time_goes_forward(pieces: list[tuple[int, int]]) -> None:
    now = [10**9]
    outbox = Outbox(PCM, lambda: now[0])
    sound = b""
    for samples, later_ns in pieces:
        piece = bytes([len(sound) % 251]) * (2 * samples)
        sound += piece
        now[0] += later_ns
        outbox.put(piece, None)
    frames = taken(outbox)
    assert b"".join(payload for _, payload in frames) == sound
    assert all(0 < len(payload) <= 320 for _, payload in frames)
    stamps = [stamp for stamp, _ in frames]
    assert all(later - earlier >= 20_000 for earlier, later in itertools.pairwise(stamps))


def test_it_is_bounded_and_the_newest_go() -> None:
    outbox = Outbox(PCM)
    outbox.put(bytes(320 * 50 * (int(BOUND_S) + 1)), None)
    assert len(outbox) == 50 * BOUND_S
    assert outbox.dropped == 50


def test_what_waited_for_a_connection_is_dropped_when_late() -> None:
    now = [10**9]
    outbox = Outbox(PCM, lambda: now[0])
    outbox.put(bytes(320), 1)
    now[0] += int(LATE_S * 1e9) + 1
    outbox.put(bytes(320), 2)
    outbox.drop_late()
    assert [stamp for stamp, _ in taken(outbox)] == [2]
    assert outbox.dropped == 1
