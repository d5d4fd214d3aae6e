from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_calls import FakeAri, FakeTransport, breathe

from voxtra.calls.seat import Seat
from voxtra.calls.switchboard import Switchboard
from voxtra.errors import ARIConnectionLostError, ARIServerError, NotConnectedError


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def left() -> list[Seat]:
    return []


@pytest.fixture
def opening(ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, left: list[Seat]) -> Any:
    return lambda: Seat.open(ari, switchboard, transport, left.append)  # type: ignore[arg-type]


async def test_a_seat_is_silent_until_it_sits_and_leaves_nothing(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any, left: list[Seat]
) -> None:
    before = {*switchboard._mailboxes}
    seat = await opening()
    assert seat.id.startswith("vx-seat-")
    assert seat.line.paused
    await asyncio.gather(seat.move("one"), seat.move("one"))
    assert not seat.line.paused
    await seat.move("two")
    assert [asked["bridge_id"] for asked in ari.asked_for("bridges.add_channel")] == ["one", "two"]
    await seat.close()
    await seat.close()
    assert left[0] is seat
    assert seat.line.closed.done()
    assert seat.id not in ari.channels_there
    assert {*switchboard._mailboxes} == before
    await seat.move("three")
    assert len(ari.asked_for("bridges.add_channel")) == 2


@pytest.mark.parametrize(
    "error",
    [
        ARIServerError("POST", "/x", 500),
        ARIConnectionLostError("POST", "/x"),
        NotConnectedError("down"),
    ],
)
async def test_a_move_that_fails_may_be_tried_again(ari: FakeAri, opening: Any, error: Exception) -> None:
    seat = await opening()
    ari.answers["bridges.add_channel"] = error
    with pytest.raises(type(error)):
        await seat.move("one")
    await seat.try_move("one")
    assert seat.line.paused
    del ari.answers["bridges.add_channel"]
    await seat.try_move("one")
    assert not seat.line.paused
    await seat.close()


async def test_a_seat_that_does_not_come_about_leaves_nothing(
    ari: FakeAri, switchboard: Switchboard, transport: FakeTransport, opening: Any
) -> None:
    before = {*switchboard._mailboxes}
    there = {*ari.channels_there}
    ari.answers["channels.external_media"] = ARIServerError("POST", "/x", 500)
    with pytest.raises(ARIServerError):
        await opening()
    del ari.answers["channels.external_media"]
    ari.gates["channels.external_media"] = asyncio.Event()
    task = asyncio.ensure_future(opening())
    await breathe()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ari.gates["channels.external_media"].set()
    await breathe()
    assert {*switchboard._mailboxes} == before
    assert {*ari.channels_there} == there
    assert all(line.closed.done() for line in transport.lines)
