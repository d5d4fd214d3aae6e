"""How the fake Asterisk answers ARI's requests: by a function for each operation that it knows.

To teach it another, write one with the operation's method and path, as ARI's schema has them::

    @operation("POST /channels/{channelId}/redirect")
    def redirect(asterisk: FakeAsterisk, ask: Ask) -> Answer:
        ask.ours(asterisk).redirected = ask.get("endpoint")
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote

from voxtra.ari.protocol import Request, Response
from voxtra.testing.fake_asterisk import FakeAsterisk, FakeBridge, FakeChannel
from voxtra.testing.fake_errors import FakeCallError

Answer: TypeAlias = Any
"""A JSON value; None for 204, bytes for a file."""


class Refusal(Exception):
    """Asterisk's no: a status, and its words."""

    def __init__(self, status: int, words: str) -> None:
        self.status = status
        self.words = words
        super().__init__(words)


@dataclass
class Ask:
    """A request: the ids of its path, and its parameters from query and body together."""

    ids: list[str]
    given: dict[str, Any]

    def get(self, name: str, default: str = "") -> str:
        """A parameter as text."""
        return str(self.given.get(name) or default)

    def channel(self, asterisk: FakeAsterisk) -> FakeChannel:
        """The channel that the path names."""
        channel = asterisk.channels.get(self.ids[0])
        if channel is None:
            raise Refusal(404, "Channel not found")
        return channel

    def ours(self, asterisk: FakeAsterisk) -> FakeChannel:
        """... which has to be in the application."""
        channel = self.channel(asterisk)
        if not channel.in_stasis:
            raise Refusal(409, "Channel not in Stasis application")
        return channel

    def bridge(self, asterisk: FakeAsterisk) -> FakeBridge:
        """The bridge that the path names."""
        bridge = asterisk.bridges.get(self.ids[0])
        if bridge is None:
            raise Refusal(404, "Bridge not found")
        return bridge


Operation: TypeAlias = Callable[[FakeAsterisk, Ask], Answer]
_OPERATIONS: dict[tuple[str, str], Operation] = {}


def operation(*routes: str) -> Callable[[Operation], Operation]:
    """Decorator: answers ``"METHOD /path/{id}"``, one or several."""

    def register(function: Operation) -> Operation:
        for route in routes:
            method, path = route.split()
            _OPERATIONS[method, _shape(path)] = function
        return function

    return register


def _shape(path: str) -> str:
    return "/".join("*" if part.startswith("{") else part for part in path.split("/"))


def answer(asterisk: FakeAsterisk, request: Request) -> Response:
    """Carry a request out.

    Raises:
        FakeCallError: the fake Asterisk does not know the operation.
    """
    parts = request.path.split("/")[1:]
    asterisk.asked.append(f"{request.method} {request.path}")
    for pattern in _patterns(parts):
        found = _OPERATIONS.get((request.method, "/" + "/".join(pattern)))
        if found is not None:
            ids = [unquote(part) for part, shape in zip(parts, pattern, strict=True) if shape == "*"]
            body = json.loads(request.body) if request.body else {}
            try:
                said = found(asterisk, Ask(ids, {**body, **request.query}))
            except Refusal as no:
                return Response(no.status, no.words, json.dumps({"message": no.words}))
            if isinstance(said, bytes):
                return Response(200, "OK", said)
            return Response(204, "No Content", "") if said is None else Response(200, "OK", json.dumps(said))
    raise FakeCallError(
        f"the fake Asterisk can't do  {request.method} {request.path}  (with {dict(request.query)}): test "
        "this with a real one (PrivateAsterisk, Phone), or teach it: voxtra.testing.fake_rest.operation"
    )


def _patterns(parts: list[str]) -> list[list[str]]:
    """The shapes that a path may have, the plainest first: ids stand second, and fourth or third in a few."""
    second = ["*" if number == 1 else part for number, part in enumerate(parts)]
    fourth = ["*" if number in (1, 3) else part for number, part in enumerate(parts)]
    third = ["*" if number == 2 else part for number, part in enumerate(parts)]
    return [parts, second, fourth, third]
