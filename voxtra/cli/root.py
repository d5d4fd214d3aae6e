"""The command line as a whole: its commands, and how an error leaves it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from voxtra import __version__
from voxtra.cli import asterisk, check, dev, doctor, info, init, keys, options, recordings, run, spool, start
from voxtra.cli import eval as eval_
from voxtra.cli.complain import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, complain, guarded

_UsageError: Any = typer.BadParameter.__mro__[1]
_CommandLineError: Any = typer.BadParameter.__mro__[2]

cli = typer.Typer(
    name="voxtra",
    help="Voice agents, IVRs and phone applications on Asterisk.",
    epilog="Start here:  voxtra dev app:app",
    rich_markup_mode=None,  # plain text: errors are one line, help reads the same in a pipe
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _module in (init, dev, run, start, check, eval_, doctor, info, asterisk):
    cli.command(_module.__name__.rpartition(".")[2])(_module.command)
cli.add_typer(spool.group)
cli.add_typer(recordings.group)
cli.add_typer(keys.group)
_READ_ENV_FILE = ("run", "start", "eval", "doctor", "info")
"""``check`` reads it itself, to report on it; what ``dev`` starts does so at every start."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"voxtra {__version__}")
        raise typer.Exit


@cli.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    if context.invoked_subcommand in _READ_ENV_FILE:
        options.load_env_file()


def run_cli(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what is wrong is said on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return guarded(lambda: _invoke(given), debug="--debug" in given)
    except BrokenPipeError:  # `voxtra info | head`: nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED


def _invoke(arguments: list[str]) -> int:
    try:
        result = cli(args=arguments, prog_name="voxtra", standalone_mode=False)
    except _CommandLineError as error:
        where = error.ctx.command_path if isinstance(error, _UsageError) and error.ctx else "voxtra"
        said = " ".join(error.format_message().split()).rstrip(".")
        complain(f"{said} (see {where} --help)")
        return EXIT_USAGE
    except typer.Abort:
        return EXIT_INTERRUPTED
    return result if isinstance(result, int) else EXIT_OK


def main() -> None:
    """The ``voxtra`` command."""
    sys.exit(run_cli())
