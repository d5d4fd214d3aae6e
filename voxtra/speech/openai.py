"""OpenAI's chat models, and every server that speaks their protocol: Ollama, vLLM, llama.cpp ...

Uses the official ``openai`` package (extra ``voxtra[openai]``).
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import ConfigurationError, LLMError, MissingExtraError
from voxtra.speech.base import LLM, LLMEvent, TextDelta, ToolCall, Usage
from voxtra.speech.pieces import pieces
from voxtra.speech.sdk import as_error
from voxtra.speech.settings import ProviderSettings, read_settings
from voxtra.types import Message


class OpenAISettings(ProviderSettings):
    """Settings of :class:`OpenAILLM`.

    Attributes:
        model: name of the model, as the server knows it.
        api_key: key; None = the environment's OPENAI_API_KEY. A server of one's own may need none.
        base_url: address of the API with ``/v1``; None = the environment's OPENAI_BASE_URL, else OpenAI.
        temperature: 0..2, None = the server's default.
        max_tokens: longest reply, None = the server's default.
        first_timeout_s: longest wait for the first piece of the reply, in s.
        idle_timeout_s: longest wait for each further piece, in s.
        max_retries: how often a refused or failed request is made again, before anything came.
        usage: ask for the number of tokens (``stream_options``); a few servers refuse that.
        extra: further fields of the request body, e.g. ``{"reasoning_effort": "minimal"}``.
    """

    model: str = Field("gpt-4o-mini", min_length=1)
    api_key: SecretStr | None = None
    base_url: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    first_timeout_s: float = Field(10.0, gt=0)
    idle_timeout_s: float = Field(10.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)
    usage: bool = True
    extra: dict[str, Any] = Field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    """A tool call as its pieces come in."""

    id: str = ""
    name: str = ""
    arguments: str = ""


class OpenAILLM(LLM):
    """A chat model behind an OpenAI-compatible API.

    Args:
        config: :class:`OpenAISettings`, a mapping or a model with the same fields.
        options: the fields of :class:`OpenAISettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[openai]`` is not installed.
    """

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(OpenAISettings, config, options, of="OpenAILLM")
        self.name = f"openai ({self.settings.model})"
        try:
            import openai
        except ImportError:
            raise MissingExtraError("the OpenAI client", "openai") from None
        key = self.settings.api_key.get_secret_value() if self.settings.api_key else None
        key = key or os.environ.get("OPENAI_API_KEY")
        url = self.settings.base_url or os.environ.get("OPENAI_BASE_URL") or None
        if not key and not url:
            raise ConfigurationError(
                "OpenAILLM has no key: set OPENAI_API_KEY or api_key=, or base_url= for a server of your own"
            )
        if url is not None and not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"OpenAILLM: base_url = {url!r}: it must begin with http:// or https://")
        self._library: Any = openai
        self._client: Any = openai.AsyncOpenAI(
            api_key=key or "none", base_url=url, max_retries=self.settings.max_retries
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
        calls: list[_Call] = []
        usage: Usage | None = None
        finished = ""
        request = self._request(messages, tools)
        stream = pieces(
            lambda: self._client.chat.completions.create(**request),
            of=self.name,
            first_s=self.settings.first_timeout_s,
            idle_s=self.settings.idle_timeout_s,
            error=LLMError,
            failed=self._failed,
            close=lambda response: response.close(),
        )
        # aclosing: whoever closes this generator closes the request with it, at once
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                try:
                    text, ended, counted = read(chunk, calls)
                except (AttributeError, TypeError) as problem:  # the SDK does not check what it decodes
                    raise LLMError(
                        f"{self.name} sent what is no piece of a reply: {str(chunk)[:120]}"
                    ) from problem
                finished = ended or finished
                usage = counted or usage
                if text:
                    yield TextDelta(text)
        if finished == "content_filter":
            raise LLMError(f"{self.name}: the reply was withheld by the provider's content filter")
        if not finished:
            raise LLMError(f"{self.name}: the reply broke off")
        for call in finish(calls, self.name):
            yield call
        if usage is not None:
            yield usage

    def _failed(self, problem: Exception) -> LLMError:
        """What went wrong, in the provider's own words where it had some."""
        if isinstance(problem, self._library.APITimeoutError):
            return LLMError(f"{self.name}: no answer in time")
        if isinstance(problem, self._library.APIConnectionError) and problem.__cause__ is not None:
            return LLMError(f"{self.name}: {type(problem).__name__}: {problem.__cause__}"[:500])
        error = as_error(LLMError, self.name, problem)
        assert isinstance(error, LLMError)
        return error

    def _request(self, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> dict[str, Any]:
        settings = self.settings
        request: dict[str, Any] = {"model": settings.model, "messages": list(messages), "stream": True}
        if tools:
            request["tools"] = [
                tool if "function" in tool else {"type": "function", "function": tool} for tool in tools
            ]
        if settings.usage:
            request["stream_options"] = {"include_usage": True}
        if settings.temperature is not None:
            request["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            request["max_completion_tokens" if settings.base_url is None else "max_tokens"] = (
                settings.max_tokens
            )
        if settings.extra:
            request["extra_body"] = settings.extra
        # each wait has a deadline here; the SDK's own only ends what we have given up already
        request["timeout"] = settings.first_timeout_s + settings.idle_timeout_s
        return request


def read(chunk: Any, calls: list[_Call]) -> tuple[str, str, Usage | None]:
    """Text, reason of the end and usage in a piece of the reply; pieces of tool calls go into ``calls``.

    Raises AttributeError or TypeError when it is no such piece.
    """
    usage = None
    if chunk.usage is not None:
        usage = Usage(int(chunk.usage.prompt_tokens or 0), int(chunk.usage.completion_tokens or 0))
    if not chunk.choices:
        return "", "", usage
    choice = chunk.choices[0]
    delta = choice.delta
    if delta is None:
        return "", choice.finish_reason or "", usage
    for piece in delta.tool_calls or ():
        collect(calls, piece)
    text = delta.content or ""
    if not isinstance(text, str):
        raise TypeError("content is no text")
    return text, choice.finish_reason or "", usage


def collect(calls: list[_Call], piece: Any) -> None:
    """Add a piece of a tool call to those known. Some servers send no index, or 0 for each of several."""
    index = piece.index if piece.index is not None else max(0, len(calls) - 1)
    if index < len(calls) and piece.id and calls[index].id and piece.id != calls[index].id:
        known = [at for at, call in enumerate(calls) if call.id == piece.id]
        index = known[0] if known else len(calls)
    if index >= len(calls):
        calls.append(_Call())
        index = len(calls) - 1
    call = calls[index]
    call.id = piece.id or call.id
    if piece.function is not None:
        call.name += piece.function.name or ""
        call.arguments += piece.function.arguments or ""


def finish(calls: Sequence[_Call], provider: str) -> Iterator[ToolCall]:
    """The calls, complete. Raises LLMError when one makes no sense."""
    for number, call in enumerate(calls):
        try:
            arguments = json.loads(call.arguments or "{}")
        except ValueError:
            arguments = None
        if not call.name or not isinstance(arguments, dict):
            raise LLMError(
                f"{provider} wants the tool {call.name!r} with arguments that are no JSON object: "
                f"{call.arguments[:120]!r}"
            )
        yield ToolCall(call.id or f"call_{number}", call.name, arguments)
