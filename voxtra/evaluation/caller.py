"""Carries out a scenario's steps, on whatever telephone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from voxtra.evaluation.steps import Step
from voxtra.testing.fake_errors import ExpectationError

POLL_S = 0.02
QUIET_S = 0.5
"""Silence after which the other side has finished."""
GREETING_S = 2.5
"""How long the other side is given to speak first."""
PATIENCE_S = 60.0
"""How long somebody waits for the other side to speak, or to finish."""


class Person(Protocol):
    """Who holds the telephone; :class:`~voxtra.testing.FakeCall` is one."""

    @property
    def is_over(self) -> bool: ...  # noqa: D102

    @property
    def is_spoken_to(self) -> bool: ...  # noqa: D102

    @property
    def heard(self) -> str: ...  # noqa: D102

    async def answered(self, timeout: float = 30) -> None: ...  # noqa: D102

    async def hears(self, text: str, timeout: float = 30) -> str: ...  # noqa: D102

    async def hears_prompt(self, name: str = "", timeout: float = 30) -> Any: ...  # noqa: D102

    async def says(self, text: str, *, confidence: float | None = None) -> None: ...  # noqa: D102

    async def interrupts(self, text: str, *, after: float = 1.0, timeout: float = 30) -> None: ...  # noqa: D102

    async def noise(self, seconds: float = 0.5) -> None: ...  # noqa: D102

    async def silence(self, seconds: float) -> None: ...  # noqa: D102

    async def presses(self, keys: str, *, gap: float = 0.2) -> None: ...  # noqa: D102

    async def holds(self) -> None: ...  # noqa: D102

    async def resumes(self) -> None: ...  # noqa: D102

    async def hangs_up(self) -> None: ...  # noqa: D102

    async def ended(self, timeout: float = 60) -> str: ...  # noqa: D102


async def perform(person: Person, steps: Sequence[Step]) -> None:
    """Do all steps, one after the other.

    Raises:
        ExpectationError: the call does not go that way; names the step.
    """
    for number, step in enumerate(steps, 1):
        try:
            await _do(person, step)
        except ExpectationError as error:
            raise ExpectationError(f"step {number} ({step}): {first_line(error)}") from None


def first_line(error: BaseException) -> str:
    """What an expectation says, without the conversation under it."""
    return str(error).partition("\n")[0].removesuffix(" The call so far:")


async def _do(person: Person, step: Step) -> None:
    given = dict(step.options)
    match step.verb:
        case "says" if "hangs_up_after" in given:
            await _break_off(person, step.text, given["hangs_up_after"])
        case "says" if "gap" in given:
            for word in step.text.split():
                await person.says(word, confidence=given.get("confidence"))
                await person.silence(given["gap"])
        case "noise":
            if "after" in given:
                await spoken_to(person)
                await person.silence(given["after"])
            await person.noise(step.seconds)
        case "silence":
            await person.silence(step.seconds)
        case verb:
            await getattr(person, verb)(*([step.text] if step.text else []), **given)


async def spoken_to(person: Person) -> None:
    """Wait until the other side speaks. Raises ExpectationError when it doesn't within ``PATIENCE_S``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not person.is_spoken_to:
        if person.is_over or loop.time() > deadline:
            raise ExpectationError("the other side no longer speaks")
        await asyncio.sleep(POLL_S)


async def quiet(person: Person, seconds: float = QUIET_S) -> None:
    """Wait until the other side has been silent for so long, or the call is over."""
    loop = asyncio.get_running_loop()
    deadline, since = loop.time() + PATIENCE_S, loop.time()
    while loop.time() - since < seconds and not person.is_over and loop.time() < deadline:
        if person.is_spoken_to:
            since = loop.time()
        await asyncio.sleep(POLL_S)


async def _break_off(person: Person, text: str, seconds: float) -> None:
    """Begin to speak, and hang up in the middle of it."""
    await person.answered()
    await quiet(person, QUIET_S if person.heard else GREETING_S)
    speaking = asyncio.ensure_future(person.says(text))
    try:
        await asyncio.wait({speaking}, timeout=seconds)
        if speaking.done():
            speaking.result()
            raise ExpectationError(f"all was said within {seconds:g} s: hang up earlier, or say more")
        await person.hangs_up()
        await speaking
    finally:
        speaking.cancel()
