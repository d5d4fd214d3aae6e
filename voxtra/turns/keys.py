"""The keys of a turn: which were pressed, and whether that was all."""

from __future__ import annotations

from dataclasses import dataclass

from voxtra.turns.decisions import TurnEnded

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
        """One more; beyond :data:`MAX_KEYS` it is dropped."""
        if not self.pressed:
            self.began_at = now
        self.last_at = now
        if key == END and self.pressed:
            self.complete = True
            return
        self.pressed = (self.pressed + key)[:MAX_KEYS]
        if key == END or len(self.pressed) == MAX_KEYS:
            self.complete = True

    def trailed_by(self, key: str, now: float, silence_ms: float) -> bool:
        """Whether ``key`` is the ``#`` after keys that were complete without it: it means nothing."""
        return key == END and not self.pressed and now - self.last_at < silence_ms

    def settled(self, now: float, silence_ms: float) -> bool:
        """Whether those pressed are all."""
        return self.complete or now - self.last_at >= silence_ms

    def wanted_ms(self, silence_ms: float) -> float:
        """The silence that those so far want after the last."""
        return 0.0 if self.complete or not self else silence_ms

    def take(self, now: float, silence_ms: float) -> TurnEnded:
        """Those pressed as a turn of their own; they are forgotten here."""
        turn = TurnEnded(
            "",
            1.0,
            self.began_at,
            self.last_at,
            now,
            interrupted=self.interrupted,
            silence_ms=self.wanted_ms(silence_ms),
            keys=self.pressed,
        )
        self.clear()
        return turn

    def clear(self) -> None:
        """Forget them; not when the last one was pressed."""
        self.pressed, self.complete, self.interrupted = "", False, False
