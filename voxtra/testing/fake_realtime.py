"""A speech-to-speech model that answers as the test says, on the sound of the fake caller."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from voxtra.agent.realtime_reply import SAY
from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import (
    CallerText,
    CallerTurn,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechEvent,
    SpeechStream,
    SpeechToSpeech,
    StreamLost,
    ToolCall,
    Usage,
)
from voxtra.testing.fake_errors import ExpectationError
from voxtra.testing.fake_sound import RATE, read, spoken
from voxtra.types import Message

Reply: TypeAlias = "str | ToolCall | Exception | Sequence[str | ToolCall | Exception]"

_SAY = re.compile(re.escape(SAY).replace(re.escape("{text}"), "(.*)"), re.DOTALL)


@dataclass(slots=True, frozen=True)
class Opened:
    """What a conversation with the model was opened with."""

    instructions: str
    tools: tuple[dict[str, Any], ...]
    history: tuple[Message, ...]


class ScriptedRealtime(SpeechToSpeech):
    """Hears the fake caller exactly, and answers with the replies given, one for each request::

        ScriptedRealtime(["Good morning!", ["One moment.", tool("book_table", people=4)], "It is booked."])

    A reply is a text, a tool call, a list of these, or an exception: ``LLMError`` is a reply that fails,
    ``ConnectionError`` a lost connection. What it is told to say (a greeting) it says, and takes no reply for it.
    A request for which no reply is left fails the test.

    Args:
        replies: one for each request, in order.
        latency: virtual seconds from the request to the first sound.
        refuses: so many first connections fail.

    Attributes:
        opened: instructions, tools and history of each connection.
        heard: the caller's turns, in words.
        results: results of tools it was given, by id of the call.
        truncated: (utterance, ms) for every one that was cut off.
        live: connections that are open.
    """

    name = "scripted realtime"

    def __init__(self, replies: Iterable[Reply] = (), *, latency: float = 0.2, refuses: int = 0) -> None:
        if isinstance(replies, str):
            raise ConfigurationError(
                f"ScriptedRealtime({replies!r}): a list of replies, one for each request"
            )
        self.opened: list[Opened] = []
        self.heard: list[str] = []
        self.results: dict[str, str] = {}
        self.truncated: list[tuple[str, int]] = []
        self.live = 0
        self._replies = iter(list(replies))
        self._latency = latency
        self._refuses = refuses
        self._names = itertools.count(1)

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
        """A conversation for one call."""
        await asyncio.sleep(self._latency)
        if self._refuses > 0:
            self._refuses -= 1
            raise LLMError(f"{self.name}: no connection")
        self.opened.append(Opened(instructions, tuple(tools), tuple(dict(each) for each in history)))
        return _Stream(self, on_event)

    def reply(self) -> list[str | ToolCall | Exception]:
        """The next reply's parts."""
        try:
            reply = next(self._replies)
        except StopIteration:
            raise ExpectationError(f"{self.name} was asked once more than it has replies") from None
        return [reply] if isinstance(reply, str | ToolCall | Exception) else list(reply)


class _Stream(SpeechStream):
    rate = RATE

    def __init__(self, model: ScriptedRealtime, tell: Callable[[SpeechEvent], None]) -> None:
        self._model = model
        self._tell = tell
        self._said = ""
        self._asked: list[tuple[str, str]] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        model.live += 1

    def push(self, pcm: bytes) -> None:
        self._said += read(pcm).text

    def commit(self) -> None:
        words, self._said = " ".join(self._said.split()), ""
        self._model.heard.append(words)
        item = f"turn{next(self._model._names)}"
        self._soon(CallerTurn(item))
        self._soon(CallerText(item, words, is_final=True))

    def _soon(self, event: SpeechEvent) -> None:
        asyncio.get_running_loop().call_soon(self._say, event)

    def _say(self, event: SpeechEvent) -> None:
        if not self._closed:
            self._tell(event)

    def clear(self) -> None:
        self._said = ""

    def respond(self, instructions: str = "", *, tag: str = "") -> None:
        self._asked.append((instructions, tag))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._work())

    async def _work(self) -> None:
        while self._asked:
            await self._answer(*self._asked.pop(0))

    async def _answer(self, instructions: str, tag: str) -> None:
        told = _SAY.match(instructions)
        parts: Sequence[str | ToolCall | Exception] = [told[1]] if told else self._model.reply()
        name = f"reply{next(self._model._names)}"
        self._tell(ReplyStarted(name, tag))
        try:
            await asyncio.sleep(self._model._latency)
            for part in parts:
                if isinstance(part, LLMError):
                    self._tell(ReplyEnded(name, "failed", detail=str(part), tag=tag))
                    return
                if isinstance(part, Exception):
                    self._tell(StreamLost(LLMError(f"{self._model.name}: {part}")))
                    return
                self._part(name, part)
        except asyncio.CancelledError:
            self._say(ReplyEnded(name, "cancelled", tag=tag))
            raise
        self._tell(ReplyEnded(name, "finished", Usage(1, 1), tag=tag))

    def _part(self, name: str, part: str | ToolCall) -> None:
        if isinstance(part, ToolCall):
            self._tell(ReplyToolCall(name, part))
            return
        item = f"item{next(self._model._names)}"
        self._tell(ReplyText(name, item, part))
        self._tell(ReplyAudio(name, item, spoken(f"{part} ")))
        self._tell(ReplyAudioEnded(name, item))

    def add_tool_result(self, tool_id: str, content: str) -> None:
        self._model.results[tool_id] = content

    def add_text(self, text: str) -> None:
        self._model.heard.append(text)

    def cancel(self) -> None:
        self._asked.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def truncate(self, item: str, heard_ms: int) -> None:
        self._model.truncated.append((item, heard_ms))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._model.live -= 1
        task = self._task
        self.cancel()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
