"""Streams that end when nobody wants them any more, at once and not when they are collected."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import TypeVar, cast

T = TypeVar("T")


def closing(stream: AsyncIterable[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]:
    """``async with closing(stream) as pieces``: closes a generator on the way out, whatever the way.

    An iterable that has nothing to close is only iterated.
    """
    if hasattr(stream, "aclose"):
        return contextlib.aclosing(cast("AsyncGenerator[T, None]", stream))
    return contextlib.nullcontext(aiter(stream))
