"""The app of ``path``, in a process of its own: a conversation with engines that answer on the spot."""

from __future__ import annotations

import time
from collections import deque

from benchmarks.mocks import MockLLM, MockSTT, MockTTS, WatchedVAD
from benchmarks.process import Answer, run_child, serve
from benchmarks.worker import Worker
from voxtra import CallSession, EventType, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.events import VoxtraEvent


class PathWorker(Worker):
    """Says of each turn when its last frame came, when it was decided, and when the reply went to the line."""

    def __init__(self) -> None:
        self.vad = WatchedVAD()
        super().__init__(VoxtraApp(stt=MockSTT(), llm=MockLLM(), tts=MockTTS(), vad=self.vad))
        self._agent = Agent(greeting="Hello.", idle_s=30)
        self._turns: deque[dict[str, float]] = deque(maxlen=100)
        self.app.on()(self._note)

    async def handle(self, call: CallSession) -> None:
        """A conversation."""
        self.calls += 1
        try:
            await call.answer()
            await call.converse(self._agent)
        finally:
            self.ended += 1

    def _note(self, event: VoxtraEvent) -> None:
        ear = self.vad.newest
        if event.type is EventType.TURN_ENDED and ear is not None:
            now = time.monotonic()
            self._turns.append({"frame_at": ear.at, "quiet": ear.quiet, "decided_at": now})
        elif event.type is EventType.AGENT_SPEECH_STARTED and self._turns:
            self._turns[-1].setdefault("played_at", time.monotonic())

    async def turns(self) -> Answer:
        """The turns since it was asked last."""
        found = list(self._turns)
        self._turns.clear()
        return {"turns": found}


async def main() -> None:
    worker = PathWorker()
    names = ("start", "stop", "usage", "turns", "profile", "profile_start", "profile_stop")
    await serve({name: getattr(worker, name) for name in names})
    await worker.stop()


if __name__ == "__main__":
    run_child(main)
