"""Feeds a turn machine 20 ms at a time and keeps what it decides."""

from __future__ import annotations

from voxtra.turns import Decision, TurnDetection, TurnMachine

FRAME = 20


class Feed:
    """A machine, its clock, and every decision so far with the time it came."""

    def __init__(self, settings: TurnDetection | None = None, **changes: int) -> None:
        self.machine = TurnMachine(settings or TurnDetection(**changes))
        self.now = 1_000_000.0
        self.log: list[tuple[float, Decision]] = []

    def keep(self, decisions: list[Decision]) -> list[Decision]:
        self.log += [(self.now, decision) for decision in decisions]
        return decisions

    def frames(self, ms: float, probability: float) -> list[Decision]:
        out: list[Decision] = []
        for _ in range(int(ms / FRAME)):
            self.now += FRAME
            out += self.keep(self.machine.frame(probability, self.now))
        return out

    def speech(self, ms: float, probability: float = 1.0) -> list[Decision]:
        return self.frames(ms, probability)

    def silence(self, ms: float) -> list[Decision]:
        return self.frames(ms, 0.0)

    def ticks(self, ms: float, step: float = 100) -> list[Decision]:
        out: list[Decision] = []
        for _ in range(int(ms / step)):
            self.now += step
            out += self.keep(self.machine.tick(self.now))
        return out

    def final(self, text: str, confidence: float = 0.9) -> list[Decision]:
        return self.keep(self.machine.transcript(text, confidence, True, self.now))

    def partial(self, text: str) -> list[Decision]:
        return self.keep(self.machine.transcript(text, 0.5, False, self.now))

    def sounded(self, probability: float) -> list[Decision]:
        return self.keep(self.machine.sounded(probability, self.now))

    def keys(self, keys: str, *, gap: float = 0) -> list[Decision]:
        """Press keys; silence of ``gap`` ms after each."""
        out: list[Decision] = []
        for key in keys:
            out += self.keep(self.machine.key(key, self.now))
            out += self.silence(gap)
        return out

    def agent(self, audible: bool, *, interruptible: bool = True) -> list[Decision]:
        return self.keep(self.machine.agent_audible(audible, self.now, interruptible=interruptible))

    def stop(self) -> list[Decision]:
        return self.keep(self.machine.stop())

    @property
    def kinds(self) -> list[str]:
        """Names of all decisions so far."""
        return [type(decision).__name__ for _, decision in self.log]

    def only(self, kind: type[Decision]) -> Decision:
        """The one decision of that kind."""
        found = [decision for _, decision in self.log if isinstance(decision, kind)]
        assert len(found) == 1, self.log
        return found[0]
