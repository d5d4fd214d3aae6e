import asyncio

import pytest
from fake_calls import FakeAri

from voxtra.calls.leg import Leg
from voxtra.calls.switchboard import Switchboard


@pytest.fixture(autouse=True)
async def nothing_left():
    """After each test no task remains."""
    before = asyncio.all_tasks()
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()


@pytest.fixture
async def ari():
    return FakeAri()


@pytest.fixture
async def arrivals():
    return []


@pytest.fixture(autouse=True)
def no_latecomers(monkeypatch):
    monkeypatch.setattr("voxtra.calls.switchboard.LATE_S", (0.0,))


@pytest.fixture
async def switchboard(ari, arrivals):
    board = Switchboard(ari, arrivals.append)
    yield board
    await board.close()


@pytest.fixture
async def leg(ari, switchboard):
    """A caller's channel, ringing."""
    leg = Leg(ari, switchboard, "caller")
    ari.arrive("caller")
    yield leg
    leg.close()
