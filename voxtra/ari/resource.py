"""What the generated operations stand on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from voxtra.ari.protocol import Request, parse_body
from voxtra.errors import ARIInvalidError, ARIServerError

T = TypeVar("T")


class Sender(Protocol):
    """Carries requests: the client."""

    async def send(self, request: Request, timeout_s: float | None) -> str | bytes:
        """The body of the response to a request that succeeded. Raises ARIError and its kin."""


def joined(values: str | Sequence[str] | None) -> str | None:
    """Several values of one parameter, as Asterisk takes them: separated by commas."""
    if values is None or isinstance(values, str):
        return values
    return ",".join(values)


class Operations:
    """Base of one resource's operations."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def _path(self, template: str, **ids: str) -> str:
        """The path with each id percent-encoded.

        Raises:
            ARIInvalidError: an id is empty or a dot segment, which would name another resource.
        """
        quoted: dict[str, str] = {}
        for name, value in ids.items():
            if not value or value in (".", ".."):
                raise ARIInvalidError("", template, 0, f"{name} can't be {value!r}; nothing was sent")
            quoted[name] = quote(value, safe="")
        return template.format_map(quoted)

    async def _do(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> None:
        await self._sender.send(_request(method, path, query, body), timeout_s)

    async def _fetch(
        self,
        kind: type[T],
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout_s: float | None = None,
    ) -> T:
        answer = await self._sender.send(_request(method, path, query, body), timeout_s)
        try:
            return parse_body(kind, answer)
        except ValueError:
            said = f"the response is not what ARI gives here: {answer[:80]!r}; is this Asterisk?"
        raise ARIServerError(method, path, 200, said)

    async def _download(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        answer = await self._sender.send(_request(method, path, query, None, binary=True), timeout_s)
        return answer if isinstance(answer, bytes) else answer.encode()


def _request(
    method: str, path: str, query: Mapping[str, Any] | None, body: Any, *, binary: bool = False
) -> Request:
    """The request, with None left out and booleans in Asterisk's spelling."""
    given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
    return Request(method, path, given, "" if body is None else json.dumps(body), binary)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
