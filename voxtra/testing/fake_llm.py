"""A language model that answers as the test says."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, TypeAlias

from voxtra.errors import ConfigurationError
from voxtra.speech.base import LLM, LLMEvent, TextDelta, ToolCall, Usage
from voxtra.testing.fake_errors import ExpectationError
from voxtra.types import Message

_numbers = itertools.count(1)

Reply: TypeAlias = "str | ToolCall | Exception | Sequence[str | ToolCall | Usage | Exception]"


class ScriptedLLM(LLM):
    """Answers request after request with the replies given::

        ScriptedLLM(["Good morning!", ["One moment.", tool("book_table", people=4)], "It is booked."])

    A reply is a text, a tool call (:func:`tool`), a list of these, an exception to be raised, or a function
    that gets the messages and returns one of these. A request for which no reply is left fails the test.

    Args:
        replies: one for each request, in order.
        latency: virtual seconds from the request to the first word.
        pace: virtual seconds between two words.

    Attributes:
        requests: the messages of each request, the instructions included.
        tools: the tools offered with each.
    """

    name = "scripted"

    def __init__(
        self,
        replies: Iterable[Reply | Callable[[list[Message]], Reply]],
        *,
        latency: float = 0.2,
        pace: float = 0.0,
    ) -> None:
        if isinstance(replies, str):
            raise ConfigurationError(f"ScriptedLLM({replies!r}): a list of replies, one for each request")
        self.requests: list[list[Message]] = []
        self.tools: list[list[dict[str, Any]]] = []
        self._replies = list(replies)
        self._latency = latency
        self._pace = pace

    @property
    def left(self) -> int:
        """Replies not asked for yet."""
        return max(0, len(self._replies) - len(self.requests))

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """The next reply, word by word."""
        number = len(self.requests)
        self.requests.append([dict(message) for message in messages])
        self.tools.append(list(tools))
        if number >= len(self._replies):
            last = messages[-1]["content"] if messages else ""
            raise ExpectationError(
                f"ScriptedLLM has {len(self._replies)} replies and was asked once more, after {last!r}"
            )
        reply = self._replies[number]
        if callable(reply):
            reply = reply(self.requests[-1])
        await asyncio.sleep(self._latency)
        for part in [reply] if isinstance(reply, str | ToolCall | Exception) else reply:
            if isinstance(part, Exception):
                raise part
            if not isinstance(part, str):
                yield part
                continue
            for word in re.findall(r"\s*\S+\s*", part):
                yield TextDelta(word)
                await asyncio.sleep(self._pace)


def tool(name: str, /, **arguments: Any) -> ToolCall:
    """A tool call, for a reply of :class:`ScriptedLLM`: ``tool("transfer", to="sales")``."""
    return ToolCall(id=f"call-{next(_numbers)}", name=name, arguments=arguments)
