"""The private Asterisk itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from voxtra.errors import ConfigurationError
from voxtra.testing.asterisk import AsteriskError, PrivateAsterisk

pytestmark = pytest.mark.live


async def test_boots_without_a_warning() -> None:
    async with PrivateAsterisk() as asterisk:
        assert "Asterisk" in await asterisk.rx("core show version")
        log = asterisk.log_path.read_text().splitlines()
        assert [line for line in log if "ERROR[" in line or "WARNING[" in line] == []
        assert "websocket" in (await asterisk.rx("core show channeltypes")).lower()


async def test_stops_and_leaves_nothing() -> None:
    async with PrivateAsterisk(app="brief") as asterisk:
        pid, run_dir = asterisk.pid, asterisk.run_dir
        os.kill(pid, 0)
        assert oct((run_dir / "etc" / "ari.conf").stat().st_mode)[-3:] == "600"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not run_dir.exists()
    with pytest.raises(AsteriskError, match="not running"):
        await asterisk.rx("core show version")


async def test_names_the_port_that_is_taken() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        taken = holder.getsockname()[1]
        with pytest.raises(AsteriskError, match=f"UDP port {taken}"):
            await PrivateAsterisk(sip_port=taken, http_port=0).start()


async def test_bad_configuration_shows_the_log() -> None:
    asterisk = PrivateAsterisk(extra={"modules.conf": "require = no_such_module.so"})
    with pytest.raises(AsteriskError, match="no_such_module"):
        await asterisk.start(deadline_s=5)


def test_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, time\n"
        "from voxtra.testing.asterisk import PrivateAsterisk\n"
        "a = PrivateAsterisk(run_dir=sys.argv[1])\n"
        "asyncio.run(a.start())\n"
        "print(a.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_absent_asterisk_says_what_to_do(tmp_path: object) -> None:
    with pytest.raises(ConfigurationError, match="home="):
        await PrivateAsterisk(home=str(tmp_path)).start()
