"""Plays scenarios one after another and says of each whether all was as expected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from voxtra.app import VoxtraApp
from voxtra.errors import ConfigurationError, LLMError
from voxtra.evaluation.checks import checks_of
from voxtra.evaluation.persona import judge
from voxtra.evaluation.play import MakeLLM, play_text
from voxtra.evaluation.played import Check, Played
from voxtra.evaluation.scenario import Scenario
from voxtra.testing.clock import run_virtual

Play: TypeAlias = Callable[[Scenario, VoxtraApp, MakeLLM | None], Played]
"""Plays a scenario: :func:`~voxtra.evaluation.play.play_text`, or the one of real calls."""


@dataclass
class Outcome:
    """A scenario, what became of it, and what was found.

    Attributes:
        took_s: real seconds it took to play.
    """

    scenario: Scenario
    played: Played
    checks: list[Check]
    took_s: float

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return {
            "name": self.scenario.name,
            "file": str(self.scenario.file) if self.scenario.file is not None else None,
            "passed": self.passed,
            "took_s": round(self.took_s, 3),
            "checks": [asdict(check) for check in self.checks],
            **asdict(self.played),
        }


def evaluate(
    scenarios: Iterable[Scenario],
    app_of: Callable[[Scenario], VoxtraApp],
    *,
    make_llm: MakeLLM | None = None,
    play: Play = play_text,
    done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Play all scenarios.

    Args:
        app_of: the app that a scenario calls.
        make_llm: makes the model that plays personas and judges; a new one each time.
        play: how it is played.
        done: told of each outcome as soon as it is there.

    Raises:
        ConfigurationError: an app can't start, or a scenario wants a model and there is none.
    """
    outcomes = []
    for scenario in scenarios:
        if scenario.wants_model and make_llm is None:
            what = "a persona" if scenario.persona is not None else "a judge"
            raise ConfigurationError(f"{scenario.name}: {what} needs a language model: name one with --llm")
        began = time.monotonic()
        played = play(scenario, app_of(scenario), make_llm)
        if scenario.judge and make_llm is not None and not played.failure:
            _judge(scenario, played, make_llm)
        outcome = Outcome(scenario, played, checks_of(scenario.expect, played), time.monotonic() - began)
        outcomes.append(outcome)
        done(outcome)
    return outcomes


def _judge(scenario: Scenario, played: Played, make_llm: MakeLLM) -> None:
    async def ask() -> None:
        played.verdicts = await judge(make_llm(), played.lines, scenario.judge)

    try:
        run_virtual(ask())
    except LLMError as error:
        played.failure = f"the judge failed: {error}"
