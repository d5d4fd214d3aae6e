"""``voxtra run --workers``: calls are spread, who dies is started again, all are stopped together."""

from __future__ import annotations

import asyncio
import collections
import os
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from cli_process import CliProcess, all_gone

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

APP = """
import os
from voxtra import VoxtraApp

app = VoxtraApp()

@app.default()
async def handler(call):
    await call.answer()
    print("call", call.app_name, os.getpid(), call.called_number)
    await call.listen_dtmf(timeout=60)
    print("done", call.called_number)
"""


def env(asterisk: PrivateAsterisk) -> dict[str, str]:
    return {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
        "VOXTRA_RECONNECT_INTERVAL": "1",
    }


async def report(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def told(url: str, what: str, want: object, timeout: float = 15.0) -> dict[str, Any]:
    said: dict[str, Any] = {}
    try:
        async with asyncio.timeout(timeout):
            while said.get(what) != want:
                await asyncio.sleep(0.05)
                _, said = await report(url)
    except TimeoutError:
        raise AssertionError(f"wanted {what} {want}: {said}") from None
    return said


async def no_channels(asterisk: PrivateAsterisk) -> None:
    async with asyncio.timeout(15):
        while "0 active channels" not in await asterisk.rx("core show channels"):
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("prefix", ["", "workers-"], ids=["claim", "one after the other"])
async def test_twenty_calls_two_workers_one_of_them_killed(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path, prefix: str
) -> None:
    await asterisk.rx("dialplan set global APP voxtra")
    (tmp_path / "app.py").write_text(APP)
    arguments = ("run", "app:app", "--workers", "2", "--health", "0", "--grace", "5")
    async with (
        CliProcess(*arguments, folder=tmp_path, env=env(asterisk)) as cli,
        Phone(**phone_account) as phone,  # type: ignore[arg-type]
    ):
        url = (await cli.until(r"health: (\S+)/healthz"))[1] + "/readyz"
        await cli.until("ready: 2 workers")
        calls = []
        for number in range(200, 220):
            call = await phone.dial(f"{prefix}{number}")
            await call.answered(timeout=5)
            calls.append(call)
        said = await told(url, "calls", 20)
        spread = collections.Counter({w["worker"]: w["calls"] for w in said["workers"]})
        assert min(spread.values()) >= 3, spread
        assert set(re.findall(r"^\[(\d)\] call", cli.text, re.MULTILINE)) <= {"1", "2"}

        victim = next(w for w in said["workers"] if w["worker"] == 1)
        psutil.Process(victim["pid"]).kill()
        await cli.until(r"worker 1 has ended \(killed by SIGKILL\)")
        late = await phone.dial(f"{prefix}300")  # while one is away, the other takes it
        await late.answered(timeout=5)
        status, now = await report(url)
        assert status == 200
        assert now["ready"]

        await cli.until("worker 1 is ready")
        said = await told(url, "calls", 21)  # the calls of the dead one begin anew, none is lost
        again = next(w for w in said["workers"] if w["worker"] == 1)
        assert again["restarts"] == 1
        assert again["pid"] != victim["pid"]
        assert again["calls"] >= spread[1]

        for call in [*calls, late]:
            await call.send_dtmf("1")
        for call in [*calls, late]:
            await call.ended(timeout=10)
        await told(url, "calls", 0)
        family = cli.family()
        cli.signal(signal.SIGTERM)
        assert await cli.ended() == 0, cli.text
        assert await all_gone(family) == []
        assert "Traceback" not in cli.text
        assert cli.text.count("done ") == 21
        mine = [line for line in cli.lines if re.match(r"\[[12]\] ", line)]
        assert {line[:3] for line in mine} == {"[1]", "[2]"}
        assert asterisk.ari_password not in cli.text
    await no_channels(asterisk)


async def test_sigterm_drains_all(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path
) -> None:
    await asterisk.rx("dialplan set global APP voxtra")
    (tmp_path / "app.py").write_text(APP)
    arguments = ("run", "app:app", "--workers", "2", "--health", "0", "--grace", "4")
    async with (
        CliProcess(*arguments, folder=tmp_path, env=env(asterisk)) as cli,
        Phone(**phone_account) as phone,  # type: ignore[arg-type]
    ):
        url = (await cli.until(r"health: (\S+)/healthz"))[1] + "/readyz"
        await cli.until("ready: 2 workers")
        calls = [await phone.dial("200"), await phone.dial("201")]
        for call in calls:
            await call.answered(timeout=5)
        await cli.until("call voxtra")
        await cli.until("call voxtra")
        family = cli.family()
        cli.signal(signal.SIGTERM)
        status, said = await report(url)
        async with asyncio.timeout(5):
            while said["state"] != "draining":
                status, said = await report(url)
        assert status == 503
        await calls[0].send_dtmf("1")
        await calls[0].ended(timeout=3)
        assert await cli.ended() == 0, cli.text
        assert cli.text.count("done ") == 1
        assert cli.text.count("goes back to the dialplan") == 1
        await calls[1].ended(timeout=10)  # after the fallback's words
        assert await all_gone(family) == []
    await no_channels(asterisk)


async def test_workers_end_with_the_command(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    arguments = ("run", "app:app", "--workers", "2", "--grace", "1")
    async with CliProcess(*arguments, folder=tmp_path, env=env(asterisk)) as cli:
        await cli.until("ready: 2 workers")
        workers = cli.family()[1:]
        assert len(workers) == 2
        cli.signal(signal.SIGKILL)
        assert await all_gone(workers) == []


async def test_a_hung_worker_gets_no_calls_and_is_killed(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path
) -> None:
    await asterisk.rx("dialplan set global APP voxtra")
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "sitecustomize.py").write_text("import voxtra.cli.workers as w; w.HUNG_S = 7.0\n")
    path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    settings = env(asterisk) | {"PYTHONPATH": path}
    arguments = ("run", "app:app", "--workers", "2", "--health", "0")
    async with (
        CliProcess(*arguments, folder=tmp_path, env=settings) as cli,
        Phone(**phone_account) as phone,  # type: ignore[arg-type]
    ):
        url = (await cli.until(r"health: (\S+)/healthz"))[1] + "/readyz"
        await cli.until("ready: 2 workers")
        _, said = await report(url)
        hung = psutil.Process(said["workers"][0]["pid"])
        hung.suspend()
        for number in range(200, 206):
            call = await phone.dial(str(number))
            await call.answered(timeout=5)
            found = await cli.until(r"call (voxtra-\d)")
            assert found[1] == "voxtra-2"
        await cli.until("worker 1 has not moved")
        _, said = await report(url)
        assert (said["ready"], said["workers"][0]["alive"]) == (True, False)
        await cli.until("worker 1 has hung")
        await cli.until("worker 1 is ready")
        cli.signal(signal.SIGTERM)
        cli.signal(signal.SIGTERM)
        await cli.ended()
    await no_channels(asterisk)


async def test_what_is_wrong_with_all_ends_it(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("app = 5\n")
    async with CliProcess("run", "app:app", "--workers", "2", folder=tmp_path, env=env(asterisk)) as cli:
        assert await cli.ended() == 2, cli.text
        assert "[1] voxtra: error: app:app is of type int" in cli.text
    (tmp_path / "app.py").write_text(APP)
    wrong = env(asterisk) | {"VOXTRA_ARI_PASSWORD": "nope-nope"}
    async with CliProcess("run", "app:app", "--workers", "2", folder=tmp_path, env=wrong) as cli:
        assert await cli.ended() == 2, cli.text
        assert "nope-nope" not in cli.text
