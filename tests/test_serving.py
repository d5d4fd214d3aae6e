from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time

import aiohttp
import pytest
from fake_calls import FakeAri, FakeTransport, breathe

import voxtra
from voxtra import AppState, RecordingMetadata, RecordingSink, VoxtraApp
from voxtra.ari.state import ConnectionState
from voxtra.errors import AuthenticationError, ConfigurationError, TelephonyConnectionError
from voxtra.serving import StopRequest, _distinct, tend

Patch = pytest.MonkeyPatch


@pytest.fixture
def aris(monkeypatch: Patch) -> dict[str, FakeAri]:
    made: dict[str, FakeAri] = {}

    def make(*args: str, app: str, **settings: object) -> FakeAri:
        return made.setdefault(app, FakeAri(app))

    monkeypatch.setattr("voxtra.app.ARIClient", make)
    monkeypatch.setattr("voxtra.app.open_transport", lambda settings: FakeTransport())
    for name in list(os.environ):
        if name.startswith("VOXTRA_"):
            monkeypatch.delenv(name)
    return made


async def until_ready(*apps: VoxtraApp) -> None:
    async with asyncio.timeout(3):
        while not all(app.is_ready for app in apps):
            await asyncio.sleep(0.005)


async def test_one_signal_stops_all(aris: dict[str, FakeAri]) -> None:
    before = asyncio.all_tasks()
    apps = [VoxtraApp(app_name="one"), VoxtraApp(app_name="two")]
    serving = asyncio.ensure_future(voxtra.serve(*apps))
    await until_ready(*apps)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 3)
    assert [app.state for app in apps] == [AppState.STOPPED] * 2
    await breathe()
    assert asyncio.all_tasks() == before


async def test_what_is_there_at_the_start_is_spared_the_collector(aris: dict[str, FakeAri]) -> None:
    app = VoxtraApp(app_name="one")
    serving = asyncio.ensure_future(voxtra.serve(app))
    await until_ready(app)
    await breathe()
    assert gc.get_freeze_count() > 10_000
    await app.stop()
    await asyncio.wait_for(serving, 3)
    assert gc.get_freeze_count() == 0


async def test_the_failure_of_one_stops_all_with_its_error(aris: dict[str, FakeAri]) -> None:
    apps = [VoxtraApp(app_name="one"), VoxtraApp(app_name="two")]
    serving = asyncio.ensure_future(voxtra.serve(*apps))
    await until_ready(*apps)
    aris["two"].last_error = TelephonyConnectionError("another client has the name")
    for callback in aris["two"]._listeners["state"]:
        callback(ConnectionState.REPLACED)
    with pytest.raises(TelephonyConnectionError, match="another client has the name"):
        await asyncio.wait_for(serving, 3)
    assert [app.state for app in apps] == [AppState.STOPPED] * 2


async def test_one_that_cannot_start_stops_all(aris: dict[str, FakeAri]) -> None:
    apps = [VoxtraApp(app_name="one"), VoxtraApp(app_name="two")]
    aris["two"] = FakeAri("two")
    aris["two"].answers["connect"] = AuthenticationError("no")
    with pytest.raises(AuthenticationError):
        await asyncio.wait_for(voxtra.serve(*apps), 3)
    assert apps[0].state is AppState.STOPPED
    assert not apps[1].is_running


async def test_one_that_stops_itself_leaves_the_others(aris: dict[str, FakeAri]) -> None:
    one, two = VoxtraApp(app_name="one"), VoxtraApp(app_name="two")
    serving = asyncio.ensure_future(voxtra.serve(one, two))
    await until_ready(one, two)
    await one.stop()
    await breathe()
    assert two.is_ready
    assert not serving.done()
    await two.stop()
    await asyncio.wait_for(serving, 3)


async def test_a_second_signal_waits_for_no_call(aris: dict[str, FakeAri]) -> None:
    app = VoxtraApp(app_name="one", drain_s=60)

    @app.default()
    async def stays(call: voxtra.CallSession) -> None:
        await call.answer()
        await asyncio.sleep(60)

    serving = asyncio.ensure_future(voxtra.serve(app))
    await until_ready(app)
    aris["one"].arrive("caller")
    await breathe()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.1)
    assert app.state is AppState.DRAINING
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(serving, 5)
    assert aris["one"].asked_for("channels.continue_in_dialplan") == [{"channel_id": "caller"}]


def test_a_second_signal_ends_a_process_whose_loop_is_blocked() -> None:
    program = """
import asyncio, os, time
from voxtra import serving
serving.FORCE_S = 0.2

async def main():
    with serving.StopRequest(hard=True):
        print("ready", flush=True)
        time.sleep(60)

serving.run_loop(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(2):
                process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()


async def test_names_must_differ(aris: dict[str, FakeAri]) -> None:
    with pytest.raises(ConfigurationError, match="two apps are named 'same'"):
        await voxtra.serve(VoxtraApp(app_name="same"), VoxtraApp(app_name="same"))
    with pytest.raises(ConfigurationError, match="'same' \\(listening on 8090\\)"):
        await voxtra.serve(
            VoxtraApp(app_name="same", listen="8090"), VoxtraApp(app_name="same", listen="8090")
        )
    with pytest.raises(ConfigurationError, match="no app to run"):
        await voxtra.serve()


async def test_one_name_on_several_asterisks(aris: dict[str, FakeAri]) -> None:
    telephony = [FakeAri("same"), FakeAri("same")]
    for number, each in enumerate(telephony):
        each.url = f"http://pbx-{number}:8088/ari"
    apps = [VoxtraApp(app_name="same", telephony=each) for each in telephony]  # type: ignore[arg-type]
    serving = asyncio.ensure_future(voxtra.serve(*apps))
    await until_ready(*apps)
    await asyncio.gather(*(app.stop() for app in apps))
    await asyncio.wait_for(serving, 3)
    apps = [VoxtraApp(app_name="same", listen=port) for port in ("8090", "8091")]
    _distinct(apps)


async def test_a_sink_of_two_apps_is_closed_with_the_last_one(aris: dict[str, FakeAri]) -> None:
    done: list[str] = []

    class Sink(RecordingSink):
        async def start(self) -> None:
            await asyncio.sleep(0.01)
            done.append("start")

        async def close(self) -> None:
            done.append("close")

        async def on_recording_complete(self, metadata: RecordingMetadata) -> None: ...

    sink = Sink()
    apps = [VoxtraApp(app_name=name, recording_sink=sink) for name in ("one", "two")]
    serving = asyncio.ensure_future(voxtra.serve(*apps))
    await until_ready(*apps)
    assert done == ["start"]
    await apps[0].stop()
    assert done == ["start"]
    await apps[1].stop()
    await asyncio.wait_for(serving, 3)
    assert done == ["start", "close"]


async def test_a_client_of_another_app_is_refused(aris: dict[str, FakeAri]) -> None:
    app = VoxtraApp(app_name="one", telephony=FakeAri("two"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the client is of app 'two', the app is 'one'"):
        await app.start()


async def test_health_is_answered_from_before_the_start_to_the_end(
    aris: dict[str, FakeAri], monkeypatch: Patch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("VOXTRA_SERVER_PORT", str(unused_tcp_port))
    app = VoxtraApp(app_name="one")
    ari = aris["one"] = FakeAri("one")
    gate = ari.gates["connect"] = asyncio.Event()
    url = f"http://127.0.0.1:{unused_tcp_port}/readyz"
    seen = []
    with StopRequest() as stop:
        tending = asyncio.ensure_future(tend([app], stop, on_ready=lambda: seen.append("told")))
        async with aiohttp.ClientSession() as session:

            async def ask() -> None:
                async with session.get(url) as response:
                    seen.append(f"{response.status} {(await response.json())['state']}")

            await asyncio.sleep(0.1)
            await ask()
            gate.set()
            await until_ready(app)
            await ask()
            hold = ari.gates["close"] = asyncio.Event()
            stop.ask()
            await asyncio.sleep(0.05)
            await ask()
            hold.set()
        assert await asyncio.wait_for(tending, 3)
    assert seen == ["503 starting", "told", "200 ready", "503 draining"]


def test_run_makes_a_loop_of_its_own(aris: dict[str, FakeAri]) -> None:
    app = VoxtraApp(app_name="one")

    @app.on_startup
    def soon() -> None:
        asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)

    for _ in range(2):  # a loop each time
        voxtra.run(app)
        assert app.state is AppState.STOPPED
