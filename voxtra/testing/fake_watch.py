"""What fails in an app that survives it, for a test to see."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any


class _Errors(logging.Handler):
    """Every exception that voxtra logs as an error."""

    def __init__(self, into: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and error not in self._into:
            self._into.append(error)


@contextlib.contextmanager
def errors_into(errors: list[BaseException], loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Exceptions that the app survives by logging them end up in ``errors``, also where logging is switched off."""
    handler = _Errors(errors)
    log = logging.getLogger("voxtra")
    put_back = _switched_on()

    def unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException) and error not in errors:
            errors.append(error)
        loop.default_exception_handler(context)

    log.addHandler(handler)
    loop.set_exception_handler(unhandled)
    try:
        yield
    finally:
        log.removeHandler(handler)
        put_back()
        loop.set_exception_handler(None)


def _switched_on() -> Callable[[], None]:
    """Let errors of voxtra's loggers through; returns what puts all back as it was.

    A test suite may silence logging as it likes (``logging.disable``, a level, ``disable_existing_loggers``): what
    failed in an app is no less a failure.
    """
    named = sorted(logging.root.manager.loggerDict.items())
    mine = [
        each
        for name, each in named
        if isinstance(each, logging.Logger) and (name == "voxtra" or name.startswith("voxtra."))
    ]
    before = [(each, each.level, each.disabled, each.propagate) for each in mine]
    disabled = logging.root.manager.disable
    logging.disable(min(disabled, logging.WARNING))
    for each in mine:
        each.disabled = False
        if each.getEffectiveLevel() > logging.ERROR:
            each.setLevel(logging.ERROR)
        if each.name != "voxtra":
            each.propagate = True

    def put_back() -> None:
        logging.disable(disabled)
        for each, level, off, propagate in before:
            each.setLevel(level)
            each.disabled, each.propagate = off, propagate

    return put_back
