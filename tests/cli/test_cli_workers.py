from __future__ import annotations

import asyncio
import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from voxtra.cli.serve import StopRequest
from voxtra.cli.worker import EXIT_TERMINATED, share
from voxtra.cli.workers import Order, Worker, _copy, _words, report_of, run_workers
from voxtra.config import ServerConfig, VoxtraConfig
from voxtra.errors import ConfigurationError


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


async def test_a_worker_that_hangs_does_not_outlive_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("voxtra.serving.FORCE_S", 0.1)  # the hard end comes first
    monkeypatch.setattr("voxtra.cli.workers.FORCE_S", 60)
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    pid_file = tmp_path / "pid"
    (tmp_path / "vx_hangs.py").write_text(
        "import os, time\n"
        f"open({str(tmp_path / 'new')!r}, 'w').write(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'new')!r}, {str(pid_file)!r})\n"
        "time.sleep(300)\n"
    )
    running = asyncio.ensure_future(
        run_workers(Order("vx_hangs:app", "", {}, None, "info", False, 1), ServerConfig())
    )
    async with asyncio.timeout(50):
        while not pid_file.exists():
            await asyncio.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
        assert await running == 1
    assert left == [128 + signal.SIGTERM]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_a_worker_that_was_told_to_end_by_somebody_else_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voxtra.cli.workers.RESTART_S", (0.01, 0.01))
    worker = Worker(Order("app:app", "", {}, None, "info", False, 2), 1)
    worker.was_ready.set()
    codes = [EXIT_TERMINATED, -9, EXIT_TERMINATED]

    async def once() -> int:
        if len(codes) == 1:
            worker.stop("drain")  # the signal was for all
        return codes.pop(0)

    monkeypatch.setattr(worker, "_once", once)
    assert await worker.run() == 0
    assert codes == []


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            {"media.transport": "rtp", "media.rtp_ports": "20000-20005"},
            "media.rtp_ports 20000-20005 has not two ports",
        ),
        ({"asterisk.listen": "65535"}, "asterisk.listen 65535 is too high"),
        ({"media.bind_port": 65533}, "media.bind_port 65533 is too high"),
        ({"asterisk.app_name": "x" * 63}, "the app's name is too long"),
    ],
)
def test_too_few_for_so_many_workers(own: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--workers 4: {says}"):
        share(VoxtraConfig.load(env={}, keywords=own), 1, 4)
