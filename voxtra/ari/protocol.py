"""ARI's messages without any I/O: text from the WebSocket to events, requests to text, refusals to errors.

Source: https://docs.asterisk.org/Configuration/Interfaces/Asterisk-REST-Interface-ARI/ (REST over WebSocket).
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json

from voxtra.ari.events import AnyMessage, Event, Message, RESTResponse
from voxtra.errors import (
    ARIConflictError,
    ARIError,
    ARIForbiddenError,
    ARIInvalidError,
    ARINotFoundError,
    ARINotInStasisError,
    ARIServerError,
    AuthenticationError,
    VoxtraError,
)

T = TypeVar("T")

_MESSAGES: TypeAdapter[Message] = TypeAdapter(AnyMessage, config=ConfigDict(cache_strings="keys"))
_EVENT = TypeAdapter(Event)
_WORDS_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Request:
    """One ARI request, whatever carries it.

    Attributes:
        method: ``"GET"``, ``"POST"``, ``"PUT"`` or ``"DELETE"``.
        path: below ``/ari``, with a leading slash and percent-encoded ids.
        query: parameters, not encoded.
        body: JSON text, ``""`` for none.
        binary: the response is no text, so only HTTP can carry it.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    binary: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """What came back: HTTP status, Asterisk's reason phrase, and the body."""

    status: int
    reason: str
    body: str | bytes


def parse_message(text: str | bytes) -> Message | None:
    """One text message of the events WebSocket.

    Returns an event of its own class, an :class:`~voxtra.ari.events.RESTResponse`, a plain
    :class:`~voxtra.ari.events.Event` holding the raw fields when the type is unknown or the fields make no
    sense for it, or None when the text is no JSON object with a ``type``. Raises nothing.
    """
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError:
        return _parse_odd(text)


def _parse_odd(text: str | bytes) -> Message | None:
    """The slow way, for what is not as the schema says."""
    try:
        raw = from_json(text)
    except ValueError:
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str):
        return None
    try:
        return _tolerant(_MESSAGES, raw)
    except ValidationError:
        pass
    try:
        return _tolerant(_EVENT, from_json(text))
    except ValidationError:
        return None


def _tolerant(adapter: TypeAdapter[T], raw: Any) -> T:
    """Validate, and if that fails once more without the values that were not understood.

    Every scalar field has an empty value to fall back on, so one odd value costs that value, not the event.
    """
    try:
        return adapter.validate_python(raw)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in reversed(problems):  # so that indexes into a list stay right
            if problem["type"] != "missing":
                _drop(raw, problem["loc"])
    return adapter.validate_python(raw)


def _drop(raw: Any, location: tuple[int | str, ...]) -> None:
    """Remove the value at a pydantic error location, some parts of which name a union's member."""
    holder, key, value = None, None, raw
    for part in location:
        if _has(value, part):
            holder, key, value = value, part, value[part]
    if holder is not None:
        del holder[key]


def _has(holder: Any, part: int | str) -> bool:
    if isinstance(holder, dict):
        return part in holder
    return isinstance(holder, list) and isinstance(part, int) and part < len(holder)


@lru_cache(maxsize=128)
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def parse_body(kind: type[T], body: str | bytes) -> T:
    """The body of a response as ``kind``, a model or a list of models.

    Raises:
        ValueError: the body is no JSON, or of quite another shape.
    """
    adapter = _adapter(cast(Hashable, kind))
    try:
        return cast(T, adapter.validate_json(body))
    except ValidationError:
        return cast(T, _tolerant(adapter, from_json(body)))


def encode_request(request: Request, request_id: str) -> str:
    """The request as a ``RESTRequest`` message.

    A name twice in ``query_strings`` would lose its first value, so lists go comma-separated
    (:func:`voxtra.ari.resource.joined`).
    """
    message: dict[str, Any] = {
        "type": "RESTRequest",
        "transaction_id": "",
        "request_id": request_id,
        "method": request.method,
        "uri": request.path.removeprefix("/"),
    }
    if request.query:
        message["query_strings"] = [{"name": n, "value": v} for n, v in request.query.items()]
    if request.body:
        message["content_type"] = "application/json"
        message["message_body"] = request.body
    return json.dumps(message, ensure_ascii=False)


def response_of(message: RESTResponse) -> Response:
    """The response that a ``RESTResponse`` message carries."""
    return Response(message.status_code, message.reason_phrase, message.message_body or "")


_NOT_IN_STASIS = re.compile(r"\bchannel\b.*\bnot in\b.*\bstasis\b", re.IGNORECASE)
_MAKES_CHANNELS = ("/channels", "/channels/create", "/channels/externalMedia")
_OWN_IDS = {"channelId", "otherChannelId"}
_BY_STATUS: dict[int, type[ARIError]] = {
    400: ARIInvalidError,
    403: ARIForbiddenError,
    404: ARINotFoundError,
    405: ARIInvalidError,
    409: ARIConflictError,
    412: ARIConflictError,
    413: ARIInvalidError,
    422: ARIInvalidError,
}


def refusal(request: Request, response: Response) -> VoxtraError:
    """The error for a response that is no success (status below 200 or from 300 up)."""
    detail = _detail(response)
    status = response.status
    if status == 401:
        return AuthenticationError(
            f"ARI {request.method} {request.path}: 401 {detail}: check the user and password in ari.conf"
        )
    return _error_class(request, status, detail)(request.method, request.path, status, detail)


def _error_class(request: Request, status: int, detail: str) -> type[ARIError]:
    if status in (409, 412, 422) and _NOT_IN_STASIS.search(detail):
        return ARINotInStasisError
    # After one true conflict of channel ids Asterisk (22.10) says 409 to every channel it can't make, from an
    # error number that it does not reset. Where no id was asked for there can't be a conflict.
    if status == 409 and request.path in _MAKES_CHANNELS and not _OWN_IDS & request.query.keys():
        return ARIServerError
    # addChannel says 400 for a channel that is gone.
    if status == 400 and detail.lower().endswith("not found"):
        return ARINotFoundError
    if status >= 500:
        return ARIServerError
    return _BY_STATUS.get(status, ARIError)


def _detail(response: Response) -> str:
    """Asterisk's own words, from ``{"message": ...}`` or ``{"error": ...}``, else the reason phrase."""
    body = response.body
    words = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        raw = from_json(words) if words else None
    except ValueError:
        raw = None
    if isinstance(raw, dict):
        said = raw.get("message") or raw.get("error")
        if isinstance(said, str):
            return said[:_WORDS_LIMIT]
    return response.reason[:_WORDS_LIMIT]
