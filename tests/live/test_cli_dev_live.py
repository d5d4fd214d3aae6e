from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from cli_process import CliProcess, all_gone

from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

APP = """
from voxtra import VoxtraApp

app = VoxtraApp("http://elsewhere:1", "other", "other-password", app_name="{name}")

@app.default()
async def handler(call):
    await call.answer()
    print("call for {version}")
    await call.hangup()
"""


def write(folder: Path, version: str, name: str = "support") -> None:
    new = folder / "app.new"
    new.write_text(APP.format(version=version, name=name))
    new.replace(folder / "app.py")


class Dev(CliProcess):
    """``voxtra dev app:app`` with a phone at hand."""

    async def up(self) -> None:
        where = await self.until(r"server +(\S+), port (\d+), UDP")
        user = await self.until(r"user +(\S+)")
        password = await self.until(r"password +(\S+)")
        self.phone = {"server": (where[1], int(where[2])), "user": user[1], "password": password[1]}

    async def call(self, number: str = "100") -> None:
        async with Phone(**self.phone) as phone:  # type: ignore[arg-type]
            call = await phone.dial(number)
            await call.answered(timeout=5)
            await call.ended(timeout=5)


def run_dirs(family: list[psutil.Process]) -> list[Path]:
    found = []
    for process in family:
        line = process.cmdline()
        if "-C" in line:
            found.append(Path(line[line.index("-C") + 1]).parent.parent)
    return found


async def test_a_call_a_change_a_mistake_a_mend_and_ctrl_c(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with Dev("dev", "app:app", "--sip-port", "0", folder=tmp_path) as dev:
        await dev.up()
        await dev.until("ready: dial")
        await dev.call()
        await dev.until("call for one")

        write(tmp_path, "two", name="sales")  # also another name in Stasis()
        await dev.until("app.py has changed: starting again")
        await dev.until("ready: dial")
        await dev.call()
        await dev.until("call for two")

        (tmp_path / "app.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
        await dev.until('app.py", line 2, in f')
        await dev.until("voxtra: error: app can't be imported: ZeroDivisionError")
        await dev.until("mend it: waiting for a change")

        write(tmp_path, "three")
        await dev.until("ready: dial")
        await dev.call()
        await dev.until("call for three")

        family = dev.family()
        folders = run_dirs(family)
        assert len(family) == 3, family  # the command, Asterisk and the app
        assert len(folders) == 1
        dev.signal(signal.SIGINT)
        assert await dev.ended() == 130, dev.text
        assert await all_gone(family, timeout=0) == []
        assert not folders[0].exists()
        assert "Traceback" not in dev.text.split("starting again")[-1]


async def test_ctrl_c_of_a_terminal_goes_to_the_whole_group(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with Dev("dev", "app:app", "--sip-port", "0", "--no-reload", folder=tmp_path) as dev:
        await dev.until("ready: dial")
        family = dev.family()
        os.killpg(dev.pid, signal.SIGINT)
        assert await dev.ended() == 130, dev.text
        assert await all_gone(family, timeout=0) == []
        assert "Traceback" not in dev.text


async def test_nothing_stays_when_it_is_killed_outright(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with Dev("dev", "app:app", "--sip-port", "0", folder=tmp_path) as dev:
        await dev.until("ready: dial")
        family = dev.family()
        assert len(family) == 3
        dev.signal(signal.SIGKILL)
        assert await all_gone(family) == []


async def test_without_reload_a_mistake_ends_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import nothing_of_that_name\n")
    async with Dev("dev", "app:app", "--sip-port", "0", "--no-reload", folder=tmp_path) as dev:
        await dev.until("can't be imported: ModuleNotFoundError")
        family = dev.family()
        assert await dev.ended() == 2, dev.text
        assert await all_gone(family) == []


async def test_a_change_does_not_wait_for_code_that_hangs(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import time\nprint('hanging')\ntime.sleep(600)\n")
    async with Dev("dev", "app:app", "--sip-port", "0", folder=tmp_path) as dev:
        await dev.until("hanging")
        loop = asyncio.get_running_loop()
        begin = loop.time()
        write(tmp_path, "one")
        await dev.until("ready: dial")
        assert loop.time() - begin < 10
        dev.signal(signal.SIGTERM)
        assert await dev.ended() == 0, dev.text


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    write(tmp_path, "one")
    async with Dev("dev", "app:app", "--sip-port", "0", folder=tmp_path) as first:
        await first.up()
        port = str(first.phone["server"][1])  # type: ignore[index]
        async with Dev("dev", "app:app", "--sip-port", port, folder=tmp_path) as second:
            assert await second.ended() == 2
            assert second.lines == [
                f"voxtra: error: UDP port {port} on 127.0.0.1 is in use by another program: "
                "stop that, or use --sip-port 0"
            ]
        first.signal(signal.SIGTERM)
        assert await first.ended() == 0
