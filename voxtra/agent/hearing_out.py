"""Asks a model at each pause whether the caller has finished, by how it sounded."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from voxtra.errors import ConfigurationError, ProviderError
from voxtra.media.line import FRAME_MS
from voxtra.speech.base import EndOfTurnModel
from voxtra.turns import (
    Decision,
    SoundRules,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
)

log = logging.getLogger("voxtra.agent")

ASK_S = 0.4
"""How long an answer is waited for, s: later the turn is about to be decided without."""


def rules_of(model: EndOfTurnModel | None) -> SoundRules | None:
    """What the answers of a model mean."""
    return None if model is None else SoundRules(model.unfinished, model.shorten_from)


class HearingOut:
    """One caller's turns, as sound, and the question at their pauses. At most one question is under way.

    Args:
        model: who is asked; shared by all calls.
        rate: Hz of the sound.
        told: takes each answer, 0..1, on the event loop. None comes after speech went on or the turn is over.

    Attributes:
        unanswered: how many questions came to nothing: the model failed, or was too slow.
    """

    def __init__(self, model: EndOfTurnModel, rate: int, told: Callable[[float], None]) -> None:
        self._model = model
        self._rate = rate
        self._told = told
        self._sound: deque[bytes] = deque(maxlen=max(1, round(model.window_s * 1000 / FRAME_MS)))
        self._before = 0
        self._speaking = False
        self._question: asyncio.Task[None] | None = None
        self.unanswered = 0

    def keep_before(self, ms: int) -> None:
        """How much sound from before a turn belongs to it, ms."""
        self._before = ms // FRAME_MS

    def push(self, pcm: bytes) -> None:
        """The next 20 ms."""
        self._sound.append(pcm)
        if not self._speaking:
            while len(self._sound) > self._before:
                self._sound.popleft()

    def decided(self, decision: Decision) -> None:
        """What the turn machine decided."""
        match decision:
            case SpeechStarted():
                self._speaking = True
            case SpeechPaused():
                self._drop()
                self._question = asyncio.ensure_future(self._ask(b"".join(self._sound)))
            case SpeechResumed():
                self._drop()
            case TurnEnded() | TurnDropped():
                self._speaking = False
                self._drop()
            case _:
                pass

    async def _ask(self, pcm: bytes) -> None:
        try:
            async with asyncio.timeout(ASK_S):
                probability = await self._model.finished(pcm, self._rate)
        except TimeoutError:
            self._failed(f"no answer within {ASK_S:g} s")
        except (ProviderError, ConfigurationError) as error:
            self._failed(str(error))
        else:
            self._told(probability)

    def _failed(self, why: str) -> None:
        # a turn ends without it as well; the log is told once a call, not at every pause
        self.unanswered += 1
        level = logging.WARNING if self.unanswered == 1 else logging.DEBUG
        log.log(level, "end of turn by %s: %s", self._model.name or type(self._model).__name__, why)

    def _drop(self) -> None:
        if self._question is not None and self._question is not asyncio.current_task():
            self._question.cancel()
        self._question = None

    async def close(self) -> None:
        """Ask no more. Idempotent."""
        question = self._question
        self._drop()
        if question is not None:
            await asyncio.gather(question, return_exceptions=True)
