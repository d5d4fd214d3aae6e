"""``voxtra asterisk``: get the private Asterisk that ``voxtra dev`` runs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from voxtra.cli.complain import complain
from voxtra.errors import ConfigurationError

_CACHE = Path("~/.cache/voxtra/asterisk")


def command(
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Where it is unpacked (about 260 MB).")
    ] = _CACHE,
    again: Annotated[bool, typer.Option("--again", help="Also when there is one already.")] = False,
) -> int:
    """Get an Asterisk for voxtra dev.

    No root is needed and nothing of the system is touched: Debian's packages are fetched, their signatures
    checked by apt, and unpacked into a folder.

    \b
    Examples:
      voxtra asterisk
      voxtra asterisk --to ./.asterisk
    """
    from voxtra.testing.asterisk_config import find_asterisk, template_dir

    if not again:
        try:
            typer.echo(find_asterisk().executable)
            return 0
        except ConfigurationError:
            pass  # none here: that is what this command is for
    script = template_dir() / "get-asterisk.sh"
    if not script.is_file():
        raise ConfigurationError(f"{script} is not there: install voxtra again")
    folder = to.expanduser()
    done = subprocess.run(["sh", str(script), str(folder)], check=False)
    if done.returncode != 0:
        complain(f"{script.name} failed ({done.returncode}): what it said is above")
        return 1
    typer.echo(find_asterisk(folder).executable)
    return 0
