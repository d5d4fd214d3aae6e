from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from voxtra.cli.serve import StopRequest
from voxtra.cli.worker import share
from voxtra.cli.workers import Order, Worker, _copy, _words, report_of
from voxtra.config import VoxtraConfig


def settings(**media: Any) -> VoxtraConfig:
    return VoxtraConfig.load(env={}, keywords={"media": media} if media else {})


def test_what_is_a_workers_own() -> None:
    assert share(settings(), 2, 4) == {"asterisk.app_name": "voxtra-2"}
    own = share(settings(transport="rtp", rtp_ports="20000-20999", bind_port=0), 3, 4)
    assert own["media.rtp_ports"] == (20500, 20749)
    ports = [
        share(settings(transport="rtp", rtp_ports="20000-20999"), n, 4)["media.rtp_ports"] for n in (1, 4)
    ]
    assert ports == [(20000, 20249), (20750, 20999)]
    assert share(settings(transport="audiosocket", bind_port=9092), 3, 4)["media.bind_port"] == 9094
    own = share(settings(connection="client", bind_port=8787), 2, 2)
    assert (own["media.client_id"], own["media.bind_port"]) == ("voxtra-media-2", 8788)
    settings(transport="rtp", rtp_ports="20000-20999").layered(
        forced=own | {"media.rtp_ports": (20000, 20249)}
    )


async def test_workers_together_are_ready_when_one_is() -> None:
    order = Order("app:app", "", {}, None, "info", False, 2)
    one, two = Worker(order, 1), Worker(order, 2)
    with StopRequest() as stop:
        report = report_of([one, two], stop)
        assert (report["ready"], report["calls"]) == (False, 0)
        assert [each["worker"] for each in report["workers"]] == [1, 2]
        one._process = object.__new__(asyncio.subprocess.Process)
        one._process.pid = 4711  # type: ignore[misc]
        one._ready_since = one._heard = asyncio.get_running_loop().time()
        one._health = {"state": "ready", "ready": True, "calls": 3, "error": ""}
        report = report_of([one, two], stop)
        assert (report["state"], report["ready"], report["alive"], report["calls"]) == (
            "ready",
            True,
            True,
            3,
        )
        one._heard -= 60  # hangs
        report = report_of([one, two], stop)
        assert (report["ready"], report["workers"][0]["alive"]) == (False, False)
        one._heard += 60
        stop.ask()
        report = report_of([one, two], stop)
        assert (report["state"], report["ready"]) == ("draining", False)


async def test_every_line_has_its_number() -> None:
    reader = asyncio.StreamReader()
    out = io.BytesIO()
    copying = asyncio.ensure_future(_copy(reader, out, 7))
    for chunk in (b"one\ntw", b"o\n\nthr", b"ee"):
        reader.feed_data(chunk)
        await asyncio.sleep(0)
    reader.feed_eof()
    await copying
    assert out.getvalue() == b"[7] one\n[7] two\n[7] \n[7] three\n"


@pytest.mark.parametrize(
    ("code", "said"), [(1, "exit code 1"), (-9, "killed by SIGKILL"), (-200, "signal 200")]
)
def test_how_a_worker_ended(code: int, said: str) -> None:
    assert _words(code) == said
