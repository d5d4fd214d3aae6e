"""REST: the operations on trunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from aiohttp import web

from voxtra.control.gate import Denied
from voxtra.control.operations import Asked, Operation, answered
from voxtra.control.requests import checked
from voxtra.control.trunk_models import NewTrunk, TrunkBody, TrunkList, TrunkRow
from voxtra.control.trunks import Trunks
from voxtra.wire import ErrorCode

CHANGE: tuple[ErrorCode, ...] = ("UNPROCESSABLE", "SERVICE_UNAVAILABLE")
"""How changing trunks may fail."""


class TrunkRoutes:
    """The operations on trunks."""

    def __init__(self, trunks: Trunks) -> None:
        self._trunks = trunks

    def table(self) -> Sequence[Operation]:
        """All of them."""
        one = "/v1/trunks/{trunkId}"
        read, write = "voice:trunks:read", "voice:trunks:write"
        return (
            Operation("listTrunks", "GET", "/v1/trunks", "The trunks that may be used.", read, self._list,
                      tag="trunks", result=TrunkList),
            Operation("makeTrunk", "POST", "/v1/trunks", "Make a trunk.", write, self._make, tag="trunks",
                      body=NewTrunk, result=TrunkRow, status=201, fails=("CONFLICT", *CHANGE)),
            Operation("getTrunk", "GET", one, "One trunk.", read, self._get, tag="trunks", result=TrunkRow,
                      fails=("NOT_FOUND",)),
            Operation("replaceTrunk", "PUT", one, "Replace a trunk.", write, self._replace, tag="trunks",
                      body=TrunkBody, result=TrunkRow, fails=("NOT_FOUND", "CONFLICT", *CHANGE)),
            Operation("removeTrunk", "DELETE", one, "Remove a trunk; calls that go over it go on.", write,
                      self._remove, tag="trunks", status=204, fails=("NOT_FOUND", *CHANGE)),
        )  # fmt: skip

    async def _list(self, asked: Asked) -> web.Response:
        return answered(TrunkList(trunks=self._trunks.rows(asked.org)))

    async def _make(self, asked: Asked) -> web.Response:
        trunk = cast("NewTrunk", asked.body)
        row = await self._trunks.put(asked.org, trunk, new=True)
        return answered(row, 201, Location=f"/v1/trunks/{trunk.id}")

    async def _get(self, asked: Asked) -> web.Response:
        return answered(self._trunks.row(asked.org, asked.path("trunkId")))

    async def _replace(self, asked: Asked) -> web.Response:
        body = cast("TrunkBody", asked.body)
        try:
            trunk = checked(NewTrunk, {**_given(body), "id": asked.path("trunkId")})
        except Denied:
            name = asked.path("trunkId")
            raise Denied(
                f"trunkId = {name!r}: there is no such trunk", "NOT_FOUND", field="trunkId"
            ) from None
        return answered(await self._trunks.put(asked.org, trunk, new=False))

    async def _remove(self, asked: Asked) -> web.Response:
        await self._trunks.remove(asked.org, asked.path("trunkId"))
        return web.Response(status=204)


def _given(body: TrunkBody) -> dict[str, object]:
    return {name: getattr(body, name) for name in TrunkBody.model_fields}
