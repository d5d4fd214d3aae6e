"""The log of the commands: as :mod:`voxtra.logs` makes it, coloured on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable

from voxtra import logs
from voxtra.cli.complain import style
from voxtra.config import LogConfig
from voxtra.errors import ConfigurationError

LEVELS = logs.LEVELS
_LEVEL_COLOURS = {
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "red",
    logging.DEBUG: "dim",
}


def set_up_logging(level: str, secrets: Iterable[str] = (), settings: LogConfig | None = None) -> None:
    """Log to stderr from ``level`` on.

    Args:
        secrets: left out wherever they stand.
        settings: ``VoxtraConfig.log``; None = text, as before the settings are read.

    Raises:
        ConfigurationError: there is no such level.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"--log-level {level!r}: must be one of {', '.join(LEVELS)}")
    logs.set_up_logging(level, settings, secrets=secrets, paint=_painted)


def _painted(word: str, level: int) -> str:
    return style(word, _LEVEL_COLOURS[level], sys.stderr) if level in _LEVEL_COLOURS else word
