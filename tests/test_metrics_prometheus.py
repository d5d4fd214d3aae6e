"""What Prometheus is told of calls."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import pytest
from test_metrics_call import shop

from voxtra import VoxtraApp, serving
from voxtra.ari import ConnectionState
from voxtra.errors import LLMError, MissingExtraError
from voxtra.health import METRICS_TYPE, HealthServer
from voxtra.router import Router
from voxtra.speech.base import Usage
from voxtra.testing import FakeCall, FakeOffice, ScriptedLLM, run_virtual, tool

prometheus = pytest.importorskip("prometheus_client")
from voxtra.metrics.prometheus import PrometheusMetrics  # noqa: E402


def app_of(handler: Any) -> VoxtraApp:
    router = Router()
    router.default()(handler)
    return VoxtraApp(router=router, stt="local", tts="local")


def value(metrics: PrometheusMetrics, name: str, **labels: str) -> float | None:
    found: float | None = metrics.registry.get_sample_value(name, {"app": "voxtra", **labels})
    return found


def test_a_call() -> None:
    app = app_of(shop)
    metrics = PrometheusMetrics()
    metrics.watch(app)
    seen: dict[str, float | None] = {}

    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        metrics.render()
        seen.update(active=value(metrics, "voxtra_calls_active"), ready=value(metrics, "voxtra_ready"))
        await call.says("Where is my order?")
        await call.hears("It is on")
        await call.interrupts("Well, goodbye.")
        await call.hears("sorry")
        await call.hangs_up()

    llm = ScriptedLLM(
        [
            ["One moment.", tool("look_up", number=7), Usage(100, 20)],
            ["It is on its way and will be with you on Friday at noon.", Usage(150, 10)],
            LLMError("down"),
        ]
    )

    async def main() -> None:
        async with FakeOffice(app, llm=llm, check=False) as office:
            await office.call(caller)

    run_virtual(main())
    metrics.render()

    assert seen == {"active": 1, "ready": 1}
    assert value(metrics, "voxtra_calls_active") == 0
    about = {"direction": "inbound", "outcome": "answered", "reason": "hangup"}
    assert value(metrics, "voxtra_calls_total", **about) == 1
    assert value(metrics, "voxtra_call_duration_seconds_count") == 1
    assert value(metrics, "voxtra_turns_total") == 2
    assert value(metrics, "voxtra_interruptions_total") == 1
    assert value(metrics, "voxtra_false_interruptions_total") == 0
    assert value(metrics, "voxtra_errors_total", type="LLMError") == 1
    assert value(metrics, "voxtra_tokens_total", direction="input") == 250
    assert value(metrics, "voxtra_tool_seconds_sum", tool="look_up", outcome="done") == pytest.approx(0.7)
    assert value(metrics, "voxtra_turn_wait_seconds_sum", owner="tts") == pytest.approx(0.1)
    assert (value(metrics, "voxtra_frames_total", kind="received") or 0) > 50


def test_the_text_is_what_prometheus_reads() -> None:
    metrics = PrometheusMetrics(lag_s=lambda: 0.25)
    metrics.watch(app_of(shop))
    text = metrics.render()
    parser = pytest.importorskip("prometheus_client.parser")
    names = {family.name for family in parser.text_string_to_metric_families(text)}
    assert {"voxtra_calls", "voxtra_calls_active", "voxtra_turn_wait_seconds", "voxtra_ari_state"} <= names
    assert "voxtra_event_loop_lag_seconds 0.25\n" in text
    assert not [name for name in names if name.endswith("_created")]
    assert 'voxtra_ari_reconnects_total{app="voxtra"} 0.0' in text


def test_the_connection_is_followed() -> None:
    app = app_of(shop)
    metrics = PrometheusMetrics()
    metrics.watch(app)

    def state(name: str) -> float | None:
        return value(metrics, "voxtra_ari_state", state=name)

    async def main() -> None:
        async with FakeOffice(app) as office:
            assert (state("ready"), state("lost")) == (1, 0)
            ari: Any = office.app.ari
            for each in (ConnectionState.LOST, ConnectionState.CONNECTING, ConnectionState.READY):
                ari._become(each)
            assert value(metrics, "voxtra_ari_reconnects_total") == 1
            ari._become(ConnectionState.LOST)
            assert (state("ready"), state("lost")) == (0, 1)
        assert state("closed") == 1

    run_virtual(main())


async def test_it_is_served_beside_health() -> None:
    health = HealthServer("127.0.0.1", 0, lambda: {"ready": True})
    async with health, aiohttp.ClientSession() as session:
        async with session.get(f"{health.url}/metrics") as response:
            assert response.status == 404
            assert "voxtra[metrics]" in await response.text()
        health.metrics = PrometheusMetrics(lag_s=lambda: health.pulse.lag_s).render
        async with session.get(f"{health.url}/metrics") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == METRICS_TYPE
            assert "voxtra_event_loop_lag_seconds" in await response.text()
        await asyncio.sleep(0)


async def test_apps_that_are_run_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(shop)
    server = HealthServer("127.0.0.1", 0, lambda: {"ready": True})
    render = serving._metrics([app], server)
    assert render is not None
    async with server:
        assert 'voxtra_calls_active{app="voxtra"} 0.0' in render()
        assert "voxtra_event_loop_lag_seconds" in render()
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert serving._metrics([app], server) is None


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voxtra\[metrics\]'"):
        PrometheusMetrics()
