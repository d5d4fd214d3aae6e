"""Asking twice is as good as once: the answer to a request that carries an ``Idempotency-Key``."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from voxtra.control.gate import Denied

KEPT_S = 86_400.0
"""How long an answer is remembered."""
MAX_KEPT = 10_000
"""Answers that are remembered; the oldest go first."""


@dataclass(slots=True)
class _Answer:
    digest: bytes
    until: float
    sid: asyncio.Future[str]


class Idempotency:
    """Remembers which call a request made.

    Args:
        now: monotonic seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._answers: OrderedDict[tuple[str, str], _Answer] = OrderedDict()

    async def once(
        self, org: str, key: str, body: str, make: Callable[[], Awaitable[str]]
    ) -> tuple[str, bool]:
        """The sid of what ``make`` makes, or made for the same key; whether it was made now.

        What fails is not remembered: the request may be sent again.

        Args:
            key: as the client sent it; "" = every request is its own.
            body: what was asked for, to tell one request from another.

        Raises:
            Denied: the key can't be, or was sent with another request.
            whatever ``make`` raises.
        """
        if not key:
            return await make(), True
        if not re.fullmatch(r"[\x21-\x7e]{1,255}", key):
            raise Denied("Idempotency-Key: 1 to 255 visible ASCII characters", "BAD_REQUEST")
        digest = hashlib.sha256(body.encode()).digest()
        self._forget()
        known = self._answers.get((org, key))
        if known is not None:
            if known.digest != digest:
                raise Denied("this Idempotency-Key was sent with another request", "CONFLICT")
            return await asyncio.shield(known.sid), False
        answer = _Answer(digest, self._now() + KEPT_S, asyncio.get_running_loop().create_future())
        self._answers[org, key] = answer
        try:
            answer.sid.set_result(await make())
        except BaseException as error:
            self._answers.pop((org, key), None)
            answer.sid.set_exception(
                error if isinstance(error, Exception) else Denied("given up", "CONFLICT")
            )
            answer.sid.exception()  # nobody else may be waiting
            raise
        return answer.sid.result(), True

    def _forget(self) -> None:
        now = self._now()
        while self._answers and (
            len(self._answers) >= MAX_KEPT or next(iter(self._answers.values())).until <= now
        ):
            self._answers.popitem(last=False)
