"""News of calls from several processes with one spool: each arrives, once, also when a process is killed."""

from __future__ import annotations

import asyncio
import collections
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import psutil
import pytest
from aiohttp import web
from cli_process import CliProcess, all_gone

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

APP = """
from voxtra import VoxtraApp

app = VoxtraApp()

@app.default()
async def handler(call):
    await call.answer()
    await call.listen_dtmf(timeout=60)
"""
EVENTS = ["call.started", "call.answered", "call.ended"]


class Backend:
    """Takes news while it is ``up``, else answers 503."""

    def __init__(self) -> None:
        self.up = True
        self.refused = 0
        self.taken: list[dict[str, Any]] = []
        app = web.Application()
        app.router.add_post("/news", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/news"

    async def _take(self, request: web.Request) -> web.Response:
        if not self.up:
            self.refused += 1
            return web.Response(status=503)
        self.taken.append(await request.json())
        return web.Response(status=204)

    async def has(self, calls: int, timeout: float = 40.0) -> None:
        """Wait for all events of so many calls, and a little for those that come twice; each came once, in order."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.taken) < calls * len(EVENTS):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{len(self.taken)} of {calls * len(EVENTS)}") from None
        await asyncio.sleep(1.0)
        assert len(self.taken) == calls * len(EVENTS)
        assert len({event["id"] for event in self.taken}) == len(self.taken)
        told: dict[str, list[str]] = collections.defaultdict(list)
        for event in self.taken:
            told[event["session_id"]].append(event["type"])
            assert event["sequence"] == len(told[event["session_id"]])
        assert set(map(tuple, told.values())) == {tuple(EVENTS)}


async def health(url: str) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        found: dict[str, Any] = await response.json()
        return found


async def phone_in(phone: Phone, url: str, calls: int) -> collections.Counter[int]:
    """So many calls, all there at the same time, to their end. Returns how many each worker had."""
    there = []
    for number in range(200, 200 + calls):
        there.append(await phone.dial(str(number)))
        await there[-1].answered(timeout=10)
    async with asyncio.timeout(15):
        while (said := await health(url))["calls"] < calls:
            await asyncio.sleep(0.1)
    spread = collections.Counter({each["worker"]: each["calls"] for each in said["workers"]})
    for call in there:
        await call.hangup()
    async with asyncio.timeout(15):
        while (await health(url))["calls"]:
            await asyncio.sleep(0.1)
    return spread


@pytest.mark.proves("BackendConfig", "ServerConfig")
async def test_two_workers_one_spool_and_one_of_them_is_killed(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path
) -> None:
    await asterisk.rx("dialplan set global APP voxtra")
    (tmp_path / "app.py").write_text(APP)
    async with Backend() as backend, Phone(**phone_account) as phone:  # type: ignore[arg-type]
        (tmp_path / "voxtra.yaml").write_text(
            f"""
asterisk: {{url: '{asterisk.ari_url}', user: {asterisk.ari_user}, password: '{asterisk.ari_password}'}}
server: {{host: 127.0.0.1, port: 0}}
backend:
  url: {backend.url}
  private_urls: true
  events: [{", ".join(EVENTS)}]
  backoff: 0.2
  spool: spool
"""
        )
        async with CliProcess("run", "app:app", "--workers", "2", "--grace", "2", folder=tmp_path) as cli:
            url = (await cli.until(r"health: (\S+)/healthz"))[1] + "/readyz"
            await cli.until("ready: 2 workers")
            spread = await phone_in(phone, url, 12)
            assert min(spread[1], spread[2]) >= 1, spread
            await backend.has(12)
            assert (tmp_path / "spool" / "spool.db").exists()
            assert (tmp_path / "spool" / "process-2" / "spool.db").exists()

            backend.up = False
            spread = await phone_in(phone, url, 8)
            assert min(spread[1], spread[2]) >= 1, spread
            async with asyncio.timeout(10):
                while not backend.refused:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            said = await health(url)
            for each in said["workers"]:  # one with news in its spool, then the other
                psutil.Process(each["pid"]).kill()
                await cli.until(rf"worker {each['worker']} has ended \(killed by SIGKILL\)")
                await cli.until(rf"worker {each['worker']} is ready")
            backend.up = True
            await backend.has(20)

            family = cli.family()
            cli.signal(signal.SIGTERM)
            assert await cli.ended() == 0, cli.text
            assert await all_gone(family) == []
            assert "Traceback" not in cli.text
        assert len(backend.taken) == 20 * len(EVENTS)
