"""The OpenAPI 3.1 document of the REST operations, made from their table and the models of the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from voxtra import __version__
from voxtra.control.models import Failure
from voxtra.control.operations import Header, Operation
from voxtra.wire import HTTP_STATUS, ErrorCode

ALWAYS: tuple[ErrorCode, ...] = (
    "UNAUTHORIZED",
    "FORBIDDEN",
    "TOO_MANY_REQUESTS",
    "INTERNAL_SERVER_ERROR",
    "TIMEOUT",
)
"""How every operation may end."""
WORDS: dict[ErrorCode, str] = {
    "BAD_REQUEST": "The input is wrong; `data.field` names what.",
    "UNAUTHORIZED": "No key, or none that is valid.",
    "FORBIDDEN": "The key, or the gate before calls that cost money, does not allow it.",
    "NOT_FOUND": "There is no such thing, or it is another organisation's.",
    "METHOD_NOT_SUPPORTED": "Not with this method.",
    "CONFLICT": "Not in the state it is in.",
    "GONE": "The call has ended.",
    "PAYLOAD_TOO_LARGE": "The body is too long.",
    "UNPROCESSABLE": "It can't be done with what this server has.",
    "TOO_MANY_REQUESTS": "A limit is reached; `Retry-After` says when to come again.",
    "INTERNAL_SERVER_ERROR": "It failed here; the server's log has it under the request's id.",
    "SERVICE_UNAVAILABLE": "Not now; `Retry-After` says when to come again.",
    "TIMEOUT": "The telephone network did not answer in time.",
}
_ABOUT = """Telephone calls as a service. Every request carries a key: `Authorization: Bearer vx_...`; what it
sees is its organisation's. Every answer has an `X-Request-Id`."""


def document(table: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    schemas, refs = _schemas(table)
    paths: dict[str, dict[str, Any]] = {}
    for each in table:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "voxtra", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys(each.tag for each in table)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _models(table: Iterable[Operation]) -> list[tuple[type[BaseModel], Any]]:
    wanted: dict[tuple[type[BaseModel], Any], None] = {(Failure, "serialization"): None}
    for each in table:
        if each.body is not None:
            wanted[each.body, "validation"] = None
        if each.result is not None:
            wanted[each.result, "serialization"] = None
    return list(wanted)


def _schemas(table: Sequence[Operation]) -> tuple[dict[str, Any], dict[Any, dict[str, Any]]]:
    refs, definitions = models_json_schema(
        _models(table), by_alias=True, ref_template="#/components/schemas/{model}"
    )
    return definitions.get("$defs", {}), dict(refs)


def _operation(
    operation: Operation, schemas: dict[str, Any], refs: dict[Any, dict[str, Any]]
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"The key needs the scope `{operation.scope}`.",
        "parameters": [*_path(operation), *_query(operation), *map(_header, operation.headers)],
        "responses": _responses(operation, refs),
    }
    if operation.body is not None:
        schema = refs[operation.body, "validation"]
        optional = not schemas[operation.body.__name__].get("required")
        made["requestBody"] = {"required": not optional, "content": {"application/json": {"schema": schema}}}
    return made


def _responses(operation: Operation, refs: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": "Done."}
    if operation.streams:
        good["description"] = (
            "Server-sent events, until the call ends. `data:` is a CallEvent, `id:` its `seq`."
        )
        good["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    elif operation.result is not None:
        schema = refs[operation.result, "serialization"]
        good["content"] = {"application/json": {"schema": schema}}
    bad: list[ErrorCode] = [*ALWAYS, *operation.fails]
    if operation.body or operation.query or operation.headers or "{" in operation.path:
        bad.append("BAD_REQUEST")
    if operation.body is not None:
        bad.append("PAYLOAD_TOO_LARGE")
    failure = {"application/json": {"schema": refs[Failure, "serialization"]}}
    responses: dict[str, Any] = {str(operation.status): good}
    for code in sorted(set(bad), key=lambda each: HTTP_STATUS[each]):
        responses[str(HTTP_STATUS[code])] = {"description": WORDS[code], "content": failure}
    return responses


def _path(operation: Operation) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(by_alias=True)
    parameters = []
    for name, about in schema["properties"].items():
        plain = {key: value for key, value in about.items() if key not in ("title", "anyOf", "default")}
        choices = [each for each in about.get("anyOf", []) if each.get("type") != "null"]
        merged = plain | (choices[0] if choices else {})
        if about.get("default") is not None:
            merged["default"] = about["default"]
        parameters.append({"name": name, "in": "query", "required": False, "schema": merged})
    return parameters


def _header(header: Header) -> dict[str, Any]:
    return {
        "name": header.name,
        "in": "header",
        "required": False,
        "description": header.description,
        "schema": {"type": "string", "pattern": header.pattern},
    }
