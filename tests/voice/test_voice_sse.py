"""Server-sent events, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.voice.sse import MAX_EVENT_BYTES, ServerEvent, SSEParser

STREAM = (
    b": a comment\n\nevent: status\nid: 1\ndata: {\ndata: }\n\nretry: 5\ndata:two\r\n\r\n"
    b"id: \xc3\xa4\rdata: three\r\revent: nothing\n\ndata: unfinished"
)
EVENTS = [
    ServerEvent("status", "{\n}", "1"),
    ServerEvent("message", "two", "1"),
    ServerEvent("message", "three", "ä"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_the_same_events_however_it_is_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]
    parser = SSEParser()
    found = [event for start, end in itertools.pairwise(ends) for event in parser.feed(STREAM[start:end])]
    assert found == EVENTS


def test_an_event_that_never_ends_is_refused() -> None:
    parser = SSEParser()
    line = b"data: " + b"x" * 1000 + b"\n"
    parser.feed(line * (MAX_EVENT_BYTES // 1000 - 1))
    with pytest.raises(ValueError, match="an event of more than"):
        parser.feed(line * 2)


@given(st.binary(max_size=300))
def test_any_bytes_are_events_or_no_utf8(data: bytes) -> None:
    try:
        SSEParser().feed(data)
    except UnicodeDecodeError:
        pass
