"""``voxtra spool``: what waits to be delivered, and what was given up."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from voxtra.cli.ask import confirm_deleting, help_alone
from voxtra.errors import ConfigurationError
from voxtra.recording.spool_store import Entry, SpoolStore

group = typer.Typer(
    name="spool", help="Look at a spool: recordings and webhooks that wait, or were given up.",
    callback=help_alone, invoke_without_command=True, rich_markup_mode=None,
)  # fmt: skip

FolderOption = Annotated[
    Path,
    typer.Option(
        "--folder",
        "-f",
        metavar="DIR",
        envvar="VOXTRA_SPOOL",
        help="The spool's folder.",
        show_default="spool",
    ),
]
SinkOption = Annotated[str, typer.Option("--sink", metavar="NAME", help="Only those for this sink.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON.")]
IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="[ID]...", help="Which ones; else all given up.", show_default=False),
]
_DEFAULT = Path("spool")


@group.command("list")
def list_(
    folder: FolderOption = _DEFAULT,
    sink: SinkOption = "",
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at most.")] = 100,
    as_json: JsonOption = False,
) -> int:
    """Show what waits, and what was given up, with why.

    \b
    Examples:
      voxtra spool list --folder /var/spool/voxtra
      voxtra spool list --dead --json
    """
    store = _open(folder)
    try:
        entries = list(store.entries(("dead",) if dead else (), sink, limit))
        counts = store.counts()
    finally:
        store.close()
    if as_json:
        typer.echo(json.dumps({"counts": counts, "entries": [each.to_dict() for each in entries]}, indent=2))
        return 0
    for name, states in sorted(counts.items()):
        typer.echo(f"{name}: {', '.join(f'{number} {state}' for state, number in sorted(states.items()))}")
    if not entries:
        typer.echo("nothing waits" if not dead else "nothing was given up")
    for entry in entries:
        typer.echo(_line(entry))
    for other in sorted(path.parent for path in folder.glob("process-*/spool.db")):
        typer.echo(f"another process has its own: voxtra spool list -f {other}")
    return 0


@group.command()
def retry(
    ids: IdsArgument = None,
    folder: FolderOption = _DEFAULT,
    sink: SinkOption = "",
    as_json: JsonOption = False,
) -> int:
    """Try again what was given up. The process that uses the spool sees it within 5 s.

    \b
    Examples:
      voxtra spool retry --folder /var/spool/voxtra
      voxtra spool retry 17 18
    """
    store = _open(folder)
    try:
        number = store.retry(ids or (), sink)
    finally:
        store.close()
    typer.echo(json.dumps({"retried": number}) if as_json else f"{number} to be tried again")
    return 0


@group.command()
def purge(
    ids: IdsArgument = None,
    folder: FolderOption = _DEFAULT,
    sink: SinkOption = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Also what still waits, and might yet be delivered.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Throw away what was given up, and its files, for good.

    \b
    Examples:
      voxtra spool purge 17
      voxtra spool purge --folder /var/spool/voxtra --yes
    """
    store = _open(folder)
    try:
        if not yes:
            confirm_deleting("Delete them, recordings included, for good?")
        number = store.purge(ids or (), sink, waiting=waiting)
    finally:
        store.close()
    typer.echo(json.dumps({"purged": number}) if as_json else f"{number} purged")
    return 0


def _open(folder: Path) -> SpoolStore:
    if not (folder / "spool.db").is_file():
        raise ConfigurationError(f"{folder} is no spool: name its folder with --folder or VOXTRA_SPOOL")
    return SpoolStore(folder, owner=False)


def _line(entry: Entry) -> str:
    body: dict[str, Any] = entry.body
    what = body.get("name") or body.get("type") or entry.key
    came = datetime.fromtimestamp(entry.created, UTC).isoformat(timespec="seconds")
    due = f", next in {max(0.0, entry.due - time.time()):.0f} s" if entry.state == "pending" else ""
    call = body.get("session_id") or "-"
    error = f": {' '.join(entry.error.split())}" if entry.error else ""
    tried = f"{entry.attempts} attempts{due}{error}"
    return f"{entry.id:>6}  {entry.state:<7} {entry.sink}  {what} of {call}, {came}, {tried}"
