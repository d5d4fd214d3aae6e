"""The keys of a turn: which were pressed, and whether that was all."""

from __future__ import annotations

from dataclasses import dataclass

END = "#"
"""The key that says there are no more. It is no part of what it ends."""
MAX_KEYS = 64
"""So many are taken as all."""


@dataclass(slots=True)
class Keys:
    """Keys pressed one after another.

    Attributes:
        pressed: so far.
        began_at, last_at: ms, the first and the last.
        complete: no more are waited for.
        interrupted: the agent was cut off by them.
    """

    pressed: str = ""
    began_at: float = 0.0
    last_at: float = float("-inf")
    complete: bool = False
    interrupted: bool = False

    def __bool__(self) -> bool:
        return bool(self.pressed)

    def press(self, key: str, now: float) -> None:
        """One more."""
        if not self.pressed:
            self.began_at = now
        self.last_at = now
        if key == END and self.pressed:
            self.complete = True
            return
        self.pressed += key
        if key == END or len(self.pressed) >= MAX_KEYS:
            self.complete = True

    def settled(self, now: float, silence_ms: float) -> bool:
        """Whether those pressed are all."""
        return self.complete or now - self.last_at >= silence_ms

    def clear(self) -> None:
        """Forget them; not when the last one was pressed."""
        self.pressed, self.complete, self.interrupted = "", False, False
