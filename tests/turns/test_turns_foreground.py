"""Voices in the background are not the caller; a caller is never lost for long."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from voxtra.turns.foreground import FAR, FORGET, LATER, NOTICED, PAUSE, Foreground


def talk(seconds: float, top: float, seed: int = 1) -> list[float]:
    """Levels of somebody who speaks without a pause: syllables that rise by 15 dB to about ``top``."""
    rng = random.Random(seed)
    levels: list[float] = []
    while len(levels) < seconds * 50:
        peak, length = top + rng.uniform(-3, 0), rng.randint(5, 10)
        levels += [peak - 15 * abs(2 * n / length - 1) ** 2 for n in range(length)]
    return levels[: int(seconds * 50)]


def heard(ears: Foreground, levels: list[float], *, learn: bool = True) -> int:
    return sum(ears.hear(0.95, level, learn=learn) >= 0.5 for level in levels)


def pause(ears: Foreground, seconds: float) -> None:
    for _ in range(int(seconds * 50)):
        ears.hear(0.02, -70.0)


def test_one_caller_alone_is_always_heard() -> None:
    ears = Foreground()
    for turn in range(5):
        levels = talk(3, -18, seed=turn)
        assert heard(ears, levels) == len(levels)
        pause(ears, 0.4)
    assert ears.suppressed == 0


def test_voices_that_go_on_after_the_caller_are_silence() -> None:
    ears = Foreground()
    heard(ears, talk(2, -18))
    passed = heard(ears, talk(3, -18 - 20))
    assert passed <= LATER
    assert ears.suppressed >= 3 * 50 - LATER
    assert heard(ears, talk(1, -18)) >= 48  # and the caller is heard at once


def test_a_soft_answer_on_a_line_without_voices_is_heard() -> None:
    ears = Foreground()
    heard(ears, talk(2, -12))
    pause(ears, 1.0)
    assert heard(ears, talk(1, -12 - FAR - 10)) == 50


def test_voices_noticed_once_do_not_begin_turns_for_a_while() -> None:
    ears = Foreground()
    heard(ears, talk(2, -18))
    heard(ears, talk(1, -40))
    pause(ears, 0.6)
    assert heard(ears, talk(1, -40)) == 0
    pause(ears, NOTICED / 50 + 1)
    assert heard(ears, talk(1, -40)) == 50


def test_who_moves_away_is_heard_again() -> None:
    ears = Foreground()
    heard(ears, talk(2, -18))
    seconds = (20 - FAR + 4) / FORGET / 50
    assert heard(ears, talk(seconds + 1, -38)) > LATER


def test_nothing_is_learned_or_forgotten_from_what_may_be_echo() -> None:
    ears = Foreground()
    heard(ears, talk(1, -30))
    before = ears.level
    heard(ears, talk(1, -10), learn=False)
    heard(ears, talk(5, -50), learn=False)
    assert ears.level == before


@given(st.lists(st.tuples(st.booleans(), st.floats(-80, 0), st.booleans()), max_size=300))
def test_only_speech_is_changed_and_loud_speech_never(frames: list[tuple[bool, float, bool]]) -> None:
    ears = Foreground()
    for speech, level, learn in frames:
        probability = 0.9 if speech else 0.1
        known = ears.level
        found = ears.hear(probability, level, learn=learn)
        assert found in (probability, 0.0)
        if not speech or known is None or level > known:
            assert found == probability


def test_a_pause_ends_what_is_known_of_who_speaks() -> None:
    ears = Foreground()
    heard(ears, talk(1, -18))
    pause(ears, (PAUSE - 2) / 50)
    assert heard(ears, talk(1, -40)) < 50
    ears = Foreground()
    heard(ears, talk(1, -18))
    pause(ears, (PAUSE + 2) / 50)
    assert heard(ears, talk(1, -40)) == 50
