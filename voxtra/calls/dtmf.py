"""Collects the keys a caller presses. No I/O: digits and a time go in, the result comes out."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from voxtra.errors import ConfigurationError

KEYS = "0123456789*#ABCD"

DigitsReason: TypeAlias = Literal["finished", "terminator", "timeout", "hangup"]


class Digits(str):
    """The keys pressed: a string that knows why the collection ended.

    Attributes:
        reason: ``finished`` (all digits there), ``terminator`` (``#``), ``timeout``, ``hangup``.
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


class DigitCollector:
    """One collection.

    Args:
        max_digits: the input is complete with this many.
        timeout_s: longest wait for the first key; None = for ever.
        inter_digit_s: longest wait for each further one.
        terminators: keys that end the input and are no part of it.

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
        self._digits = ""
        self.deadline = None if timeout_s is None else now + timeout_s
        """When ``expire`` is due, on the clock of ``now``; None = never."""
        self.result: Digits | None = None
        """The result, once there is one."""

    def push(self, digit: str, now: float) -> Digits | None:
        """A key was pressed. Returns the result when this completes it."""
        if self.result is not None:
            return self.result
        if digit in self._terminators:
            return self._done("terminator", digit)
        self._digits += digit
        if len(self._digits) >= self._max:
            return self._done("finished")
        self.deadline = now + self._inter_digit_s
        return None

    def expire(self) -> Digits:
        """The deadline has passed."""
        return self._done("timeout")

    def hang_up(self) -> Digits:
        """The call has ended."""
        return self._done("hangup")

    def _done(self, reason: DigitsReason, terminator: str = "") -> Digits:
        if self.result is None:
            self.result = Digits(self._digits, reason, terminator)
        return self.result
