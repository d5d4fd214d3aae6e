from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from voxtra.cli.serve import StopRequest, host_and_port, serve, serving_options
from voxtra.config import VoxtraConfig
from voxtra.errors import (
    AuthenticationError,
    ConfigurationError,
    NotConnectedError,
    TelephonyConnectionError,
    TelephonyError,
)


class App:
    """What serve() asks of an app."""

    def __init__(self, *, starts: bool = True, stop_s: float = 0.0, error: Exception | None = None) -> None:
        self.starts, self.stop_s, self.error = starts, stop_s, error
        self.log: list[str] = []
        self.is_running = False
        self.settings = VoxtraConfig()
        self.patience: list[float | None] = []
        self.broken: asyncio.Future[TelephonyError] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        self.log.append("start")
        if self.error:
            raise self.error
        if not self.starts:
            await asyncio.Event().wait()
        self.is_running = True

    async def wait_broken(self) -> TelephonyError:
        return await asyncio.shield(self.broken)

    async def stop(self, drain_s: float | None = None) -> None:
        self.patience.append(drain_s)
        if drain_s != 0:
            self.log.append("stop")
            await asyncio.sleep(self.stop_s)
            self.log.append("stopped")


async def served(app: Any, *signals: signal.Signals, grace_s: float = 2.0) -> int:
    with StopRequest() as stop:
        for i, number in enumerate(signals):
            asyncio.get_running_loop().call_later(0.05 * (i + 1), os.kill, os.getpid(), number)
        async with asyncio.timeout(10):
            return await serve(app, stop, grace_s=grace_s, on_ready=lambda: app.log.append("ready"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_signal_ends_it_in_good_order(number: signal.Signals, code: int) -> None:
    app = App()
    assert await served(app, number) == code
    assert app.log == ["start", "ready", "stop", "stopped"]


async def test_a_signal_while_asterisk_is_waited_for() -> None:
    app = App(starts=False)
    assert await served(app, signal.SIGTERM) == 0
    assert app.log == ["start", "stop", "stopped"]


async def test_what_start_raises_comes_out_after_stop() -> None:
    app = App(error=AuthenticationError("no"))
    with pytest.raises(AuthenticationError):
        await served(app)
    assert app.log == ["start", "stop", "stopped"]


async def test_a_connection_that_failed_for_good_ends_it() -> None:
    app = App()
    asyncio.get_running_loop().call_later(0.05, app.broken.set_result, TelephonyConnectionError("replaced"))
    with pytest.raises(TelephonyConnectionError, match="replaced"):
        await served(app)
    assert app.log == ["start", "ready", "stop", "stopped"]


async def test_an_app_that_stops_itself_is_no_failure() -> None:
    app = App()

    def stops() -> None:
        app.is_running = False
        app.broken.set_result(NotConnectedError("the app was stopped"))

    asyncio.get_running_loop().call_later(0.05, stops)
    assert await served(app) == 0


async def test_stopping_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.serving.END_S", 0.1)
    monkeypatch.setattr("voxtra.serving.FORCE_S", 0.1)
    app = App(stop_s=60)
    assert await served(app, signal.SIGTERM, grace_s=0.1) == 1
    assert app.log == ["start", "ready", "stop"]
    assert app.patience == [0.1, 0]


async def test_a_second_signal_forces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.serving.FORCE_S", 0.1)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    app = App(stop_s=60)
    assert await served(app, signal.SIGINT, signal.SIGINT, grace_s=30) == 1
    assert app.log == ["start", "ready", "stop"]
    assert app.patience == [30, 0]
    await asyncio.sleep(0.25)  # the last resort has run out


def test_options_as_settings() -> None:
    assert serving_options(None, None) == {}
    assert serving_options(3, "8081") == {"drain.grace": 3, "server.port": 8081}
    assert serving_options(None, "0.0.0.0:0") == {"server.port": 0, "server.host": "0.0.0.0"}
    assert host_and_port("--health", "[::1]:80") == ("::1", 80)
    for wrong in ("", "x", "1.2.3.4:", "70000", "a b:80", "::1:80"):
        with pytest.raises(ConfigurationError, match="--health"):
            host_and_port("--health", wrong)


async def test_the_handlers_are_taken_off_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert await served(App(), signal.SIGTERM) == 0
    assert signal.getsignal(signal.SIGTERM) == before
