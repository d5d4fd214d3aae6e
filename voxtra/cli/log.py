"""Logging as a person reads it: time, level, who, which call, what; on stderr, without secrets."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable

from voxtra.cli.complain import style
from voxtra.errors import ConfigurationError

LEVELS = ("debug", "info", "warning", "error")
_LEVEL_COLOURS = {
    logging.WARNING: "yellow",
    logging.ERROR: "red",
    logging.CRITICAL: "red",
    logging.DEBUG: "dim",
}


class _Readable(logging.Formatter):
    """``12:34:56.789 info    voxtra.session [call-id] message``; the id is a record's ``call_id``.

    Secrets are taken out of whatever is about to be written.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = tuple(secret for secret in secrets if len(secret) > 3)

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = f"{record.levelname.lower():7}"
        if record.levelno in _LEVEL_COLOURS:
            level = style(level, _LEVEL_COLOURS[record.levelno], sys.stderr)
        call = getattr(record, "call_id", "")
        who = f"{record.name} [{call}]" if call else record.name
        text = f"{clock}.{record.msecs:03.0f} {level} {who} {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def set_up_logging(level: str, secrets: Iterable[str] = ()) -> None:
    """Log to stderr from ``level`` on.

    Raises:
        ConfigurationError: there is no such level.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"--log-level {level!r}: must be one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Readable(secrets))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, _Readable):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
