"""Stopping, as whoever runs a telephone service sees it: SIGTERM to the process, health over HTTP."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest
from app_rig import running
from cli_process import CliProcess
from faults import FaultProxy

import voxtra
from voxtra import AppState, VoxtraApp
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

APP = """
from voxtra import VoxtraApp

app = VoxtraApp()

@app.default()
async def handler(call):
    await call.answer()
    print("call", call.called_number, flush=True)
    if call.called_number == "101":
        await call.listen_dtmf(timeout=20)     # ends by a key
    else:
        await call.play_file(["demo-congrats"] * 9)
    print("done", call.called_number, flush=True)

@app.on_shutdown
async def down():
    print("hook: down", flush=True)
"""


def env(asterisk: PrivateAsterisk, **more: str) -> dict[str, str]:
    return {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
        **more,
    }


async def ready(url: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def becomes(url: str, status: int, state: str, timeout: float = 15.0) -> dict[str, object]:
    said: tuple[int, dict[str, object]] = 0, {}
    try:
        async with asyncio.timeout(timeout):
            while (said[0], said[1].get("state")) != (status, state):
                await asyncio.sleep(0.05)
                said = await ready(url)
    except TimeoutError:
        raise AssertionError(f"wanted {status} {state}: {said}") from None
    return said[1]


@pytest.fixture
async def dialplan(asterisk: PrivateAsterisk) -> None:
    await asterisk.rx("dialplan set global APP voxtra")


async def gone(asterisk: PrivateAsterisk) -> None:
    async with asyncio.timeout(10):
        while "0 active channels" not in await asterisk.rx("core show channels"):
            await asyncio.sleep(0.1)


@pytest.mark.proves("failure 24", "field 11")
@pytest.mark.usefixtures("dialplan")
@pytest.mark.parametrize("leftover", ["dialplan", "hangup"])
async def test_sigterm_lets_calls_end_and_gives_the_rest_back(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path, leftover: str
) -> None:
    (tmp_path / "app.py").write_text(APP)
    arguments = ("run", "app:app", "--grace", "6", "--health", "0")
    settings = env(asterisk, VOXTRA_DRAIN_LEFTOVER=leftover)
    async with (
        CliProcess(*arguments, folder=tmp_path, env=settings) as cli,
        Phone(**phone_account) as phone,  # type: ignore[arg-type]
    ):
        url = (await cli.until(r"health: (\S+)/healthz"))[1] + "/readyz"
        await cli.until("ready: calls")
        assert (await becomes(url, 200, "ready"))["calls"] == 0
        short, long = await phone.dial("101"), await phone.dial("102")
        await short.answered(timeout=5)
        await long.answered(timeout=5)
        await cli.until("call 10")
        await cli.until("call 10")
        cli.signal(signal.SIGTERM)
        assert (await becomes(url, 503, "draining"))["calls"] == 2

        late = await phone.dial("103")  # the dialplan's fallback has it, and says sorry
        await late.answered(timeout=5)
        await late.ended(timeout=10)
        assert "call 103" not in cli.text

        await short.send_dtmf("1")
        await short.ended(timeout=5)
        await cli.until("done 101")
        if leftover == "dialplan":
            assert await cli.ended() == 0, cli.text
            assert "PJSIP" in await asterisk.rx("core show channels"), "the dialplan has it now"
            await long.ended(timeout=10)  # after the fallback's words
        else:
            await long.ended(timeout=5)
            assert await cli.ended() == 0, cli.text
        assert "hook: down" in cli.text
        assert "Traceback" not in cli.text
        assert "call 103" not in cli.text
        assert ("goes back to the dialplan" in cli.text.split("hook")[0]) is True
    await gone(asterisk)


@pytest.mark.usefixtures("dialplan")
async def test_a_second_sigterm_waits_for_no_call(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with (
        CliProcess("run", "app:app", "--grace", "60", folder=tmp_path, env=env(asterisk)) as cli,
        Phone(**phone_account) as phone,  # type: ignore[arg-type]
    ):
        await cli.until("ready: calls")
        call = await phone.dial("102")
        await call.answered(timeout=5)
        await cli.until("call 102")
        cli.signal(signal.SIGTERM)
        await cli.until("1 calls may go on")
        cli.signal(signal.SIGTERM)
        assert await cli.ended(timeout=8) == 1, cli.text
        assert "hook: down" in cli.text
        await call.ended(timeout=10)
    await gone(asterisk)


@pytest.mark.usefixtures("dialplan")
async def test_readiness_tells_that_asterisk_is_away(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with FaultProxy("127.0.0.1", asterisk.http_port) as proxy:
        proxy.refuse = True
        settings = env(asterisk, VOXTRA_RECONNECT_INTERVAL="0.5") | {"VOXTRA_ARI_URL": proxy.url}
        async with CliProcess("run", "app:app", "--health", "0", folder=tmp_path, env=settings) as cli:
            base = (await cli.until(r"health: (\S+)/healthz"))[1]
            url = f"{base}/readyz"
            said = await becomes(url, 503, "starting")
            async with asyncio.timeout(5):
                while not said["error"]:
                    _, said = await ready(url)
            proxy.refuse = False
            await becomes(url, 200, "ready")
            proxy.refuse = True
            proxy.reset()
            lost = await becomes(url, 503, "lost")
            assert lost["error"]
            assert (await ready(f"{base}/healthz"))[0] == 200
            proxy.refuse = False
            back = await becomes(url, 200, "ready")
            assert back["error"] == ""
            assert str(back["since"]) > str(lost["since"])
            proxy.stall()  # half-open: nothing comes any more, and nothing is closed
            await becomes(url, 503, "lost")
            proxy.resume()
            await becomes(url, 200, "ready")
            cli.signal(signal.SIGTERM)
            assert await cli.ended() == 0, cli.text


async def test_two_apps_in_one_process(asterisk: PrivateAsterisk) -> None:
    heard: list[str] = []

    async with running(asterisk) as rig:  # whose name the dialplan has
        login = (asterisk.ari_url, asterisk.ari_user, asterisk.ari_password)
        one, two = (VoxtraApp(*login, app_name=f"{rig.app.app_name}-{n}") for n in (1, 2))
        for app in (one, two):

            @app.default()
            async def handler(call: voxtra.CallSession) -> None:
                heard.append(call.app_name)
                await call.answer()

        serving = asyncio.ensure_future(voxtra.serve(one, two))
        async with asyncio.timeout(10):
            while not (one.is_ready and two.is_ready):
                await asyncio.sleep(0.02)
        for app in (two, one):
            await asterisk.rx(f"dialplan set global APP {app.app_name}")
            async with rig.dialled() as call:
                await call.ended(timeout=5)
        assert heard == [two.app_name, one.app_name]
        await one.stop()
        assert two.is_ready
        other = VoxtraApp(*login, app_name=two.app_name)
        await other.start()  # takes the name
        with pytest.raises(voxtra.VoxtraError, match="another client"):
            await asyncio.wait_for(serving, 10)
        await other.stop()
        assert (one.state, two.state) == (AppState.STOPPED, AppState.STOPPED)
