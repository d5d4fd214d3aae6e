"""The operations of REST: one table, from which the server is made and its OpenAPI document too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aiohttp import web
from pydantic import BaseModel

from voxtra.control.doorman import Doorman
from voxtra.control.gate import Denied
from voxtra.control.keys import Principal
from voxtra.control.requests import checked, read_json
from voxtra.wire import ErrorCode

Method: TypeAlias = Literal["GET", "POST", "PUT", "DELETE"]
Answer: TypeAlias = Callable[["Asked"], Awaitable[web.StreamResponse]]


@dataclass(slots=True, frozen=True)
class Asked:
    """One request, checked.

    Attributes:
        body: the input, of the operation's own model.
        query: likewise of the query.
    """

    request: web.Request
    principal: Principal
    body: BaseModel | None
    query: BaseModel | None

    @property
    def org(self) -> str:
        """Whose request it is."""
        return self.principal.org

    def path(self, name: str) -> str:
        """A parameter of the path."""
        return self.request.match_info[name]


@dataclass(slots=True, frozen=True)
class Header:
    """A header that an operation looks at."""

    name: str
    description: str
    pattern: str


@dataclass(slots=True, frozen=True)
class Operation:
    """One operation.

    Attributes:
        scope: what the key must be for.
        body, query: models of the input.
        result: model of the answer; None: it has none, or streams.
        status: of a success.
        fails: how else it may end, beside what every operation may.
    """

    id: str
    method: Method
    path: str
    summary: str
    scope: str
    answer: Answer
    tag: str = "calls"
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    result: type[BaseModel] | None = None
    status: int = 200
    fails: Sequence[ErrorCode] = ()
    headers: Sequence[Header] = ()
    streams: bool = False


class Operations:
    """Answers operations.

    Args:
        doorman: who may ask.
    """

    def __init__(self, doorman: Doorman, table: Sequence[Operation]) -> None:
        self._doorman = doorman
        self._table = table

    def add(self, router: web.UrlDispatcher) -> None:
        """Say which."""
        for each in self._table:
            router.add_route(each.method, each.path, self._handler(each))

    def _handler(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            principal = self._doorman.admit(request, operation.scope)
            query = body = None
            if operation.query is not None:
                query = checked(operation.query, _once(request))
            if operation.body is not None:
                body = checked(operation.body, await read_json(request))
            return await operation.answer(Asked(request, principal, body, query))

        return handle


def _once(request: web.Request) -> dict[str, str]:
    """The query. Raises Denied where one name is given twice: which of the two was meant?"""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise Denied(f"{name} is given twice", "BAD_REQUEST", field=name)
        given[name] = value
    return given


def answered(model: BaseModel, status: int = 200, **headers: str) -> web.Response:
    """A result as JSON."""
    return web.json_response(model.model_dump(mode="json", by_alias=True), status=status, headers=headers)
