"""What docs/asterisk.md tells people to write is what Asterisk takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

PAGE = Path(__file__).resolve().parents[2] / "docs" / "asterisk.md"


def block(heading: str) -> str:
    found = re.search(
        rf"^## `{re.escape(heading)}`.*?```ini\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found, heading
    return found[1]


async def test_the_dialplan_of_the_page() -> None:
    dialplan = block("extensions.conf") + "\n[voxtra](+)\nexten => 700,1,Goto(from-trunk,0049301234,1)\n"
    async with PrivateAsterisk(extra={"extensions.conf": dialplan}) as asterisk:
        shown = await asterisk.rx("dialplan show 100@from-trunk")
        assert "Stasis(voxtra)" in shown
        assert "no-app" in shown
        account = asterisk.phones["phone"]
        async with Phone((asterisk.sip_host, asterisk.sip_port), user="phone", password=account) as phone:
            call = await phone.dial("700")
            await call.answered()
            await call.voice()
            await call.hangup()


async def test_the_users_and_server_of_the_page() -> None:
    extra = {
        "ari.conf": block("ari.conf").partition("[voxtra]")[2].join(["[pageuser]", ""]),
        "chan_websocket.conf": block("chan_websocket.conf").replace("[global]", "[global](+)"),
    }
    async with PrivateAsterisk(extra=extra) as asterisk:
        users = await asterisk.rx("ari show users")
        assert re.search(r"No\s+pageuser", users), users
        log = asterisk.log_path.read_text()
        assert "ERROR[" not in log, log
        assert "WARNING[" not in log, log
