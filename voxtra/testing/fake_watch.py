"""What fails in an app that survives it, for a test to see."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
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
    """Exceptions that the app survives by logging them end up in ``errors``."""
    handler = _Errors(errors)
    log = logging.getLogger("voxtra")

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
        loop.set_exception_handler(None)
