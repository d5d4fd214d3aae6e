"""The client against the schema of the running Asterisk: nothing may be missing."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_args

import pytest

from voxtra.ari import ARIClient, events, models
from voxtra.ari.generate import main, safe
from voxtra.ari.protocol import Request
from voxtra.ari.schema import Operation, Resource, event_names, parse_resource, resource_names, snake
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live

GENERATED_FROM = "22.10."


async def documents(asterisk: PrivateAsterisk) -> dict[str, Any]:
    """File name → decoded JSON, as the running Asterisk serves them."""
    found: dict[str, Any] = {}
    async with ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password) as ari:

        async def fetch(name: str) -> Any:
            found[name] = json.loads(await ari.send(Request("GET", f"/api-docs/{name}.json")))
            return found[name]

        for name in resource_names(await fetch("resources")):
            await fetch(name)
    return found


async def running_schema(asterisk: PrivateAsterisk) -> list[Resource]:
    found = await documents(asterisk)
    return [parse_resource(name, document) for name, document in found.items() if name != "resources"]


def missing_of(ari: ARIClient, resource: Resource, operation: Operation) -> list[str]:
    where = f"{resource.name}.{operation.nickname}"
    method = getattr(getattr(ari, snake(resource.name), None), snake(operation.nickname), None)
    if operation.websocket:
        return []  # the connection itself
    if not inspect.iscoroutinefunction(method):
        return [where]
    signature = inspect.signature(method)
    missing = []
    for wanted in operation.parameters:
        has = signature.parameters.get(safe(snake(wanted.name)))
        if has is None or has.kind is not inspect.Parameter.KEYWORD_ONLY:
            missing.append(f"{where}({wanted.name})")
        elif (has.default is inspect.Parameter.empty) is not wanted.required:
            missing.append(f"{where}({wanted.name}) required: {wanted.required}")
    return missing


async def test_every_operation_and_parameter_is_there(asterisk: PrivateAsterisk) -> None:
    ari = ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password)
    schema = await running_schema(asterisk)
    operations = [(r, o) for r in schema for o in r.operations]
    assert len(schema) >= 11
    assert len(operations) >= 98
    assert [m for r, o in operations for m in missing_of(ari, r, o)] == []


async def test_every_model_event_and_field_is_there(asterisk: PrivateAsterisk) -> None:
    schema = await running_schema(asterisk)
    messages = event_names(schema)
    kinds = {member.__name__ for member in get_args(get_args(events.AnyMessage)[0])}
    missing = []
    for model in (m for r in schema for m in r.models):
        module = events if model.name in messages else models
        made = getattr(module, model.name, None)
        if made is None:
            missing.append(model.name)
            continue
        names = {f.alias or name for name, f in made.model_fields.items()}
        missing += [f"{model.name}.{f.name}" for f in model.fields if f.name not in names]
        if model.name in messages and not model.subtypes and model.name not in kinds:
            missing.append(f"{model.name} in the union")
    assert len(messages) >= 45
    assert missing == []


async def test_the_generated_files_are_what_this_schema_gives(
    asterisk: PrivateAsterisk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if f"Asterisk {GENERATED_FROM}" not in await asterisk.rx("core show version"):
        pytest.skip(f"the client was generated from Asterisk {GENERATED_FROM}x")
    for name, document in (await documents(asterisk)).items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    assert main([str(tmp_path), "--check"]) == 0, capsys.readouterr().out
