"""The HTTP API: requests a second and how late answers are with live calls, and how fast a call goes out."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

from benchmarks.process import Child
from benchmarks.report import Figure, median, percentile, progress
from benchmarks.rig import rig, until_active
from benchmarks.sipp import callers
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

TITLE = "the HTTP API: requests a second and their p99 with live calls, and how fast a call goes out"
RATE = 15.0
"""Calls placed a second, to get so many."""
AT_ONCE = 16
"""Requests under way at once, each on a connection of its own."""
ORDER = {"orgId": "bench", "to": "+12125551234", "from": "+15558675309", "trunkId": "trunk", "agent": None}


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """With 100 live calls: questions as fast as they are answered; then calls placed one after another."""
    calls, window, placed = (10, 2.0, 5) if quick else (100, 8.0, 40)
    async with rig(module="benchmarks.control_worker") as (asterisk, worker):
        where = await worker.ask("where")
        headers = {"Authorization": f"Bearer {where['key']}"}
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        async with aiohttp.ClientSession(where["url"], headers=headers, connector=connector) as http:
            figures = await _asked(http, worker, 0, window)
            hold = calls / RATE + 2 * window + 14
            async with callers(asterisk, "hold", calls=calls, at_once=calls, rate=RATE, hold_s=hold):
                live = await until_active(worker, calls, calls / RATE + 10)
                figures += await _asked(http, worker, live, window)
                figures += await _placed(http, asterisk, placed, live)
        await until_active(worker, 0, 30)
    return figures


async def _asked(http: aiohttp.ClientSession, worker: Child, calls: int, window: float) -> list[Figure]:
    """``voice.calls.get`` of all calls in turn, for ``window`` s."""
    progress(f"control: questions for {window:g} s, {calls} live calls")
    async with http.get("/v1/calls", params={"limit": 100}) as answer:
        sids = [call["sid"] for call in (await answer.json())["calls"]] or ["call_00000000"]
    waits: list[float] = []
    until = time.monotonic() + window

    async def one(number: int) -> None:
        while (began := time.monotonic()) < until:
            asked = json.dumps({"orgId": "bench", "sid": sids[number % len(sids)]})
            async with http.get("/api/trpc/voice.calls.get", params={"input": asked}) as answer:
                await answer.read()
            waits.append((time.monotonic() - began) * 1000)
            number += AT_ONCE

    before = await worker.ask("usage")
    await asyncio.gather(*(one(number) for number in range(AT_ONCE)))
    after = await worker.ask("usage")
    busy = (after["cpu"] - before["cpu"]) / (after["at"] - before["at"])
    beside = f"{AT_ONCE} at once; {busy * 100:.0f} % of a core"
    name = f"{calls} live calls" if calls else "no call"
    return [
        Figure(f"requests a second, {name}", len(waits) / window, "/s", digits=0, note=beside),
        Figure(f"request p50, {name}", median(waits), "ms", digits=2),
        Figure(f"request p99, {name}", percentile(waits, 0.99), "ms", digits=2),
    ]


async def _placed(
    http: aiohttp.ClientSession, asterisk: PrivateAsterisk, count: int, calls: int
) -> list[Figure]:
    """Calls to a phone of ours: when the request is answered, when the INVITE comes."""
    progress(f"control: {count} calls placed, beside {calls}")
    answered: list[float] = []
    rings: list[float] = []
    server = (asterisk.sip_host, asterisk.sip_port)
    async with Phone(server, user="phone2", password=asterisk.phones["phone2"], register=True) as phone:
        for _ in range(count):
            began = time.monotonic()
            came = asyncio.ensure_future(phone.incoming())
            async with http.post("/api/trpc/voice.calls.originate", json=ORDER) as answer:
                await answer.read()
                answered.append((time.monotonic() - began) * 1000)
            call = await came
            rings.append((time.monotonic() - began) * 1000)
            call.reject(486)
            await asyncio.sleep(0.05)
    beside = f"{calls} live calls"
    return [
        Figure("originate answered (dialing) p50", median(answered), "ms", digits=1, note=beside),
        Figure("originate answered (dialing) p99", percentile(answered, 0.99), "ms", digits=1),
        Figure("originate to INVITE at the phone p50", median(rings), "ms", digits=1, note=beside),
        Figure("originate to INVITE at the phone p99", percentile(rings, 0.99), "ms", digits=1),
    ]
