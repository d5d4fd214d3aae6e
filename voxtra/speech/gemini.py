"""Google's Gemini models, by the official ``google-genai`` package (extra ``voxtra[google]``).

``streamGenerateContent`` of the Gemini API: https://ai.google.dev/api/generate-content
"""

from __future__ import annotations

import json
import os
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel, Field, SecretStr

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import LLM, LLMEvent, TextDelta, ToolCall, Usage
from voxtra.speech.messages import Part, Result, Text, Turn, function_of, turns
from voxtra.speech.pieces import pieces
from voxtra.speech.sdk import as_error, check_url, import_sdk
from voxtra.speech.settings import ProviderSettings, read_settings
from voxtra.types import Message

FINISHED = frozenset({"STOP", "MAX_TOKENS"})
"""Reasons with which a reply ends well. Any other means that there is none, or not all of it."""
MAX_SIGNATURES = 10_000
"""Signatures of tool calls that are kept, for all calls together; the oldest go first."""
UNSIGNED = b"skip_thought_signature_validator"
"""Google's word for a tool call whose signature is not known: one of another model, or of long ago.
(https://ai.google.dev/gemini-api/docs/thought-signatures)"""


class GeminiSettings(ProviderSettings):
    """Settings of :class:`GeminiLLM`.

    Attributes:
        model: name of the model.
        api_key: key; None = the environment's GEMINI_API_KEY or GOOGLE_API_KEY.
        base_url: address of the API without a version; None = Google.
        temperature: 0..2, None = the model's default.
        max_tokens: longest reply, None = the model's default.
        first_timeout_s: longest wait for the first piece of the reply, in s.
        idle_timeout_s: longest wait for each further piece, in s.
        max_retries: how often a refused or failed request is made again, before anything came.
        extra: further fields of the SDK's ``GenerateContentConfig``, e.g.
            ``{"thinking_config": {"thinking_level": "minimal"}}``, which makes replies begin sooner.
    """

    model: str = Field("gemini-3.8-flash", min_length=1)
    api_key: SecretStr | None = None
    base_url: str | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    max_tokens: int | None = Field(None, ge=1)
    first_timeout_s: float = Field(10.0, gt=0)
    idle_timeout_s: float = Field(10.0, gt=0)
    max_retries: int = Field(1, ge=0, le=5)
    extra: dict[str, Any] = Field(default_factory=dict)


_responses: ContextVar[list[Any] | None] = ContextVar("gemini_responses", default=None)


async def _note(response: Any) -> None:
    """Remember the response of whoever asks in this task."""
    noted = _responses.get()
    if noted is not None:
        noted.append(response)


class _Answer:
    """The SDK's stream, with a way to hang up.

    The SDK's generators lie in each other: closing the outermost leaves the request open until Python
    collects the others. So the responses that come while it is asked are noted, and closed at the end.
    """

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks
        self._noted: list[Any] = []

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> Any:
        token = _responses.set(self._noted)
        try:
            return await anext(self._chunks)
        finally:
            _responses.reset(token)

    async def close(self) -> None:
        """Hang up."""
        for response in self._noted:
            await response.aclose()
        await self._chunks.aclose()


class GeminiLLM(LLM):
    """A Gemini model.

    Args:
        config: :class:`GeminiSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`GeminiSettings`.

    Raises:
        ConfigurationError: a setting is wrong, or there is neither a key nor a base_url.
        MissingExtraError: ``voxtra[google]`` is not installed.
    """

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = settings = read_settings(GeminiSettings, config, options, of="GeminiLLM")
        self.name = f"gemini ({settings.model})"
        library = import_sdk("google.genai", what="the Gemini client", extra="google")
        key = settings.api_key.get_secret_value() if settings.api_key else None
        key = key or os.environ.get("GEMINI_API_KEY") or os.environ.get("GOOGLE_API_KEY")
        url = check_url(settings.base_url, "base_url", ("http", "https"), of="GeminiLLM")
        if not key and not url:
            raise ConfigurationError("GeminiLLM has no key: set GEMINI_API_KEY or api_key=")
        self._signatures: OrderedDict[str, tuple[str | None, bytes | None]] = OrderedDict()
        # The SDK's own choice, aiohttp, is subclassed by it in a way that aiohttp warns of; this is what it
        # is made of otherwise. Its waits have no end here, as each has a deadline of ours.
        httpx = import_sdk("httpx2", what="the Gemini client", extra="google")
        self._http: Any = httpx.AsyncClient(timeout=None, event_hooks={"response": [_note]})
        self._client: Any = library.Client(
            api_key=key or "none",
            vertexai=False,  # whatever the environment says: a key is no way into that
            http_options={
                "base_url": url,
                "httpx_async_client": self._http,
                # without these the SDK makes a failed connection again after up to 10 s
                "retry_options": {
                    "attempts": settings.max_retries + 1,
                    "initial_delay": 0.3,
                    "max_delay": 2.0,
                    "jitter": 0.3,
                },
            },
        )

    async def close(self) -> None:
        """Close the connections to the server. Idempotent."""
        await self._http.aclose()
        await self._client.aio.aclose()
        self._client.close()

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """Answer the conversation; see :meth:`voxtra.speech.base.LLM.stream`.

        Raises:
            LLMError: the server refused (with its words), broke off, sent nonsense, or was too slow.
        """
        settings = self.settings
        system, conversation = turns(messages)
        contents = [self._content(turn) for turn in conversation]
        config = self._config(system, tools)
        stream = pieces(
            lambda: self._ask(model=settings.model, contents=contents, config=config),
            of=self.name,
            first_s=settings.first_timeout_s,
            idle_s=settings.idle_timeout_s,
            error=LLMError,
            failed=self._failed,
            close=lambda answer: answer.close(),
        )
        finished = ""
        usage: Usage | None = None
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                blocked = chunk.prompt_feedback and chunk.prompt_feedback.block_reason
                if blocked:
                    raise LLMError(
                        f"{self.name}: what was said was blocked: {getattr(blocked, 'value', blocked)}"
                    )
                usage = used(chunk) or usage
                candidate = chunk.candidates[0] if chunk.candidates else None
                if candidate is None:
                    continue
                for part in (candidate.content.parts if candidate.content else None) or ():
                    if part.function_call is not None:
                        yield self._call(part)
                    elif part.text and not part.thought:
                        yield TextDelta(part.text)
                reason = candidate.finish_reason
                finished = str(getattr(reason, "value", reason)) if reason else finished
        if not finished:
            raise LLMError(f"{self.name}: the reply broke off")
        if finished not in FINISHED:
            raise LLMError(f"{self.name}: the reply ended with {finished}")
        if usage is not None:
            yield usage

    async def _ask(self, **request: Any) -> _Answer:
        return _Answer(await self._client.aio.models.generate_content_stream(**request))

    def _failed(self, problem: Exception) -> LLMError:
        """What went wrong, in the provider's own words where it had some."""
        code = getattr(problem, "code", None)
        if isinstance(code, int):  # the SDK's own error, which calls the status a code
            problem_status: Any = problem
            problem_status.status_code = code
            problem_status.body = getattr(problem, "message", None) or str(problem)
        error = as_error(LLMError, self.name, problem)
        assert isinstance(error, LLMError)
        return error

    def _config(self, system: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        settings = self.settings
        config: dict[str, Any] = {"automatic_function_calling": {"disable": True}}
        if system:
            config["system_instruction"] = system
        if tools:
            config["tools"] = [{"function_declarations": [tool_of(tool) for tool in tools]}]
        if settings.temperature is not None:
            config["temperature"] = settings.temperature
        if settings.max_tokens is not None:
            config["max_output_tokens"] = settings.max_tokens
        return config | settings.extra

    def _call(self, part: Any) -> ToolCall:
        """A tool call, under a name of ours: Google's is missing or no more than a number."""
        call = part.function_call
        if not call.name:
            raise LLMError(f"{self.name} wants a tool without a name")
        ours = f"call_{uuid.uuid4().hex}"
        self._signatures[ours] = (call.id, part.thought_signature)
        if len(self._signatures) > MAX_SIGNATURES:
            self._signatures.popitem(last=False)
        return ToolCall(ours, call.name, dict(call.args or {}))

    def _content(self, turn: Turn) -> dict[str, Any]:
        """A turn as Gemini writes it. The first tool call of each turn must carry its signature."""
        parts: list[dict[str, Any]] = []
        signed = False
        for part in turn.parts:
            made = self._part(part)
            if isinstance(part, ToolCall):
                known = self._signatures.get(part.id)
                signature = known[1] if known else None if signed else UNSIGNED
                signed = True
                if signature is not None:
                    made["thought_signature"] = signature
            parts.append(made)
        return {"role": "model" if turn.role == "assistant" else "user", "parts": parts}

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, Text):
            return {"text": part.text}
        known = self._signatures.get(part.id)
        named = {"name": part.name} | ({"id": known[0]} if known and known[0] else {})
        if isinstance(part, ToolCall):
            return {"function_call": named | {"args": part.arguments}}
        assert isinstance(part, Result)
        return {"function_response": named | {"response": response_of(part)}}


def response_of(result: Result) -> dict[str, Any]:
    """A tool's result as the JSON object that Gemini wants."""
    if result.failed:
        return {"error": result.content}
    try:
        value = json.loads(result.content)
    except ValueError:
        value = result.content
    return value if isinstance(value, dict) else {"result": value}


def tool_of(tool: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAI function schema as Gemini writes it."""
    function = function_of(tool)
    made: dict[str, Any] = {"name": function["name"], "description": function.get("description") or ""}
    parameters = function.get("parameters")
    # an object without properties is refused: a function without arguments has no parameters
    return made | ({"parameters_json_schema": parameters} if (parameters or {}).get("properties") else {})


def used(chunk: Any) -> Usage | None:
    """The tokens counted so far, where the piece tells them."""
    count = chunk.usage_metadata
    if count is None:
        return None
    spoken = (count.candidates_token_count or 0) + (count.thoughts_token_count or 0)
    return Usage(int(count.prompt_token_count or 0), int(spoken))
