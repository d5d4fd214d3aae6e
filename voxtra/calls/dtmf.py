"""Collects the keys a caller presses. No I/O: digits and a time go in, the result comes out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Self, TypeAlias

from voxtra.errors import ConfigurationError

KEYS = "0123456789*#ABCD"

DigitsReason: TypeAlias = Literal["finished", "terminator", "invalid", "timeout", "hangup"]


class Digits(str):
    """The keys pressed: a string that knows why the collection ended.

    Attributes:
        reason: ``finished`` (all digits there), ``terminator`` (``#``), ``invalid`` (no pattern begins
            like this), ``timeout``, ``hangup``.
        terminator: the key that ended it, "" otherwise.
    """

    reason: DigitsReason
    terminator: str

    def __new__(cls, text: str, reason: DigitsReason, terminator: str = "") -> Self:
        """Digits with their reason."""
        digits = super().__new__(cls, text)
        digits.reason = reason
        digits.terminator = terminator
        return digits

    def __getnewargs__(self) -> tuple[str, DigitsReason, str]:  # type: ignore[override]
        """What a copy is made of."""
        return str(self), self.reason, self.terminator


Match: TypeAlias = Literal["complete", "open", "incomplete", "invalid"]
"""``open``: it fits, and would still fit with more keys."""

_SETS = {"X": "0123456789", "Z": "123456789", "N": "23456789"}


class KeyPattern:
    """What may be dialled: keys as they are, or a dialplan pattern (``_2XX``, ``_0[2-5].``).

    X is 0-9, Z 1-9, N 2-9, ``[1-58]`` a set; at the end ``.`` is one key or more, ``!`` any number.

    Raises:
        ConfigurationError: there is something else in it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._sets: list[str] = []
        self._tail = ""
        rest = text.removeprefix("_").upper()
        while rest:
            if text.startswith("_") and rest in (".", "!"):
                self._tail, rest = rest, ""
                continue
            part = re.match(r"\[[^\]]+\]|.", rest)
            assert part is not None
            self._sets.append(self._set(part[0]))
            rest = rest[part.end() :]
        if not self._sets and not self._tail:
            raise ConfigurationError("a pattern of keys may not be empty")

    def _set(self, part: str) -> str:
        if part[0] == "[":
            keys = re.sub(
                r"(\d)-(\d)", lambda m: "".join(map(str, range(int(m[1]), int(m[2]) + 1))), part[1:-1]
            )
        else:
            keys = _SETS.get(part, part) if self.text.startswith("_") else part
        if not keys or any(key not in KEYS for key in keys):
            raise ConfigurationError(
                f"pattern {self.text!r}: {part!r} is no key of a telephone, nor X, Z, N, [..]"
            )
        return keys

    def match(self, digits: str) -> Match:
        """How ``digits`` fit so far."""
        if any(key not in keys for key, keys in zip(digits, self._sets, strict=False)):
            return "invalid"
        more = len(digits) - len(self._sets)
        if more < 0 or (more == 0 and self._tail == "."):
            return "incomplete"
        if self._tail:
            return "open"
        return "complete" if more == 0 else "invalid"

    def names(self, key: str, digits: str) -> bool:
        """Whether ``key`` stands in the pattern as the next after ``digits``; what ``.`` takes it does not name."""
        return len(digits) < len(self._sets) and self.match(digits + key) != "invalid"


class DigitCollector:
    """One collection.

    Args:
        max_digits: the input is complete with this many; not looked at where there are patterns.
        timeout_s: longest wait for the first key; None = for ever.
        inter_digit_s: longest wait for each further one.
        terminators: keys that end the input and are no part of it, but for those that a pattern names there.
        patterns: what may be dialled; complete as soon as one fits and none wants more.

    Raises:
        ConfigurationError: an argument can't be.
    """

    def __init__(
        self,
        max_digits: int,
        timeout_s: float | None,
        *,
        inter_digit_s: float = 3.0,
        terminators: str = "#",
        patterns: Sequence[str] = (),
        now: float,
    ) -> None:
        if not isinstance(max_digits, int) or max_digits < 1:
            raise ConfigurationError(f"max_digits={max_digits!r}: a number, at least 1")
        if timeout_s is not None and not (isinstance(timeout_s, (int, float)) and timeout_s >= 0):
            raise ConfigurationError(f"timeout={timeout_s!r}: seconds, 0 or more, or None for ever")
        if not (isinstance(inter_digit_s, (int, float)) and inter_digit_s > 0):
            raise ConfigurationError(f"inter_digit_timeout={inter_digit_s!r}: seconds, more than 0")
        if not isinstance(terminators, str):
            raise ConfigurationError(f"terminators={terminators!r}: keys as text, like '#'")
        if wrong := [key for key in terminators if key not in KEYS]:
            raise ConfigurationError(f"terminators={terminators!r}: {wrong[0]!r} is no key of a telephone")
        self._max = max_digits
        self._inter_digit_s = inter_digit_s
        self._terminators = terminators
        self._patterns = [
            KeyPattern(text) for text in ([patterns] if isinstance(patterns, str) else patterns)
        ]
        self._digits = ""
        self.deadline = None if timeout_s is None else now + timeout_s
        """When ``expire`` is due, on the clock of ``now``; None = never."""
        self.result: Digits | None = None
        """The result, once there is one."""

    def push(self, digit: str, now: float) -> Digits | None:
        """A key was pressed. Returns the result when this completes it."""
        if self.result is not None:
            return self.result
        if digit in self._terminators and not any(p.names(digit, self._digits) for p in self._patterns):
            return self._done("terminator", digit)
        self._digits += digit
        if self._patterns:
            fits = {pattern.match(self._digits) for pattern in self._patterns}
            if fits == {"invalid"}:
                return self._done("invalid")
            if "complete" in fits and not fits & {"open", "incomplete"}:
                return self._done("finished")
        elif len(self._digits) >= self._max:
            return self._done("finished")
        self.deadline = now + self._inter_digit_s
        return None

    def expire(self) -> Digits:
        """The deadline has passed. What fits a pattern, and might have gone on, is complete now."""
        if any(pattern.match(self._digits) in ("complete", "open") for pattern in self._patterns):
            return self._done("finished")
        return self._done("timeout")

    def hang_up(self) -> Digits:
        """The call has ended."""
        return self._done("hangup")

    def _done(self, reason: DigitsReason, terminator: str = "") -> Digits:
        if self.result is None:
            self.result = Digits(self._digits, reason, terminator)
        return self.result
