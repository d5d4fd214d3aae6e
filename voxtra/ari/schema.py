"""Asterisk's own description of ARI (``rest-api/*.json``, Swagger 1.1), read into plain values.

Used by :mod:`voxtra.ari.generate` and by the test that compares the client with a running Asterisk. The
files come with Asterisk (``/usr/share/asterisk/rest-api``) and from ``GET /ari/api-docs/<resource>.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxtra.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation.

    Attributes:
        name: Asterisk's name, ``"channelId"``.
        place: ``"path"``, ``"query"`` or ``"body"``.
        type: Asterisk's type, ``"string"``, ``"int"``, ``"containers"`` ...
        required: it can't be left out.
        multiple: several values may be given.
        allowed: the values Asterisk takes, empty when it takes any.
        minimum: smallest number, None without a bound.
        default: what Asterisk takes when it is left out, None when nothing is said.
        description: Asterisk's words.
    """

    name: str
    place: str
    type: str
    required: bool
    multiple: bool
    allowed: tuple[str, ...]
    minimum: int | None
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One request: ``method`` on ``path``, answered with ``returns`` (``"void"``, ``"List[Channel]"``)."""

    nickname: str
    method: str
    path: str
    returns: str
    summary: str
    notes: str
    since: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    errors: tuple[tuple[int, str], ...]
    websocket: bool


@dataclass(frozen=True, slots=True)
class Field:
    """One property of a model."""

    name: str
    type: str
    required: bool
    allowed: tuple[str, ...]
    description: str


@dataclass(frozen=True, slots=True)
class Model:
    """One object of ARI; ``subtypes`` are the models that extend it."""

    name: str
    description: str
    fields: tuple[Field, ...]
    subtypes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One file: the operations and models of ``channels``, ``bridges`` ..."""

    name: str
    operations: tuple[Operation, ...]
    models: tuple[Model, ...]


def snake(name: str) -> str:
    """``"otherChannelId"`` → ``"other_channel_id"``, ``"sendDTMF"`` → ``"send_dtmf"``."""
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", spaced).lower()


def text(words: str | None) -> str:
    """A description as plain text on one line: no HTML, no newlines, one space between words."""
    plain = re.sub(r"<br\s*/?>", " ", words or "")
    plain = re.sub(r"</?[a-zA-Z][^>]*>", "", plain)
    return re.sub(r"\s+", " ", plain).strip()


def _allowed(raw: Mapping[str, Any]) -> tuple[tuple[str, ...], int | None]:
    values = raw.get("allowableValues") or {}
    if values.get("valueType", "").upper() == "LIST":
        return tuple(str(v) for v in values.get("values", ())), None
    return (), values.get("min")


def _parameter(raw: Mapping[str, Any]) -> Parameter:
    allowed, minimum = _allowed(raw)
    place = raw["paramType"]
    # Asterisk's own files spell this key wrongly in places, and leave "required" out of some path parameters.
    description = raw.get("description") or raw.get("descriptioni")
    return Parameter(
        name=raw["name"],
        place=place,
        type=raw["dataType"],
        required=bool(raw.get("required")) or place == "path",
        multiple=bool(raw.get("allowMultiple")),
        allowed=allowed,
        minimum=minimum,
        default=raw.get("defaultValue"),
        description=text(description),
    )


def _operation(path: str, raw: Mapping[str, Any]) -> Operation:
    return Operation(
        nickname=raw["nickname"],
        method=raw["httpMethod"],
        path=path,
        returns=raw["responseClass"],
        summary=text(raw.get("summary")),
        notes=text(raw.get("notes")),
        since=tuple(raw.get("since", ())),
        parameters=tuple(_parameter(p) for p in raw.get("parameters", ())),
        errors=tuple((int(e["code"]), text(e["reason"])) for e in raw.get("errorResponses", ())),
        websocket=raw.get("upgrade") == "websocket",
    )


def _model(name: str, raw: Mapping[str, Any]) -> Model:
    fields = tuple(
        Field(n, f["type"], bool(f.get("required")), _allowed(f)[0], text(f.get("description")))
        for n, f in raw.get("properties", {}).items()
    )
    return Model(name, text(raw.get("description")), fields, tuple(raw.get("subTypes", ())))


def parse_resource(name: str, document: Mapping[str, Any]) -> Resource:
    """One file of the schema, decoded from JSON."""
    operations = [_operation(api["path"], op) for api in document["apis"] for op in api["operations"]]
    models = [_model(n, m) for n, m in document.get("models", {}).items()]
    return Resource(name, tuple(operations), tuple(models))


def resource_names(index: Mapping[str, Any]) -> list[str]:
    """The resources that ``resources.json`` lists: ``["asterisk", "endpoints", "channels", ...]``."""
    return [Path(api["path"]).name.partition(".")[0] for api in index["apis"]]


def read_schema(folder: Path) -> list[Resource]:
    """Read all of a ``rest-api`` folder, resources in alphabetical order.

    Raises:
        ConfigurationError: a file is missing, or is not what Asterisk ships.
    """
    try:
        names = resource_names(json.loads((folder / "resources.json").read_text()))
        documents = {name: json.loads((folder / f"{name}.json").read_text()) for name in sorted(names)}
        return [parse_resource(name, document) for name, document in documents.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{folder} is no ARI schema folder ({error}): it should hold Asterisk's rest-api/*.json"
        ) from error


def event_names(resources: Iterable[Resource]) -> set[str]:
    """Names of all models that are messages on the events WebSocket: ``Message`` and what extends it."""
    models = {m.name: m for r in resources for m in r.models}
    found: set[str] = set()
    todo = ["Message"]
    while todo:
        name = todo.pop()
        if name not in found and name in models:
            found.add(name)
            todo.extend(models[name].subtypes)
    return found
