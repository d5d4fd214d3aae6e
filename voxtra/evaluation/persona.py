"""A caller played by a language model, and the judge, who is one too."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

from voxtra.errors import LLMError
from voxtra.evaluation.caller import QUIET_S, Person, quiet
from voxtra.evaluation.played import Line, Verdict
from voxtra.evaluation.scenario import Persona
from voxtra.speech.base import LLM, TextDelta, ToolCall
from voxtra.testing.fake_errors import ExpectationError
from voxtra.types import Message

PATIENCE_S = 10.0
"""How long a persona waits for the app to say something, before it speaks itself."""
LISTEN_S = 90.0
"""The longest that it listens to one answer."""

_PERSONA = """\
You play somebody who is on the telephone with an automatic agent. You are: {who}
What you want: {goal}
Answer with the words you speak and nothing else: one or two short sentences, as people speak on the phone.
Never speak for the agent, never say that you are a model. Press keys with press_keys when you are asked to.
When you have what you want, or it is clear that you will not get it, say goodbye and call hang_up."""
_SILENCE = "(silence)"

_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "hang_up",
            "description": "Hang up, after what you say with it.",
            "parameters": {"type": "object", "properties": {}},
        },
    },
    {
        "type": "function",
        "function": {
            "name": "press_keys",
            "description": "Press keys of the telephone.",
            "parameters": {
                "type": "object",
                "properties": {"keys": {"type": "string", "description": "of 0-9, * and #"}},
                "required": ["keys"],
            },
        },
    },
]


async def converse(person: Person, persona: Persona, llm: LLM) -> None:
    """Let a model talk on the telephone until it hangs up, or the app does.

    Raises:
        ExpectationError: the model failed, or was not done after ``max_turns``.
    """
    await person.answered()
    system = _PERSONA.format(who=persona.who, goal=persona.goal)
    messages: list[Message] = [{"role": "system", "content": system}]
    known = 0
    try:
        for _ in range(persona.max_turns):
            known = await _listen(person, known, messages)
            if person.is_over:
                return
            if await _answer(person, llm, messages):
                return
    except LLMError as error:
        raise ExpectationError(f"the model that plays the caller failed: {error}") from None
    finally:
        await llm.close()
    raise ExpectationError(f"the caller was not content after {persona.max_turns} turns")


async def _listen(person: Person, known: int, messages: list[Message]) -> int:
    """What the app says, as a message; returns how much of all it said is known now."""
    loop = asyncio.get_running_loop()
    patience, end = loop.time() + PATIENCE_S, loop.time() + LISTEN_S
    while not person.is_over and loop.time() < end:
        await quiet(person, 2 * QUIET_S)
        if len(person.heard) > known or loop.time() > patience:
            break
    said = person.heard[known:].strip()
    messages.append({"role": "user", "content": said or _SILENCE})
    return len(person.heard)


async def _answer(person: Person, llm: LLM, messages: list[Message]) -> bool:
    """Say what the model says. True when it hung up."""
    words, calls = "", []
    async for event in llm.stream(messages, tools=_TOOLS):
        if isinstance(event, TextDelta):
            words += event.text
        elif isinstance(event, ToolCall):
            calls.append(event)
    words = words.strip()
    hangs_up = any(call.name == "hang_up" for call in calls)
    keys = "".join(str(call.arguments.get("keys", "")) for call in calls if call.name == "press_keys")
    keys = re.sub(r"[^0-9*#A-D]", "", keys)
    # Told as words: what was pressed is then known to any model, whatever it makes of tool messages.
    messages.append({"role": "assistant", "content": words + (f" (presses {keys})" if keys else "") or "..."})
    if words:
        await person.says(words)
    if keys:
        await person.presses(keys)
    if hangs_up:
        await person.hangs_up()
    return hangs_up


_JUDGE = """\
You judge a telephone conversation between a caller and an automatic agent. For each numbered statement decide
from the conversation alone whether it is true. Answer with JSON and nothing else: a list with one object for
each statement, in order: {"holds": true or false, "why": "one short sentence"}."""
TRIES = 2


async def judge(llm: LLM, lines: Sequence[Line], statements: Sequence[str]) -> list[Verdict]:
    """What a model thinks of a conversation.

    Raises:
        LLMError: it failed, or gave no verdict twice.
    """
    told = "\n".join(f"{line.speaker}: {line.text}{f' ({line.cut})' if line.cut else ''}" for line in lines)
    asked = "\n".join(f"{number}. {statement}" for number, statement in enumerate(statements, 1))
    messages: list[Message] = [
        {"role": "system", "content": _JUDGE},
        {"role": "user", "content": f"Conversation:\n{told or '(nobody spoke)'}\n\nStatements:\n{asked}"},
    ]
    answer = ""
    try:
        for _ in range(TRIES):
            answer = ""
            async for event in llm.stream(messages):
                answer += event.text if isinstance(event, TextDelta) else ""
            verdicts = _verdicts(answer, statements)
            if verdicts is not None:
                return verdicts
    finally:
        await llm.close()
    raise LLMError(f"the judge gave no verdict but {answer[:200]!r}")


def _verdicts(answer: str, statements: Sequence[str]) -> list[Verdict] | None:
    found = re.search(r"\[.*\]", answer, re.DOTALL)
    try:
        given = json.loads(found[0]) if found else None
    except ValueError:
        return None
    if not isinstance(given, list) or len(given) != len(statements):
        return None
    if not all(isinstance(each, dict) and isinstance(each.get("holds"), bool) for each in given):
        return None
    return [
        Verdict(statement, each["holds"], str(each.get("why", "")))
        for statement, each in zip(statements, given, strict=True)
    ]
