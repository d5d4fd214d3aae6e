"""``voxtra recordings``: what a ``LocalFileSink`` has put into a folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from voxtra.cli.ask import confirm_deleting, help_alone
from voxtra.errors import ConfigurationError
from voxtra.recording.placing import expire

group = typer.Typer(
    name="recordings", help="Look after a folder of recordings and call records.",
    callback=help_alone, invoke_without_command=True, rich_markup_mode=None,
)  # fmt: skip


@group.command()
def purge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The sink's folder.", show_default=False)],
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Days since it was written.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only name what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Delete files older than so many days, and folders that are empty then.

    Hidden files (a spool in the folder) and links stay. An app does the same by itself with
    LocalFileSink(..., keep_days=30).

    \b
    Examples:
      voxtra recordings purge recordings --older-than 30 --dry-run
      voxtra recordings purge /var/lib/voxtra/calls --older-than 90 --yes
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder} is no folder")
    now = time.time()
    found = expire(folder, older_than, now, dry_run=True)
    if found and not dry_run:
        if not yes:
            confirm_deleting(f"Delete {len(found)} files in {folder} for good?")
        found = expire(folder, older_than, now)
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run, "files": [str(path) for path in found]}, indent=2))
        return 0
    for path in found if dry_run else ():
        typer.echo(str(path))
    typer.echo(f"{len(found)} {'would be deleted' if dry_run else 'deleted'}")
    return 0
