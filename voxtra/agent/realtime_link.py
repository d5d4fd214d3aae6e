"""The connection to a speech-to-speech model: opened, lost, opened again, and given up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from voxtra.errors import LLMError
from voxtra.media.line import Line
from voxtra.media.resample import Resampler
from voxtra.speech.base import SpeechEvent, SpeechStream, SpeechToSpeech
from voxtra.types import Message

log = logging.getLogger("voxtra.agent")

MAX_LOSSES = 3
"""So many connections may be lost within :data:`LOSSES_S` before it is given up."""
LOSSES_S = 60.0
OPEN_S = 30.0
"""How long a connection may take; providers have shorter limits of their own."""


class Link:
    """One call's connection, whichever it is at the moment.

    Args:
        instructions, tools, language: as of :meth:`~voxtra.speech.base.SpeechToSpeech.open`.
        on_event: takes what comes.

    Attributes:
        stream: None while there is none.
        lost: resolves with the reason when the connection of the moment is lost.
        losses: times of the connections lost lately.
    """

    def __init__(
        self,
        line: Line,
        provider: SpeechToSpeech,
        *,
        instructions: str,
        tools: Sequence[dict[str, Any]],
        language: str | None,
        on_event: Callable[[SpeechEvent], None],
    ) -> None:
        self.stream: SpeechStream | None = None
        self.lost: asyncio.Future[LLMError] = asyncio.get_running_loop().create_future()
        self.losses: list[float] = []
        self._line = line
        self._provider = provider
        self._instructions = instructions
        self._tools = tools
        self._language = language
        self._on_event = on_event
        self._uplink: Resampler | None = None

    async def open(self, history: Sequence[Message]) -> SpeechStream:
        """Connect, with what was said so far. Raises LLMError."""
        loop = asyncio.get_running_loop()
        self.lost = loop.create_future()
        try:
            async with asyncio.timeout(OPEN_S):
                stream = await self._provider.open(
                    rate=self._line.rate,
                    codec=self._line.codec,
                    on_event=self._on_event,
                    instructions=self._instructions,
                    tools=self._tools,
                    history=history,
                    language=self._language,
                )
        except TimeoutError:
            raise LLMError(f"{self._provider.name}: no connection within {OPEN_S:g} s") from None
        self._uplink = Resampler(self._line.rate, stream.rate)
        self.stream = stream
        return stream

    def use_language(self, language: str | None) -> None:
        """Another language, from the next connection on: the model hears any."""
        self._language = language or self._language

    def push(self, pcm: bytes) -> None:
        """The caller's next sound, at the line's rate; nobody hears it while there is no connection."""
        if self.stream is not None and self._uplink is not None:
            self.stream.push(self._uplink.process(pcm))

    def clear(self) -> None:
        """What was pushed is no turn."""
        if self.stream is not None:
            self.stream.clear()

    def lose(self, error: LLMError) -> None:
        """The connection is of no use any more."""
        if not self.lost.done():
            self.lost.set_result(error)

    def give_up(self, error: LLMError) -> None:
        """No other connection would be of use either."""
        self.losses = [asyncio.get_running_loop().time()] * MAX_LOSSES
        self.lose(error)

    def count(self, error: LLMError) -> None:
        """A connection was lost, or not made. Raises ``error`` when that happens too often."""
        now = asyncio.get_running_loop().time()
        self.losses = [*(at for at in self.losses if now - at < LOSSES_S), now]
        log.warning("the conversation's connection was lost: %s", error)
        if len(self.losses) > MAX_LOSSES:
            raise error

    async def close(self) -> None:
        """Close the connection of the moment. Idempotent."""
        stream, self.stream = self.stream, None
        if stream is not None:
            await stream.close()
