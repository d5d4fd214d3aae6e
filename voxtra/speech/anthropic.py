"""Anthropic's Claude models, by the official ``anthropic`` package (extra ``voxtra[anthropic]``).

Messages API, streamed: https://docs.claude.com/en/api/messages-streaming
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import LLM, LLMEvent, TextDelta, ToolCall, Usage
from voxtra.speech.messages import Part, Result, Text, function_of, turns
from voxtra.speech.pieces import pieces
from voxtra.speech.sdk import as_error, check_url, import_sdk
from voxtra.speech.settings import ProviderSettings, read_settings
from voxtra.types import Message


class AnthropicSettings(ProviderSettings):
    """Settings of :class:`AnthropicLLM`.

    Attributes:
        model: name of the model.
        api_key: key; None = the environment's ANTHROPIC_API_KEY.
        base_url: address of the API without ``/v1``; None = the environment's ANTHROPIC_BASE_URL, else
            Anthropic.
        temperature: 0..1, None = the model's default. Some models take none.
        max_tokens: longest reply.
        cache: let instructions, tools and history be cached by the provider (a marker on the request), which
            makes each further turn of a long conversation faster and cheaper.
        first_timeout_s: longest wait for the first piece of the reply, in s.
        idle_timeout_s: longest wait for each further piece, in s.
        max_retries: how often a refused or failed request is made again, before anything came.
        extra: further fields of the request body, e.g. ``{"thinking": {"type": "disabled"}}``.
    """

    model: str = Field("claude-haiku-4-5", min_length=1)
    api_key: SecretStr | None = None
    base_url: str | None = None
    temperature: float | None = Field(None, ge=0, le=1)
    max_tokens: int = Field(1024, ge=1)
    cache: bool = True
    first_timeout_s: float = Field(10.0, gt=0)
    idle_timeout_s: float = Field(10.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)
    extra: dict[str, Any] = Field(default_factory=dict)


class AnthropicLLM(LLM):
    """A Claude model.

    Args:
        config: :class:`AnthropicSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`AnthropicSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[anthropic]`` is not installed.
    """

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(AnthropicSettings, config, options, of="AnthropicLLM")
        self.name = f"anthropic ({self.settings.model})"
        library = import_sdk("anthropic", what="the Anthropic client", extra="anthropic")
        key = self.settings.api_key.get_secret_value() if self.settings.api_key else None
        key = key or os.environ.get("ANTHROPIC_API_KEY")
        url = self.settings.base_url or os.environ.get("ANTHROPIC_BASE_URL") or None
        url = check_url(url, "base_url", ("http", "https"), of="AnthropicLLM")
        if not key and not url:
            raise ConfigurationError(
                "AnthropicLLM has no key: set ANTHROPIC_API_KEY or api_key=, "
                "or base_url= for a server of your own"
            )
        self._library = library
        self._client: Any = library.AsyncAnthropic(
            api_key=key or "none",
            base_url=url.removesuffix("/v1") if url else None,
            max_retries=self.settings.max_retries,
        )

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._client.close()

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """Answer the conversation; see :meth:`voxtra.speech.base.LLM.stream`.

        Raises:
            LLMError: the server refused (with its words), broke off, sent nonsense, or was too slow.
        """
        settings = self.settings
        request = self._request(messages, tools)
        reply = _Reply()
        stream = pieces(
            lambda: self._client.messages.create(**request),
            of=self.name,
            first_s=settings.first_timeout_s,
            idle_s=settings.idle_timeout_s,
            error=LLMError,
            failed=self._failed,
            close=lambda response: response.close(),
        )
        async with aclosing(stream) as events:
            async for event in events:
                try:
                    text = reply.read(event)
                except (AttributeError, TypeError, ValueError) as problem:  # the SDK does not check
                    raise LLMError(
                        f"{self.name} sent what is no piece of a reply: {str(event)[:120]}"
                    ) from problem
                if text:
                    yield TextDelta(text)
        if reply.stopped == "refusal":
            raise LLMError(f"{self.name}: the model refused to answer")
        if not reply.stopped or not reply.ended:
            raise LLMError(f"{self.name}: the reply broke off")
        for call in reply.calls(self.name):
            yield call
        yield Usage(reply.input_tokens, reply.output_tokens)

    def _failed(self, problem: Exception) -> LLMError:
        """What went wrong, in the provider's own words where it had some."""
        if isinstance(problem, self._library.APIStatusError) and problem.status_code < 400:
            # an error inside the stream has the status that began it
            said = problem.api_message or problem.message
            return LLMError(f"{self.name}: {problem.type or 'error'} {said}"[:500])
        error = as_error(LLMError, self.name, problem)
        assert isinstance(error, LLMError)
        return error

    def _request(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
        settings = self.settings
        system, conversation = turns(messages)
        request: dict[str, Any] = {
            "model": settings.model,
            "max_tokens": settings.max_tokens,
            "messages": [
                {"role": turn.role, "content": [block(part) for part in turn.parts]} for turn in conversation
            ],
            "stream": True,
            # each wait has a deadline here; the SDK's own only ends what we have given up already
            "timeout": settings.first_timeout_s + settings.idle_timeout_s,
        }
        if system:
            request["system"] = system
        if tools:
            request["tools"] = [tool_of(tool) for tool in tools]
        extra = dict(settings.extra)
        if settings.temperature is not None:
            extra.setdefault("temperature", settings.temperature)
        if settings.cache:
            extra.setdefault("cache_control", {"type": "ephemeral"})
        if extra:
            request["extra_body"] = extra
        return request


def block(part: Part) -> dict[str, Any]:
    """A part of a turn as the Messages API writes it."""
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    assert isinstance(part, Result)
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.id, "content": part.content}
    return result | ({"is_error": True} if part.failed else {})


def tool_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAI function schema as the Messages API writes it."""
    function = function_of(tool)
    made: dict[str, Any] = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    return made | ({"description": function["description"]} if function.get("description") else {})


@dataclass(slots=True)
class _Call:
    """A tool call as its pieces come in."""

    id: str
    name: str
    given: Any
    arguments: str = ""


@dataclass(slots=True)
class _Reply:
    """What is known of the reply so far."""

    input_tokens: int = 0
    output_tokens: int = 0
    stopped: str = ""
    ended: bool = False
    open: dict[int, _Call] = field(default_factory=dict)

    def read(self, event: Any) -> str:
        """Take in an event of the stream; returns the words in it. Raises when it is no such event."""
        match event.type:
            case "message_start":
                used = event.message.usage
                self.input_tokens = sum(
                    int(getattr(used, name, None) or 0)
                    for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
                )
            case "content_block_start":
                return self._begin(event.index, event.content_block)
            case "content_block_delta":
                return self._delta(event.index, event.delta)
            case "message_delta":
                self.stopped = event.delta.stop_reason or self.stopped
                used = event.usage
                self.output_tokens = int(used.output_tokens or 0) if used is not None else 0
            case "message_stop":
                self.ended = True
            case kind if not isinstance(kind, str):
                raise TypeError("an event without a type")
        return ""  # what is not known (new kinds of events come without notice) is passed over

    def _begin(self, index: int, content: Any) -> str:
        if content.type == "tool_use":
            self.open[index] = _Call(content.id, content.name, content.input)
        return _text(content.text) if content.type == "text" else ""

    def _delta(self, index: int, delta: Any) -> str:
        if delta.type == "input_json_delta" and index in self.open:
            self.open[index].arguments += delta.partial_json
        return _text(delta.text) if delta.type == "text_delta" else ""

    def calls(self, provider: str) -> list[ToolCall]:
        """The tool calls, complete. Raises LLMError when one makes no sense."""
        out: list[ToolCall] = []
        for call in self.open.values():
            try:
                arguments = json.loads(call.arguments) if call.arguments else call.given or {}
            except ValueError:
                arguments = None
            if not call.name or not call.id or not isinstance(arguments, dict):
                raise LLMError(
                    f"{provider} wants the tool {call.name!r} with arguments that are no JSON object: "
                    f"{call.arguments[:120]!r}"
                )
            out.append(ToolCall(call.id, call.name, arguments))
        return out


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise TypeError("text is no text")
    return text
