"""A conversation with a speech-to-speech model that is opened while the call still rings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from voxtra.errors import LLMError
from voxtra.speech.base import SpeechEvent, SpeechStream, SpeechToSpeech, StreamLost

log = logging.getLogger("voxtra.agent")

CONNECT_S = 5.0
"""How long a call rings for its model at most, s; who is slower is waited for on the answered call."""
MAX_EVENTS = 64
"""Events that may come before anybody listens; a connection on which more come is not used."""


class Early(SpeechToSpeech):
    """A provider, with one conversation that is open already.

    Whoever first opens the very conversation that was prepared gets it; everybody else a new one. ``close`` closes what
    nobody took, and leaves the provider alone.
    """

    def __init__(self, provider: SpeechToSpeech) -> None:
        self.provider = provider
        self.name = provider.name
        self.ends_turns = provider.ends_turns
        self._stream: SpeechStream | None = None
        self._wanted: dict[str, Any] = {}
        self._events: list[SpeechEvent] = []
        self._tell: Callable[[SpeechEvent], None] = self._events.append

    async def connect(self, **wanted: Any) -> None:
        """Open the conversation that will be asked for, as of ``open``. One that can't be opened is left for then."""
        self._wanted = {**wanted, "history": list(wanted["history"]), "tools": list(wanted["tools"])}
        try:
            async with asyncio.timeout(CONNECT_S):
                self._stream = await self.provider.open(**self._wanted, on_event=self._event)
        except (LLMError, TimeoutError) as error:
            log.warning(
                "%s: not connected ahead: %s", self.name, str(error) or f"nothing within {CONNECT_S:g} s"
            )

    def _event(self, event: SpeechEvent) -> None:
        self._tell(event)

    async def open(self, *, on_event: Callable[[SpeechEvent], None], **wanted: Any) -> SpeechStream:
        """A conversation; see :meth:`voxtra.speech.base.SpeechToSpeech.open`. Raises LLMError."""
        stream, self._stream = self._stream, None
        given = {**wanted, "history": list(wanted["history"]), "tools": list(wanted["tools"])}
        lost = any(isinstance(event, StreamLost) for event in self._events) or len(self._events) > MAX_EVENTS
        if stream is not None and given == self._wanted and not lost:
            for event in self._events:  # once whoever opens it has it
                asyncio.get_running_loop().call_soon(on_event, event)
            self._events.clear()
            self._tell = on_event
            return stream
        if stream is not None:
            await stream.close()
        return await self.provider.open(**wanted, on_event=on_event)

    async def close(self) -> None:
        """Close what was not taken. Idempotent."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
