"""``voxtra keys``: the keys of the HTTP API."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from voxtra.cli.ask import help_alone
from voxtra.control.keys import SCOPES, KeyRing, StoredKey
from voxtra.errors import ConfigurationError

group = typer.Typer(
    name="keys", help="Keys of the HTTP API: make, list, revoke.",
    callback=help_alone, invoke_without_command=True, rich_markup_mode=None,
)  # fmt: skip

FileOption = Annotated[
    Path,
    typer.Option(
        "--file",
        "-f",
        metavar="FILE",
        envvar="VOXTRA_API_KEYS",
        help="The keys' file.",
        show_default="keys.json",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
_DEFAULT = Path("keys.json")


def _scopes(incomplete: str) -> list[str]:
    return [scope for scope in SCOPES if scope.startswith(incomplete)]


@group.command()
def create(
    org: Annotated[str, typer.Option("--org", metavar="ORG", help="The organisation it is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="What it may do; may be given again.",
            autocompletion=_scopes,
            show_default="voice:*",
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="To tell it from others.")] = "",
    days: Annotated[
        float | None,
        typer.Option("--days", min=0.001, max=36500, help="How long it is good.", show_default="for ever"),
    ] = None,
    file: FileOption = _DEFAULT,
    as_json: JsonOption = False,
) -> int:
    """Make a key. It is printed once, alone on stdout; the file keeps only a hash of it.

    \b
    Examples:
      voxtra keys create --org org_abc --scope 'voice:*'
      export CLUTCHCALL_CREDENTIALS=$(voxtra keys create --org org_abc)
    """  # fmt: skip
    expires = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    ring = KeyRing(file)
    made = ring.create(org, tuple(scope or ("voice:*",)), name=name, expires=expires)
    stored = next(key for key in ring.stored() if made.startswith(f"vx_{key.id}_"))
    if as_json:
        typer.echo(json.dumps({**_row(stored), "key": made}, indent=2))
        return 0
    typer.echo(made)
    typer.echo(f"{_line(stored)}\nKeep it now: it can't be shown again. Take it away: voxtra keys revoke {stored.id}",
               err=True)  # fmt: skip
    return 0


@group.command("list")
def list_(file: FileOption = _DEFAULT, as_json: JsonOption = False) -> int:
    """Show all keys; never their secrets."""
    keys = KeyRing(file).stored()
    if as_json:
        typer.echo(json.dumps([_row(key) for key in keys], indent=2))
        return 0
    for key in keys:
        typer.echo(_line(key))
    if not keys:
        typer.echo(f"no keys in {file}: make one with  voxtra keys create --org ORG")
    return 0


def _ids(context: typer.Context, incomplete: str) -> list[str]:
    try:
        keys = KeyRing(Path(context.params.get("file") or _DEFAULT)).stored()
    except ConfigurationError:
        return []
    return [key.id for key in keys if key.id.startswith(incomplete)]


@group.command()
def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="Its id.", autocompletion=_ids)],
    file: FileOption = _DEFAULT,
) -> int:
    """Take a key away. A running server refuses it from the next request on."""
    typer.echo(f"revoked: {_line(KeyRing(file).revoke(identifier))}")
    return 0


def _row(key: StoredKey) -> dict[str, object]:
    return {
        "id": key.id,
        "org": key.org,
        "scopes": list(key.scopes),
        "name": key.name,
        "created": key.created,
        "expires": key.expires,
    }


def _line(key: StoredKey) -> str:
    until = ""
    if key.expires is not None:
        until = f", {'expired' if key.expired(datetime.now(UTC)) else 'good until'} {key.expires}"
    name = f" ({key.name})" if key.name else ""
    return f"{key.id}{name}: {key.org}, {' '.join(key.scopes)}, made {key.created}{until}"
