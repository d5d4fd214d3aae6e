import asyncio

import pytest


@pytest.fixture(autouse=True)
async def nothing_left():
    """After each test no task remains."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
