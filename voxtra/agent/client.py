"""``call.agent``: the call's conversation with the language model, and its history."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from voxtra.agent.times import TurnTimes
from voxtra.errors import PipelineNotConfiguredError
from voxtra.events import AgentResponseEvent, EventType, VoxtraEvent
from voxtra.speech.base import LLM, TextDelta, ToolCall, Usage
from voxtra.types import Message


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

    @property
    def messages(self) -> list[Message]:
        """What the model is sent: the instructions, then the history. A copy."""
        system = [{"role": "system", "content": self.instructions}] if self.instructions else []
        return [*system, *self.history]

    def reset(self) -> None:
        """Forget the conversation."""
        self.history.clear()

    async def respond(self, text: object = "") -> AgentResponseEvent:
        """One answer of the model to ``text``, with all that was said before.

        Args:
            text: what the caller said (a string or a transcript event); "" adds no message, for use
                after :meth:`add_tool_result`.

        Raises:
            LLMError: the provider failed; the history is as before, so that it can be tried again.
        """
        words: list[str] = []
        calls: list[dict[str, Any]] = []
        async for event in self._ask(str(text)):
            if isinstance(event, TextDelta):
                words.append(event.text)
            elif isinstance(event, ToolCall):
                calls.append({"id": event.id, "name": event.name, "arguments": event.arguments})
        return AgentResponseEvent(text="".join(words).strip(), tool_calls=calls)

    async def stream(self, text: object = "") -> AsyncIterator[str]:
        """The answer piece by piece, to be given to ``say`` while it is still being made.

        ``await call.say(call.agent.stream(user.text))`` speaks the first clause as soon as it stands.
        """
        async with contextlib.aclosing(self._ask(str(text))) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    yield event.text

    async def _ask(self, text: str) -> AsyncIterator[TextDelta | ToolCall | Usage]:
        if self._llm is None:
            raise PipelineNotConfiguredError("llm")
        asked: list[Message] = [{"role": "user", "content": text}] if text else []
        self._emit(VoxtraEvent(type=EventType.AGENT_THINKING))
        self.times.llm_started()
        words: list[str] = []
        calls: list[ToolCall] = []
        usage = Usage()
        async with contextlib.aclosing(self._llm.stream([*self.messages, *asked], tools=self.tools)) as events:  # type: ignore[type-var]
            async for event in events:
                self.times.llm_first()
                if isinstance(event, TextDelta):
                    words.append(event.text)
                elif isinstance(event, ToolCall):
                    calls.append(event)
                else:
                    usage = event
                yield event
        self.times.llm_done()
        reply = "".join(words).strip()
        self.history += [*asked, _assistant(reply, calls)]
        self._emit(
            AgentResponseEvent(
                text=reply,
                tool_calls=[{"id": c.id, "name": c.name, "arguments": c.arguments} for c in calls],
                data={"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
            )
        )

    async def add_tool_result(self, tool_id: str, result: object) -> None:
        """The result of a tool call, for the model's next answer.

        Args:
            tool_id: ``id`` of the tool call.
            result: a string, or anything that JSON can say.
        """
        content = result if isinstance(result, str) else json.dumps(result, default=str)
        self.history.append({"role": "tool", "tool_call_id": tool_id, "content": content})

    def cut_to_heard(self, text: str, heard: str) -> None:
        """Make the history hold what the caller heard of the reply ``text``, and nothing else."""
        for index in range(len(self.history) - 1, -1, -1):
            message = self.history[index]
            if message["role"] == "user":
                return
            if message["role"] == "assistant" and _same(message.get("content") or "", text):
                if heard or message.get("tool_calls"):
                    message["content"] = heard
                else:
                    del self.history[index]
                return


def _same(reply: str, said: str) -> bool:
    return " ".join(reply.split()) == " ".join(said.split())


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
