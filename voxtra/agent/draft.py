"""A reply that is begun while the caller's turn is likely, but not surely, over. Nobody hears it before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from voxtra.agent.prefetch import Prefetch
from voxtra.speech.base import LLM, LLMEvent
from voxtra.types import Message

MOST_A_TURN = 3
"""So many replies are begun in one turn at most: who pauses all the time is waited for."""


class Draft:
    """One request to the model, made ahead.

    Attributes:
        messages: what it was sent.
    """

    def __init__(self, llm: LLM, messages: list[Message], tools: Sequence[dict[str, Any]]) -> None:
        self._llm = llm
        self._tools = list(tools)
        self.messages = [dict(message) for message in messages]
        self.events: Prefetch[LLMEvent] = Prefetch(llm.stream(messages, tools=tools))

    def answers(self, llm: LLM, messages: list[Message], tools: Sequence[dict[str, Any]]) -> bool:
        """Whether it is the answer to this request, to the letter."""
        return llm is self._llm and messages == self.messages and list(tools) == self._tools


class Drafts:
    """The drafts of one call: one at a time.

    Attributes:
        begun: how many were begun.
        discarded: how many of them nobody heard.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.discarded = 0
        self._draft: Draft | None = None
        self._in_turn = 0
        self._ending: set[asyncio.Future[None]] = set()

    def begin(self, llm: LLM, messages: list[Message], tools: Sequence[dict[str, Any]]) -> bool:
        """Ask the model now. False when that was done already, or too often in this turn."""
        if self._draft is not None and self._draft.answers(llm, messages, tools):
            return False
        self.discard()
        if self._in_turn >= MOST_A_TURN:
            return False
        self._in_turn += 1
        self.begun += 1
        self._draft = Draft(llm, messages, tools)
        return True

    def take(
        self, llm: LLM, messages: list[Message], tools: Sequence[dict[str, Any]]
    ) -> Prefetch[LLMEvent] | None:
        """The answer to this request, if it is being made already. Another one is discarded."""
        draft = self._draft
        self._in_turn = 0
        if draft is None or not draft.answers(llm, messages, tools):
            self.discard()
            return None
        self._draft = None
        return draft.events

    def discard(self) -> None:
        """The caller went on: cancel the request; what came of it is forgotten."""
        draft, self._draft = self._draft, None
        if draft is None:
            return
        self.discarded += 1
        ending = asyncio.ensure_future(draft.events.aclose())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Discard, and wait until no request is left. Idempotent."""
        self.discard()
        if self._ending:
            await asyncio.wait(self._ending)
