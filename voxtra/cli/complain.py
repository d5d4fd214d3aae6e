"""Exit codes, and errors as one line on stderr."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import TextIO

from voxtra.cli.target import UserCodeError
from voxtra.errors import AuthenticationError, ConfigurationError, VoxtraError

EXIT_OK = 0
EXIT_FAILED = 1
"""Something failed while running."""
EXIT_USAGE = 2
"""What was asked for is wrong: an option, a setting, a password, a file."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it: 128 + SIGINT."""


def exit_code(error: BaseException) -> int:
    """Whether an error is the user's to mend (2) or came up at run time (1)."""
    return EXIT_USAGE if isinstance(error, ConfigurationError | AuthenticationError) else EXIT_FAILED


def guarded(work: Callable[[], int], *, debug: bool) -> int:
    """Do ``work`` and return its exit code, or that of the error it ends with, which is said in one line."""
    try:
        return work()
    except UserCodeError as error:
        print(error.full if debug else error.shown, file=sys.stderr)
        complain(str(error))
        return EXIT_USAGE
    except VoxtraError as error:
        if debug:
            traceback.print_exc()
        complain(str(error))
        return exit_code(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def first_line(error: BaseException) -> str:
    """What an error says, as one line."""
    return " ".join(str(error).split())


def complain(text: str) -> None:
    """Say on stderr, in one line unless the text itself has more, what is wrong."""
    print(f"{style('voxtra: error:', 'red', sys.stderr)} {text}", file=sys.stderr, flush=True)


_COLOURS = {"red": "31", "green": "32", "yellow": "33", "dim": "2", "bold": "1"}


def style(text: str, colour: str, stream: TextIO) -> str:
    """``text`` in a colour if ``stream`` is a terminal that wants colours (see no-color.org)."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"
