"""The log: each line with its call, as text or as JSON, without secrets and without people's numbers.

``voxtra run`` sets it up by the settings ``log``. A program of one's own calls :func:`set_up_logging`, or hangs a
:class:`RedactingFilter` on the handlers it has.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from voxtra.errors import ConfigurationError
from voxtra.redaction import Redactor

if TYPE_CHECKING:
    from voxtra.config import LogConfig

LEVELS = ("debug", "info", "warning", "error")
call_id: ContextVar[str] = ContextVar("voxtra_call_id", default="")
"""The call that the code at hand runs for: set in its handler, its callbacks and all that they begin."""
_OWN = {*vars(logging.makeLogRecord({})), "message", "asctime", "call_id", "taskName"}


def call_of(record: logging.LogRecord) -> str:
    """The call a record is about: what it says itself, else the call at hand; "" when there is none."""
    return str(getattr(record, "call_id", "") or call_id.get())


class RedactingFilter(logging.Filter):
    """For a handler of one's own: gives every record its ``call_id`` and takes out what nobody should read.

    On a handler (not on a logger) it sees the records of all libraries. It changes the record itself, so handlers
    that come later get it redacted too::

        handler.addFilter(RedactingFilter(Redactor(["hunter22"])))

    Args:
        redactor: None = secrets by their names, numbers masked.
    """

    def __init__(self, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._redactor = redactor or Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        record.call_id = call_of(record)
        record.msg, record.args = self._redactor.text(_message(record)), None
        for name, value in _extras(record):
            setattr(record, name, self._redactor.value(name, value))
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redactor.text(record.exc_text)
        return True


class TextFormatter(logging.Formatter):
    """``12:34:56.789 info    voxtra.session [call-id] message``.

    Args:
        redactor: takes out what nobody should read.
        paint: the level's word, coloured for a terminal.
    """

    def __init__(self, redactor: Redactor, paint: Callable[[str, int], str] | None = None) -> None:
        super().__init__()
        self._redactor = redactor
        self._paint = paint or (lambda word, level: word)

    def format(self, record: logging.LogRecord) -> str:
        """One line, and those of a traceback."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = self._paint(f"{record.levelname.lower():7}", record.levelno)
        call = call_of(record)
        who = f"{record.name} [{call}]" if call else record.name
        text = _message(record)
        if trace := _trace(self, record):
            text += "\n" + trace
        return f"{clock}.{record.msecs:03.0f} {level} {who} {self._redactor.text(text)}"


class JSONFormatter(logging.Formatter):
    """One object a line: ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``call_id``, ``message``, ``error`` (a
    traceback), and what was given as ``extra``.

    Args:
        redactor: takes out what nobody should read.
    """

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "call_id": call_of(record),
            "message": self._redactor.text(_message(record)),
        }
        if trace := _trace(self, record):
            line["error"] = self._redactor.text(trace)
        for name, value in _extras(record):
            line.setdefault(name, self._redactor.value(name, value))
        return json.dumps(line, ensure_ascii=False, default=str)


def _message(record: logging.LogRecord) -> str:
    """What it says. One whose arguments do not fit says both as they are: a bad line of log breaks no call, and
    :mod:`logging`'s own complaint of it would show what is left out here."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - anyone's arguments, and what their __str__ raises
        return f"{record.msg} {_shown(record.args)}"


def _shown(arguments: object) -> str:
    try:
        return repr(arguments)
    except Exception as error:  # noqa: BLE001 - as above
        return f"(arguments that can't be shown: {type(error).__name__})"


def _extras(record: logging.LogRecord) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(record).items() if name not in _OWN]


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return record.exc_text or (formatter.formatException(record.exc_info) if record.exc_info else "")


class _OursHandler(logging.StreamHandler[Any]):
    """Known again when the log is set up anew."""


def set_up_logging(
    level: str = "info",
    settings: LogConfig | None = None,
    *,
    secrets: Iterable[str] = (),
    paint: Callable[[str, int], str] | None = None,
) -> None:
    """Log everything in this process to stderr, from ``level`` on. Called again, it replaces what it did.

    Args:
        level: debug, info, warning or error.
        settings: ``VoxtraConfig.log``; None = text, numbers masked.
        secrets: to take out wherever they stand, see :class:`~voxtra.redaction.Redactor`.
        paint: colours the level's word, in text.

    Raises:
        ConfigurationError: there is no such level.
    """
    if level.lower() not in LEVELS:
        raise ConfigurationError(f"log level {level!r}: must be one of {', '.join(LEVELS)}")
    if settings is None:
        redactor, form = Redactor(secrets), "text"
    else:
        redactor = Redactor(secrets, numbers=settings.numbers, digits=settings.number_digits)
        form = settings.format
    handler = _OursHandler(sys.stderr)
    handler.setFormatter(JSONFormatter(redactor) if form == "json" else TextFormatter(redactor, paint))
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, _OursHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
