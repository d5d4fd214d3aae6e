"""What may be sent again: never anything twice that could be done twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.voice.retry import TRIES, wait_before_retry


@pytest.mark.parametrize(
    ("again", "failure", "told", "waits"),
    [
        ("unsent", "unconnected", {}, True),
        ("unsent", "broken", {}, False),
        ("safe", "broken", {}, True),
        ("unsent", "answered", {"status": 503}, False),
        ("safe", "answered", {"status": 503}, True),
        ("safe", "answered", {"status": 500}, False),
        ("safe", "answered", {"status": 404}, False),
        ("unsent", "answered", {"status": 429}, False),
        ("unsent", "answered", {"status": 429, "retry_after_s": 2.0}, True),
    ],
)
def test_what_is_sent_again(again: Any, failure: Any, told: dict[str, Any], waits: bool) -> None:
    assert (wait_before_retry(1, again, failure, **told) is not None) is waits


@given(
    tries=st.integers(1, 10),
    again=st.sampled_from(["safe", "unsent"]),
    failure=st.sampled_from(["unconnected", "broken", "answered"]),
    status=st.sampled_from([0, 400, 404, 429, 500, 502, 503, 504]),
    after=st.none() | st.floats(0, 60),
)
def test_tries_end_and_waits_are_not_shorter_than_asked(
    tries: int, again: Any, failure: Any, status: int, after: float | None
) -> None:
    wait_s = wait_before_retry(tries, again, failure, status=status, retry_after_s=after)
    if tries >= TRIES:
        assert wait_s is None
    if wait_s is not None:
        assert wait_s > 0
        assert failure != "answered" or after is None or wait_s >= after
        assert again == "safe" or failure == "unconnected" or status == 429
