"""A provider's streamed answer with a deadline for each piece, and every failure in one form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import Any

from voxtra.errors import ProviderError


async def pieces(
    ask: Callable[[], Awaitable[AsyncIterable[Any]]],
    *,
    of: str,
    first_s: float,
    idle_s: float,
    error: Callable[[str], ProviderError],
    failed: Callable[[Exception], ProviderError],
    close: Callable[[Any], Awaitable[None]],
) -> AsyncGenerator[Any, None]:
    """What an SDK's request gives, piece by piece.

    Args:
        ask: makes the request and returns its stream.
        of: the provider's name, for messages.
        first_s: longest wait for the first piece, the request included, in s.
        idle_s: longest wait for each further piece, in s.
        error: makes what is raised when a deadline passes, from its words.
        failed: the same from what the SDK raised, with the provider's own words.
        close: ends the request of a stream that ``ask`` returned. Called in any case.

    Raises:
        ProviderError: of the kind that ``error`` and ``failed`` make.
    """
    stream: Any = None
    began = False
    limit = first_s
    clock = asyncio.get_running_loop().time
    until = clock() + limit
    try:
        async with asyncio.timeout_at(until):
            stream = await ask()
        each = aiter(stream)
        while True:
            async with asyncio.timeout_at(until):
                piece = await anext(each, None)
            if piece is None:
                return
            began = True
            yield piece
            limit = idle_s
            until = clock() + limit
    except (ProviderError, GeneratorExit):
        raise
    except TimeoutError:
        what = "went silent" if began else "did not begin to answer"
        raise error(f"{of} {what} within {limit:g} s") from None
    except Exception as problem:  # SDKs let errors of their transport and of json through as they are
        raise failed(problem) from problem
    finally:
        if stream is not None:
            await close(stream)
