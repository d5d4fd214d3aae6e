"""Several models that hear and speak as one: the next takes over the conversation when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

from voxtra.errors import ConfigurationError, LLMError, VoxtraError
from voxtra.speech.base import (
    ReplyAudio,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechEvent,
    SpeechStream,
    SpeechToSpeech,
    StreamLost,
)
from voxtra.speech.standbys import Several, Standby, all_failed
from voxtra.types import Message


class FallbackRealtime(Several[SpeechToSpeech], SpeechToSpeech):
    """Several models as one; made by :func:`voxtra.speech.fallback.Fallback`.

    A conversation stays with one model until that fails: it can't be reached, breaks off, refuses a reply, or says
    nothing of one within ``first_result_s``. That ends the stream (:class:`~voxtra.speech.base.StreamLost`), and the
    conversation is opened anew, with what was said so far, at the next.

    Attributes:
        failures: how often each provider failed, by name.

    Raises:
        ConfigurationError: some end turns themselves and some do not: they need different sound.
    """

    def __init__(
        self,
        providers: Sequence[SpeechToSpeech],
        *,
        first_result_s: float,
        retry_s: float,
        longest_retry_s: float,
    ) -> None:
        if len({provider.ends_turns for provider in providers}) > 1:
            both = ", ".join(
                f"{p.name} {'ends' if p.ends_turns else 'does not end'} turns" for p in providers
            )
            raise ConfigurationError(
                f"Fallback: {both}: give all of them the same turn_detection, 'local' say"
            )
        self.ends_turns = providers[0].ends_turns
        super().__init__(
            providers, first_result_s=first_result_s, retry_s=retry_s, longest_retry_s=longest_retry_s
        )

    async def open(
        self,
        *,
        rate: int,
        codec: str,
        on_event: Callable[[SpeechEvent], None],
        instructions: str = "",
        tools: Sequence[dict[str, Any]] = (),
        history: Sequence[Message] = (),
        language: str | None = None,
    ) -> SpeechStream:
        """A conversation with the first that works; see :meth:`voxtra.speech.base.SpeechToSpeech.open`.

        Raises:
            LLMError: nobody could.
        """
        problems: list[tuple[str, Exception]] = []
        for standby in self.standbys.order():
            watched = _Watched(self, standby, on_event)
            try:
                async with asyncio.timeout(self.first_result_s):
                    watched.inner = await standby.provider.open(
                        rate=rate,
                        codec=codec,
                        on_event=watched.event,
                        instructions=instructions,
                        tools=tools,
                        history=history,
                        language=language,
                    )
            except TimeoutError:
                error = LLMError(f"{standby.name}: no connection within {self.first_result_s:g} s")
                watched.over = True
                self.standbys.failed(standby, error)
                problems.append((standby.name, error))
            except VoxtraError as problem:
                watched.over = True
                self.standbys.failed(standby, problem)
                problems.append((standby.name, problem))
            else:
                watched.rate = watched.inner.rate
                return watched
        raise all_failed(LLMError, problems)

    async def _probe(self, provider: SpeechToSpeech) -> None:
        """It can be reached."""
        try:
            async with asyncio.timeout(self.first_result_s):
                stream = await provider.open(rate=8000, codec="ulaw", on_event=lambda event: None)
        except TimeoutError:
            raise LLMError(f"{provider.name}: no connection within {self.first_result_s:g} s") from None
        await stream.close()


class _Watched(SpeechStream):
    """One call's stream, and whether its provider keeps up.

    Attributes:
        over: True once what the provider says counts no more.
    """

    inner: SpeechStream

    def __init__(
        self,
        of: FallbackRealtime,
        standby: Standby[SpeechToSpeech],
        tell: Callable[[SpeechEvent], None],
    ) -> None:
        self._of = of
        self._standby = standby
        self._tell = tell
        self._wanted: set[str] = set()  # tags of the replies that have not begun; providers merge those alike
        self._under_way: Literal["", "silent", "heard"] = ""
        self.over = False
        self._timer: asyncio.TimerHandle | None = None

    def event(self, event: SpeechEvent) -> None:
        """What the provider says."""
        if self.over:
            return
        if isinstance(event, StreamLost):
            self._lose(event.error)
            return
        if isinstance(event, ReplyEnded):
            if event.reason == "failed" and self._another():
                self._lose(LLMError(f"{self._standby.name}: a reply failed: {event.detail}"))
                return
            if not event.reply:  # it never began
                self._wanted.discard(event.tag)
            self._under_way = ""
            self._rest()  # the next has its own time
        elif isinstance(event, ReplyStarted):
            self._wanted.discard(event.tag)
            self._under_way = "silent"
        elif isinstance(event, ReplyAudio | ReplyText | ReplyToolCall) and self._under_way != "heard":
            self._under_way = "heard"
            self._of.standbys.worked(self._standby)
        self._watch()
        self._tell(event)

    def _another(self) -> bool:
        return any(each is not self._standby and not each.down for each in self._of.standbys.all)

    def _watch(self) -> None:
        """A first word has to come within ``first_result_s`` of when it could, whatever else comes meanwhile."""
        waits = self._under_way == "silent" or (self._under_way == "" and self._wanted)
        if self.over or not waits:
            self._rest()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._of.first_result_s, self._late)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        limit = self._of.first_result_s
        self._lose(LLMError(f"{self._standby.name}: no word of a reply within {limit:g} s"))

    def _lose(self, error: LLMError) -> None:
        self.over = True
        self._watch()
        self._of.standbys.failed(self._standby, error)
        self._tell(StreamLost(error))

    def push(self, pcm: bytes) -> None:
        self.inner.push(pcm)

    def commit(self) -> None:
        self.inner.commit()

    def clear(self) -> None:
        self.inner.clear()

    def respond(self, instructions: str = "", *, tag: str = "") -> None:
        self._wanted.add(tag)
        self._watch()
        self.inner.respond(instructions, tag=tag)

    def add_tool_result(self, tool_id: str, content: str) -> None:
        self.inner.add_tool_result(tool_id, content)

    def add_text(self, text: str) -> None:
        self.inner.add_text(text)

    def cancel(self) -> None:
        self._wanted.clear()
        self._under_way = ""
        self._watch()
        self.inner.cancel()

    def truncate(self, item: str, heard_ms: int) -> None:
        self.inner.truncate(item, heard_ms)

    async def close(self) -> None:
        self.over = True
        self._watch()
        await self.inner.close()
