"""What a telephone picks up beside its owner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from eval_scenes import app_of, scenario, shop
from pydantic import ValidationError

from voxtra.evaluation import evaluate
from voxtra.evaluation.surroundings import FRAME_BYTES, LineSpec, Surroundings, add
from voxtra.turns.echo import EchoGuard

TONE = (np.ones(160) * 1000).astype("<i2").tobytes()
SILENCE = bytes(FRAME_BYTES)


def level(pcm: bytes) -> float:
    return float(np.abs(np.frombuffer(pcm, "<i2").astype(float)).mean())


def test_echo_comes_later_and_softer() -> None:
    room = Surroundings(LineSpec(echo_db=-20, echo_delay_ms=100))
    found = []
    for frame in range(20):
        now = frame * 0.02
        room.hear(TONE if frame < 5 else SILENCE, now)
        found.append(level(room.beside(now)))
    assert found[:5] == [0] * 5
    assert found[5:10] == [100] * 5
    assert found[10:] == [0] * 10


def test_echo_that_waits_is_bounded() -> None:
    room = Surroundings(LineSpec(echo_db=-6, echo_delay_ms=20))
    for _ in range(100):
        room.hear(TONE, 0.0)
    answers = [level(room.beside(1.0)) for _ in range(10)]
    assert answers == [501] * 3 + [0] * 7


def test_somebody_else_begins_later_and_goes_on() -> None:
    line = LineSpec(background="anything", background_db=-20, background_gap_s=0.04, background_from_s=0.06)
    room = Surroundings(line, TONE * 3)
    found = [level(room.beside(0.0)) for _ in range(13)]
    assert found == [0] * 3 + [100, 100, 100, 0, 0] * 2


def test_both_at_once() -> None:
    assert level(add(TONE, TONE)) == 2000
    assert add(TONE, SILENCE) == TONE
    assert add(SILENCE, TONE) == TONE
    loud = (np.ones(160) * 30000).astype("<i2").tobytes()
    assert level(add(loud, loud)) == 32767


@pytest.mark.parametrize("given", [{"echo_db": 0}, {"echo_delay_ms": 1000}, {"background_db": 3}, {"ech": 1}])
def test_what_can_not_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LineSpec.model_validate(given)


TALK = [{"hears": "Hello"}, {"says": "When are you open?"}, {"hears": "five"}, "hangs_up"]


@pytest.mark.parametrize(
    "line", [{"echo_db": -20}, {"background": "Did you see the game last night?", "background_db": -20}]
)
def test_in_text_the_app_hears_it_and_only_its_guards_tell(
    line: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = scenario(caller=TALK, line=line, expect={"turns": 1, "interruptions": 0})
    (outcome,) = evaluate([given], lambda _: app_of(shop))
    assert outcome.passed, [check for check in outcome.checks if not check.holds]
    monkeypatch.setattr(EchoGuard, "hear", lambda self, probability, level, now: probability)
    (outcome,) = evaluate([given], lambda _: app_of(shop))
    assert not outcome.passed
