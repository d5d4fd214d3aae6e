from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from voxtra.errors import ConfigurationError
from voxtra.health import HealthServer, report_of


async def get(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def test_ready_and_not() -> None:
    report = {"ready": True, "state": "ready", "calls": 2}
    async with HealthServer("127.0.0.1", 0, lambda: report) as health:
        assert await get(f"{health.url}/readyz") == (200, report)
        report.update(ready=False, state="draining")
        assert await get(f"{health.url}/readyz") == (503, report)
        status, body = await get(f"{health.url}/healthz")  # not ready is no reason to be killed
        assert (status, body["alive"]) == (200, True)
        report["alive"] = False
        assert (await get(f"{health.url}/healthz"))[0] == 503


async def test_a_loop_that_was_held_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.health.MAX_LAG_S", 0.3)
    async with HealthServer("127.0.0.1", 0, lambda: {"ready": True}) as health:
        asked = asyncio.ensure_future(get(f"{health.url}/healthz"))
        await asyncio.sleep(0.01)
        time.sleep(1.0)  # noqa: ASYNC251
        await asked
        status, body = await get(f"{health.url}/healthz")
        assert (status, body["alive"]) == (503, False)
        assert body["loop_lag_s"] > 0.3
        await asyncio.sleep(0.8)
        assert (await get(f"{health.url}/healthz"))[0] == 200


async def test_a_port_that_is_taken() -> None:
    async with HealthServer("127.0.0.1", 0, dict) as health:
        port = int(health.url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=f"server.port: can't listen on 127.0.0.1:{port}"):
            async with HealthServer("127.0.0.1", port, dict):
                pass


def test_several_apps_are_ready_together() -> None:
    one = {"state": "ready", "ready": True, "calls": 1, "error": ""}
    two = {"state": "lost", "ready": False, "calls": 2, "error": "no answer"}
    assert report_of([one]) == one
    both = report_of([one, two])
    assert (both["ready"], both["state"], both["calls"], both["error"]) == (False, "lost", 3, "no answer")
    assert both["apps"] == [one, two]
    assert report_of([one, one])["ready"] is True
