"""What the providers behind official SDKs have in common: keys, addresses, imports, errors in one form."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import warnings
from collections.abc import Coroutine, Mapping
from importlib import import_module
from typing import Any

from pydantic import SecretStr

from voxtra.errors import ConfigurationError, LLMError, MissingExtraError, ProviderError, STTError, TTSError

logger = logging.getLogger(__name__)


class Refusal:
    """What a server said when it refused: kept beside the words for who must decide whether to ask again.

    Attributes:
        status: HTTP status, 0 when there was none.
        retry_after_s: how long the server wants to be left alone, in s (its ``Retry-After``); 0 = not told.
    """

    status: int = 0
    retry_after_s: float = 0.0


class STTRefusedError(Refusal, STTError):
    """The server would not take the sound."""


class TTSRefusedError(Refusal, TTSError):
    """The server would not speak the text."""


class LLMRefusedError(Refusal, LLMError):
    """The server would not answer."""


def import_sdk(*modules: str, what: str, extra: str) -> Any:
    """The first of the modules, with the others imported too.

    Raises MissingExtraError. What the SDKs have to say about their own use of old libraries is their makers'
    concern, not the caller's: DeprecationWarnings are left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            found = [import_module(module) for module in modules]
        except ImportError:
            raise MissingExtraError(what, extra) from None
    return found[0]


def http_client() -> Any:
    """An ``httpx.AsyncClient`` for an SDK that takes one and has no way to close its own."""
    return import_module("httpx").AsyncClient(timeout=60, follow_redirects=True)


def read_key(given: SecretStr | None, variable: str, *, of: str) -> str:
    """The API key: the one given, or the environment's. Raises ConfigurationError when there is none."""
    key = given.get_secret_value() if given else os.environ.get(variable, "")
    if not key.strip():
        raise ConfigurationError(f"{of} has no key: set {variable} or api_key=")
    return key.strip()


def check_url(url: str | None, name: str, schemes: tuple[str, ...], *, of: str) -> str | None:
    """``url`` without its last slash. Raises ConfigurationError when it has another scheme."""
    if url is None:
        return None
    if not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigurationError(f"{of}: {name} = {url!r}: it must begin with {wanted}")
    return url.rstrip("/")


def websocket_url(url: str) -> str:
    """The same address for WebSockets: http becomes ws, https wss."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url


async def close_within(limit: float, closing: Coroutine[Any, Any, None]) -> None:
    """Close a socket; a server that does not say good-bye within ``limit`` s is not waited for. Never raises."""
    task = asyncio.ensure_future(closing)
    done, _ = await asyncio.wait([task], timeout=limit)
    if not done:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (problem := task.exception()) is not None:
        logger.debug("closing: %s: %s", type(problem).__name__, problem)


def said(body: Any) -> str:
    """A server's words out of the body of its refusal, in whichever form it has them."""
    if isinstance(body, Mapping):
        for name in ("message", "err_msg", "error", "detail", "description", "reason"):
            if body.get(name):
                return said(body[name])
        return str(dict(body))[:300] if body else ""
    if isinstance(body, (list, tuple)):
        return "; ".join(said(part) for part in body)[:300]
    return " ".join(str(body).split())[:300] if body is not None else ""


def retry_after(headers: Any) -> float:
    """Seconds of a ``Retry-After`` header, 0 when there is none that counts."""
    value = None
    if hasattr(headers, "get"):
        value = headers.get("retry-after") or headers.get("Retry-After")
    try:
        return min(max(float(value), 0.0), 3600.0) if value is not None else 0.0
    except ValueError:  # a date: rare here, and our own pause does as well
        return 0.0


def explain(problem: BaseException) -> tuple[str, int, float]:
    """(words, status, retry after) of whatever an SDK, its HTTP client or its WebSocket raised.

    Looks at what all of them have in common instead of importing each one's classes: ``status_code``,
    ``body``, ``headers``, ``response``, and of a closed WebSocket its code and reason.
    """
    status = getattr(problem, "status_code", None)
    if isinstance(status, int):
        words = said(getattr(problem, "body", None)) or str(getattr(problem, "message", ""))
        response = getattr(problem, "response", None)
        headers = getattr(response, "headers", None) or getattr(problem, "headers", None)
        cause = problem.__cause__ or problem.__context__
        # Deepgram's SDK keeps the headers of our request in its error, those of the answer in the cause
        answer = getattr(cause, "headers", None)
        told = answer.get("dg-error") if answer is not None and hasattr(answer, "get") else None
        return f"{status} {told or words}".strip(), status, retry_after(headers) or retry_after(answer)
    response = getattr(problem, "response", None)  # of websockets: the refused handshake
    status = getattr(response, "status_code", None)
    if response is not None and isinstance(status, int):
        body = getattr(response, "body", b"") or b""
        words = body.decode("utf-8", "replace") if isinstance(body, (bytes, bytearray)) else str(body)
        with contextlib.suppress(ValueError):
            words = said(json.loads(words))
        return f"{status} {' '.join(words.split())}"[:300].strip(), status, retry_after(response.headers)
    frame = getattr(problem, "rcvd", None)
    if frame is not None:
        return f"closed by the server: {frame.code} {frame.reason}".strip(), 0, 0.0
    if "ConnectionClosed" in type(problem).__name__:
        return "the connection broke", 0, 0.0
    cause = problem.__cause__
    words = str(problem) or (str(cause) if cause is not None else "")
    return f"{type(problem).__name__}: {words}"[:300].removesuffix(": "), 0, 0.0


def as_error(kind: type[ProviderError], name: str, problem: BaseException) -> ProviderError:
    """A provider's failure as an error of ours: ``"cartesia: 429 too many requests"``."""
    words, status, pause = explain(problem)
    refused: type[ProviderError] = {
        STTError: STTRefusedError, TTSError: TTSRefusedError, LLMError: LLMRefusedError
    }.get(kind, kind)  # fmt: skip
    error = (refused if status else kind)(f"{name}: {words}")
    if isinstance(error, Refusal):
        error.status, error.retry_after_s = status, pause
    return error
