"""From bytes of a request to a checked input, and from whatever fails to an error of the wire."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar, get_args

from aiohttp import web
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from voxtra.control.gate import Denied
from voxtra.errors import (
    CallEndedError,
    ConfigurationError,
    PipelineNotConfiguredError,
    TelephonyConnectionError,
    VoxtraError,
)
from voxtra.wire import HTTP_STATUS, AgentSpec, CascadeTurns, ErrorCode, TurnSettings

MAX_BODY = 512 * 1024
"""Bytes of a request's body: an agent described in place may hold 100,000 characters of instructions."""

BODY_S = 10.0
"""How long a body may take to come."""

M = TypeVar("M", bound=BaseModel)
_SHAPES: dict[str, type[BaseModel]] = {
    each.__name__: each for each in (AgentSpec, TurnSettings, CascadeTurns)
}


async def read_json(request: web.Request) -> Any:
    """The body as JSON; no body is an empty object.

    Raises:
        Denied: it is too long, or no JSON.
    """
    kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    if request.can_read_body and kind != "application/json":
        raise Denied(f"Content-Type = {kind[:60]!r}: should be application/json", "BAD_REQUEST")
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise Denied(f"the body did not come within {BODY_S:g} s", "BAD_REQUEST") from None
    except web.HTTPRequestEntityTooLarge:
        raise Denied(f"the body is longer than {MAX_BODY:,} bytes", "PAYLOAD_TOO_LARGE") from None
    return parse_json(body) if body else {}


def parse_json(text: str | bytes) -> Any:
    """``text`` as JSON (RFC 8259: UTF-8, no NaN). Raises Denied."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Denied(f"that is no JSON: {why}", "BAD_REQUEST") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def checked(model: type[M], given: Any) -> M:
    """``given`` as an input. Raises Denied (BAD_REQUEST), naming the field, its value and what would be right."""
    if not isinstance(given, dict):
        raise Denied("the input should be a JSON object", "BAD_REQUEST")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        message, field = _complaint(error, model)
        raise Denied(message, "BAD_REQUEST", field=field) from None


def _complaint(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    details = error.errors(include_url=False)
    # of turn settings' two shapes the one with a type was meant where there is one
    plain = any(
        each["type"] == "missing" and each["loc"][-2:] == ("CascadeTurns", "type") for each in details
    )
    other = "CascadeTurns" if plain else "TurnSettings"
    details = [each for each in details if other not in each["loc"]]
    # of a union every branch complains: the one that got furthest is the one that was meant
    first = next((each for each in details if each["type"] == "extra_forbidden"), None)
    first = first or max(details, key=lambda each: len(each["loc"]))
    place = [str(part) for part in first["loc"] if not re.search(r"[\[(]|^[A-Z]|constrained", str(part))]
    field = ".".join(to_camel(part) if part.islower() else part for part in place)
    context = first.get("ctx", {})
    why = str(context["error"]) if first["type"] == "value_error" else str(first["msg"])
    why = why.replace("Input should", "should").replace("String should", "should")
    if first["type"] == "missing":
        return f"{field} is missing", field
    if first["type"] == "extra_forbidden":
        inner = _inner(model, first["loc"][:-1])
        known = sorted(info.alias or to_camel(name) for name, info in inner.model_fields.items())
        return f"{field} is not known: there are {', '.join(known)}", field
    if first["type"] == "model_type":
        why = "should be an object"
    return (f"{field} = {_shown(first['input'])}: {why}" if field else why), field


def _inner(model: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that stands at ``place`` in another."""
    for part in place:
        if part in _SHAPES:
            model = _SHAPES[str(part)]
        for name, info in model.model_fields.items():
            kinds = [info.annotation, *get_args(info.annotation)]
            found = [each for each in kinds if isinstance(each, type) and issubclass(each, BaseModel)]
            if part in (name, info.alias) and len(found) == 1:
                model = found[0]
                break
    return model


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def denied(error: VoxtraError) -> Denied:
    """What a failure is on the wire."""
    if isinstance(error, Denied):
        return error
    if isinstance(error, CallEndedError):
        return Denied("the call has ended", "GONE")
    if isinstance(error, TelephonyConnectionError):
        return Denied(str(error), "SERVICE_UNAVAILABLE", retry_after=5)
    if isinstance(error, ConfigurationError | PipelineNotConfiguredError):
        return Denied(str(error), "UNPROCESSABLE")
    return Denied(f"{type(error).__name__}: {error}", "INTERNAL_SERVER_ERROR")


def error_response(error: Denied, path: str) -> web.Response:
    """The failure envelope, with its HTTP status and ``Retry-After``."""
    return envelope(error.code, str(error), path, field=error.field, retry_after=error.retry_after)


def envelope(
    code: ErrorCode, message: str, path: str, *, field: str = "", retry_after: float | None = None
) -> web.Response:
    """``{"error": {"message", "code", "data"}}``."""
    status = HTTP_STATUS[code]
    data: dict[str, Any] = {"httpStatus": status, "path": path} | ({"field": field} if field else {})
    headers = {} if retry_after is None else {"Retry-After": str(max(1, -int(-retry_after // 1)))}
    if code == "UNAUTHORIZED":
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(
        {"error": {"message": message, "code": code, "data": data}}, status=status, headers=headers
    )
