"""A conversation in OpenAI's form, put so that stricter APIs take it.

Claude and Gemini want turns of two sides that alternate, begin with the caller's and hold an answer to every
tool call, at once and to nothing else. A history that was cut by a barge-in, that begins with a greeting or
that a handler has changed is often not so; it is mended here, once for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from voxtra.errors import LLMError
from voxtra.speech.base import ToolCall
from voxtra.types import Message

BEGIN = "(The call begins.)"
"""Said by the caller, as it were, where the conversation begins with the agent."""
GO_ON = "(The caller says nothing.)"
"""The same where the agent spoke last."""
NO_RESULT = "There is no result: it was not carried out, or not to its end."


@dataclass(slots=True, frozen=True)
class Text:
    """Words."""

    text: str


@dataclass(slots=True, frozen=True)
class Result:
    """What a tool call came to.

    Attributes:
        id, name: those of the call.
        failed: True when there is none, and ``content`` says so.
    """

    id: str
    name: str
    content: str
    failed: bool = False


Part: TypeAlias = Text | ToolCall | Result


@dataclass(slots=True)
class Turn:
    """What one side says before the other does."""

    role: Literal["user", "assistant"]
    parts: list[Part] = field(default_factory=list)


def turns(messages: Sequence[Message]) -> tuple[str, list[Turn]]:
    """The instructions, and the turns: alternating, the caller's first and last, every tool call answered.

    Raises:
        LLMError: a message has no form that is known.
    """
    system: list[str] = []
    out: list[Turn] = []
    open_calls: dict[str, ToolCall] = {}
    for message in messages:
        role, text = message.get("role"), words(message.get("content"))
        if role in ("system", "developer"):
            system.append(text)
        elif role == "tool":
            out += [_answer(message, text, open_calls)]
        elif role in ("user", "assistant"):
            if open_calls:
                out.append(_unanswered(open_calls))
            parts: list[Part] = [Text(text)] if text.strip() else []
            if role == "assistant":
                calls = [_call(call) for call in message.get("tool_calls") or ()]
                open_calls.update((call.id, call) for call in calls)
                parts += calls
            out.append(Turn(role, parts))
        else:
            raise LLMError(f"a message of the conversation has the role {role!r}")
    if open_calls:
        out.append(_unanswered(open_calls))
    return "\n\n".join(part for part in system if part.strip()), _alternating(out)


def _answer(message: Message, text: str, open_calls: dict[str, ToolCall]) -> Turn:
    call = open_calls.pop(str(message.get("tool_call_id")), None)
    if call is None:  # the call has left the history: what it brought is still worth knowing
        return Turn("user", [Text(f"(A tool's result: {text})")])
    return Turn("user", [Result(call.id, call.name, text)])


def _unanswered(open_calls: dict[str, ToolCall]) -> Turn:
    results: list[Part] = [Result(call.id, call.name, NO_RESULT, failed=True) for call in open_calls.values()]
    open_calls.clear()
    return Turn("user", results)


def _alternating(given: Sequence[Turn]) -> list[Turn]:
    out: list[Turn] = []
    for turn in given:
        if not turn.parts:
            continue
        if out and out[-1].role == turn.role:
            out[-1].parts += turn.parts
        else:
            out.append(Turn(turn.role, list(turn.parts)))
    if not out or out[0].role != "user":
        out.insert(0, Turn("user", [Text(BEGIN)]))
    if out[-1].role != "user":
        out.append(Turn("user", [Text(GO_ON)]))
    for turn in out:  # results first: they answer what was said right before
        turn.parts.sort(key=lambda part: 0 if isinstance(part, Result) else 1)
        if turn.role == "assistant":
            turn.parts.sort(key=lambda part: 1 if isinstance(part, ToolCall) else 0)
    return out


def words(content: object) -> str:
    """The text of a message's content: a string, or OpenAI's list of parts.

    Raises:
        LLMError: it holds something else than text.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, Sequence):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(str(text) for text in texts)
    raise LLMError(f"a message of the conversation holds something else than text: {str(content)[:120]}")


def _call(given: Any) -> ToolCall:
    try:
        function = given["function"]
        arguments = json.loads(function.get("arguments") or "{}")
        return ToolCall(str(given["id"]), str(function["name"]), dict(arguments))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LLMError(f"a tool call of the conversation has no known form: {str(given)[:120]}") from None


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """``name, description, parameters`` of a tool, whether wrapped in ``{"type": "function"}`` or bare."""
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) else tool
