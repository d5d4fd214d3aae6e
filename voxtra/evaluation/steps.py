"""What a caller of a scenario does, step by step."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from voxtra.errors import ConfigurationError

_TEXT, _NUMBER = "text", "seconds"


@dataclass(frozen=True)
class Verb:
    """A kind of step: what it is given, and its options, all of them seconds but ``confidence``."""

    takes: str = ""
    options: tuple[str, ...] = ()


VERBS = {
    "hears": Verb(_TEXT, ("timeout",)),
    "hears_prompt": Verb(_TEXT, ("timeout",)),
    "says": Verb(_TEXT, ("gap", "confidence", "hangs_up_after")),
    "interrupts": Verb(_TEXT, ("after", "timeout")),
    "noise": Verb(_NUMBER, ("after",)),
    "silence": Verb(_NUMBER),
    "presses": Verb(_TEXT, ("gap",)),
    "holds": Verb(),
    "resumes": Verb(),
    "hangs_up": Verb(),
    "ended": Verb(options=("timeout",)),
}


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        verb: one of :data:`VERBS`.
        text: words, keys or a prompt's name, for verbs that take them.
        seconds: for verbs that take them.
        options: numbers by name.
    """

    verb: str
    text: str = ""
    seconds: float = 0.0
    options: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        value = self.text or (f"{self.seconds:g}" if VERBS[self.verb].takes == _NUMBER else "")
        more = "".join(f", {name} {number:g}" for name, number in self.options.items())
        return f"{self.verb}{f' {value}' if value else ''}{more}"


def read_step(given: object) -> Step:
    """A step from YAML: ``hangs_up``, ``{says: "Hello."}``, ``{interrupts: "Wait!", after: 1.5}``.

    Raises:
        ConfigurationError: it is none; says what would be right.
    """
    if isinstance(given, str):
        given = {given: None}
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{given!r}: a step is written like  says: Hello")
    names = [str(name) for name in given]
    verbs = [name for name in names if name in VERBS]
    if len(verbs) != 1:
        unknown = next((name for name in names if name not in VERBS), "")
        raise ConfigurationError(
            f"{' and '.join(verbs)} are two steps: write them one after the other"
            if verbs
            else f"{unknown!r} is no step: {_near(unknown, VERBS)}"
        )
    verb = verbs[0]
    options = {str(name): value for name, value in given.items() if name != verb}
    for name, value in options.items():
        if name not in VERBS[verb].options:
            raise ConfigurationError(f"{verb} has no {name!r}: {_near(name, VERBS[verb].options)}")
        options[name] = _number(f"{verb}: {name}", value)
    return _made(verb, given[verb], options)


def _made(verb: str, value: object, options: dict[str, float]) -> Step:
    takes = VERBS[verb].takes
    if takes == _NUMBER:
        return Step(verb, seconds=_number(verb, value), options=options)
    if takes == _TEXT:
        text = value if isinstance(value, str) else ""
        if not text.strip():
            mend = f"write  {verb}: words"
            if isinstance(value, int | float):
                mend = f'in quotes, please:  {verb}: "{value}"'
            raise ConfigurationError(f"{verb}: {value!r}: {mend}")
        return Step(verb, text=text, options=options)
    if value is not None:
        raise ConfigurationError(f"{verb}: {value!r}: it takes nothing, write it alone")
    return Step(verb, options=options)


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ConfigurationError(f"{what}: {value!r}: a number, 0 or more")
    return float(value)


def _near(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are {', '.join(known)}" if known else "it has no options"
