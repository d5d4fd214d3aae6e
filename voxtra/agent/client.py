"""``call.agent``: the call's conversation with the language model, and its history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxtra._checks import checked
from voxtra.agent.draft import Drafts
from voxtra.agent.streams import closing
from voxtra.agent.times import TurnTimes
from voxtra.errors import ConfigurationError, PipelineNotConfiguredError
from voxtra.events import AgentResponseEvent, EventType, VoxtraEvent
from voxtra.speech.base import LLM, TextDelta, ToolCall, Usage
from voxtra.types import Message


@dataclass(slots=True)
class _Reply:
    """What the model has answered so far."""

    words: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    @property
    def text(self) -> str:
        return "".join(self.words).strip()


class AgentClient:
    """One call's conversation. Never shared between calls.

    Attributes:
        history: messages without the instructions; yours to change.
        instructions: the system prompt, sent first with every request.
        tools: OpenAI function schemas offered to the model.
    """

    def __init__(
        self,
        llm: LLM | None,
        *,
        instructions: str = "",
        emit: Callable[[VoxtraEvent], None] = lambda event: None,
    ) -> None:
        self._llm = llm
        self._emit = emit
        self.instructions = instructions
        self.history: list[Message] = []
        self.tools: Sequence[dict[str, Any]] = ()
        self.times = TurnTimes()
        self.last: AgentResponseEvent | None = None
        """The newest complete answer of the model."""
        self.drafts = Drafts()
        """Replies begun before the caller's turn was decided."""
        self._language: str | None = None
        self._followers: tuple[Callable[[str | None], None], ...] = ()
        self._unfinished: Message | None = None  # the newest reply, when its stream was closed early

    def use(self, *, llm: LLM | None, instructions: str, tools: Sequence[dict[str, Any]]) -> None:
        """Go on as another agent: its model (None: as before), instructions and tools."""
        self._llm = llm or self._llm
        self.instructions = instructions or self.instructions
        self.tools = tools

    @property
    def language(self) -> str | None:
        """BCP 47 of what is spoken on this call; None = the providers' own.

        Set it in mid-call: the next utterance is spoken in it, and the caller is heard in it from the next turn
        on (this one, if it has not begun). What the model answers in is up to its instructions.

        Raises:
            ConfigurationError: the recogniser does not know the language; nothing has changed.
        """
        return self._language

    @language.setter
    def language(self, language: str | None) -> None:
        checked("language", language, (str, type(None)), "a BCP 47 tag like 'de' or 'en-GB'")
        if language != self._language:
            for follow in self._followers:
                follow(language)
            self._language = language

    def follow_language(self, follow: Callable[[str | None], None]) -> Callable[[], None]:
        """Call ``follow`` with another language before it is in force: it may refuse it by a
        ConfigurationError. Returns what ends it."""
        self._followers = (*self._followers, follow)

        def off() -> None:
            self._followers = tuple(each for each in self._followers if each is not follow)

        return off

    @property
    def messages(self) -> list[Message]:
        """What the model is sent: the instructions, then the history. A copy."""
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        return [*system, *self.history]

    def reset(self) -> None:
        """Forget the conversation."""
        self.history.clear()

    def foresee(self, text: str) -> None:
        """Begin the reply to ``text`` now, unheard: the caller is likely to have said all.

        :meth:`stream` or :meth:`respond` with the same text and an unchanged history goes on with it;
        anything else discards it. The history is left alone.
        """
        if self._llm is not None and text:
            self.drafts.begin(self._llm, [*self.messages, *self._asked(text)], self.tools)

    async def respond(self, text: object = "") -> AgentResponseEvent:
        """One answer of the model to ``text``, with all that was said before.

        Args:
            text: what the caller said (a string or a transcript event); "" adds no message, for use
                after :meth:`add_tool_result`.

        Raises:
            ConfigurationError: ``text`` is None, as ``listen`` gives when nothing was said.
            LLMError: the provider failed; the history is as before, so that it can be tried again.
        """
        asked, reply = self._asked(text), _Reply()
        async with closing(self._ask(asked, reply)) as pieces:
            async for _ in pieces:
                pass
        return self._complete(asked, reply)

    async def stream(self, text: object = "") -> AsyncIterator[str]:
        """The answer piece by piece, to be given to ``say`` while it is still being made.

        ``await call.say(call.agent.stream(user.text))`` speaks the first clause as soon as it stands.
        Closed before its end (the caller interrupts), it cancels the request, and the history gets what
        was said to the model and its words so far, for :meth:`cut_to_heard`; tool calls of an answer
        that was not finished are forgotten.

        Raises:
            LLMError: as :meth:`respond`.
        """
        asked, reply = self._asked(text), _Reply()
        try:
            async with closing(self._ask(asked, reply)) as pieces:
                async for piece in pieces:
                    yield piece
        except (GeneratorExit, asyncio.CancelledError):
            reply.calls.clear()
            self._unfinished = self._remember(asked, reply)
            raise
        self._complete(asked, reply)

    @staticmethod
    def _asked(text: object) -> list[Message]:
        if text is None:
            raise ConfigurationError("text=None: should be what the caller said, or '' to add nothing")
        said = str(text)
        return [{"role": "user", "content": said}] if said else []

    async def _ask(self, asked: Sequence[Message], reply: _Reply) -> AsyncIterator[str]:
        """The model's words as they come; ``reply`` collects all there is."""
        if self._llm is None:
            raise PipelineNotConfiguredError("llm")
        times = self.times
        self._emit(VoxtraEvent(type=EventType.AGENT_THINKING))
        times.llm_started()
        messages = [*self.messages, *asked]
        begun = self.drafts.take(self._llm, messages, self.tools)
        async with closing(begun or self._llm.stream(messages, tools=self.tools)) as events:
            async for event in events:
                times.llm_first()
                if isinstance(event, TextDelta):
                    reply.words.append(event.text)
                    yield event.text
                elif isinstance(event, ToolCall):
                    reply.calls.append(event)
                else:
                    reply.usage = event
        times.llm_done()

    def _remember(self, asked: Sequence[Message], reply: _Reply) -> Message | None:
        """Put what was asked and answered into the history; returns the answer there, if there is any."""
        self.history += asked
        if not (reply.text or reply.calls):
            return None
        message = _assistant(reply.text, reply.calls)
        self.history.append(message)
        return message

    def _complete(self, asked: Sequence[Message], reply: _Reply) -> AgentResponseEvent:
        self._remember(asked, reply)
        self._unfinished = None
        calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in reply.calls]
        usage = {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
        event = AgentResponseEvent(text=reply.text, tool_calls=calls, data=usage)
        self.last = event
        self._emit(event)
        return event

    async def add_tool_result(self, tool_id: str, result: object) -> None:
        """The result of a tool call, for the model's next answer.

        Args:
            tool_id: ``id`` of the tool call.
            result: a string, or anything that JSON can say.
        """
        self.note_result(tool_id, result)

    def note_result(self, tool_id: str, result: object) -> None:
        """:meth:`add_tool_result`, without a wait: it has none.

        It stands right after what asked for it, as chat models demand, whatever was said since.
        """
        try:
            content = (
                result if isinstance(result, str) else json.dumps(result, default=str, ensure_ascii=False)
            )
        except (TypeError, ValueError):  # keys that are no strings, or a thing that holds itself
            content = str(result)
        history = self.history
        asked = [
            at for at, each in enumerate(history) if any(c.get("id") == tool_id for c in _calls_of(each))
        ]
        place = asked[-1] + 1 if asked else len(history)
        while place < len(history) and history[place].get("role") == "tool":
            place += 1
        history.insert(place, {"role": "tool", "tool_call_id": tool_id, "content": content})

    def cut_to_heard(self, text: str, heard: str) -> None:
        """Make the history hold what the caller heard of the reply ``text``, and nothing else.

        Args:
            text: the words that were to be said, from the reply's beginning; more of it may have been
                made than was taken to be spoken.
            heard: those of them that were heard; with "" the reply leaves the history (not its tool calls).

        A ``text`` that is no reply to what was said last changes nothing.
        """
        for index in range(len(self.history) - 1, -1, -1):
            message = self.history[index]
            if message["role"] == "user":
                return
            # Nothing taken to be spoken fits every reply: then only one that was broken off can be meant.
            fits = _begins_with(message.get("content") or "", text) if text else message is self._unfinished
            if message["role"] == "assistant" and fits:
                if heard or message.get("tool_calls"):
                    message["content"] = heard
                else:
                    del self.history[index]
                return


def _begins_with(reply: str, said: str) -> bool:
    words = said.split()
    return reply.split()[: len(words)] == words


def _calls_of(message: Message) -> Sequence[Any]:
    calls: Sequence[Any] = message.get("tool_calls") or ()
    return calls


def _assistant(text: str, calls: Sequence[ToolCall]) -> Message:
    message: Message = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for call in calls
        ]
    return message
