"""Waits between tries."""

from hypothesis import given
from hypothesis import strategies as st

from voxtra.ari.backoff import Backoff


@given(st.lists(st.floats(0, 1), min_size=1, max_size=80), st.floats(0.01, 1), st.floats(1, 60))
def test_stays_between_half_the_floor_and_the_cap(chances: list[float], floor: float, cap: float) -> None:
    feed = iter(chances)
    backoff = Backoff(floor, cap, lambda: next(feed))
    waits = [backoff.next_s() for _ in chances]
    assert all(floor / 2 <= w <= cap for w in waits)


def test_doubles_up_to_the_cap_and_begins_anew_after_a_reset() -> None:
    backoff = Backoff(1, 8, lambda: 1.0)
    assert [backoff.next_s() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    backoff.reset()
    assert backoff.next_s() == 1


def test_is_jittered() -> None:
    backoff = Backoff(1, 1)
    assert len({backoff.next_s() for _ in range(20)}) > 10
