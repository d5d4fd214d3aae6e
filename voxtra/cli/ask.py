"""What commands with commands of their own share: help when nothing is asked for, and a question before harm."""

from __future__ import annotations

import typer

from voxtra.cli.complain import complain


def help_alone(context: typer.Context) -> None:
    """A group without a command shows its help."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def confirm_deleting(question: str) -> None:
    """Ask on stderr. Raises typer.Abort, and says so, when the answer is no, or there is none."""
    try:
        typer.confirm(question, abort=True, err=True)
    except typer.Abort:
        typer.echo(err=True)
        complain("nothing was deleted: that was no yes (--yes does not ask)")
        raise
