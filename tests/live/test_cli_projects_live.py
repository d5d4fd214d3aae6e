"""Projects as ``voxtra init`` writes them, and as YAML describes them, take a real call."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from cli_process import CliProcess

from voxtra.cli.init import Template, rendered, write
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live


async def answered_and_ended(server: tuple[str, int], user: str, password: str, *, keys: str = "") -> None:
    async with Phone(server, user=user, password=password) as phone:
        call = await phone.dial("100")
        await call.answered(timeout=10)
        if keys:
            await call.send_dtmf(keys)
            await call.hangup()
        else:
            assert (await call.ended(timeout=15)).by == "remote"
            assert any(call.received_pcm())


@pytest.mark.proves("voxtra init")
@pytest.mark.parametrize(("template", "keys"), [(Template.HELLO, ""), (Template.IVR, "1")])
async def test_a_new_project_takes_a_call_with_dev(tmp_path: Path, template: Template, keys: str) -> None:
    write(tmp_path, rendered(template, "shop"))
    (tmp_path / ".env").write_text("VOXTRA_ARI_PASSWORD=of-another-asterisk\n")
    async with CliProcess("dev", "app:app", "--no-reload", "--sip-port", "0", folder=tmp_path) as cli:
        port = int((await cli.until(r"server +\S+, port (\d+)"))[1])
        password = (await cli.until(r"password +(\S+)"))[1]
        await cli.until("ready")
        await answered_and_ended(("127.0.0.1", port), "phone", password, keys=keys)
        cli.signal(signal.SIGINT)
        assert await cli.ended() == 130, cli.text
        assert "Traceback" not in cli.text


@pytest.mark.proves("voxtra start -c voxtra.yaml")
async def test_run_reads_the_env_file_and_start_needs_yaml_only(
    asterisk: PrivateAsterisk, phone_account: dict[str, object], tmp_path: Path
) -> None:
    write(tmp_path, rendered(Template.HELLO, asterisk.app))
    (tmp_path / "handlers.py").write_text(
        (tmp_path / "app.py").read_text().replace("app = VoxtraApp()", "").replace("@app.default()", "")
    )
    (tmp_path / "start.yaml").write_text(
        (tmp_path / "voxtra.yaml").read_text() + "routes: [{handler: 'handlers:hello', name: all}]\n"
    )
    (tmp_path / ".env").write_text(
        f"export VOXTRA_ARI_URL={asterisk.ari_url}\nVOXTRA_ARI_PASSWORD='{asterisk.ari_password}'\n"
    )
    await asterisk.rx(f"dialplan set global APP {asterisk.app}")
    for command in (("run", "app:app"), ("start", "-c", "start.yaml")):
        async with CliProcess(*command, folder=tmp_path) as cli:
            await cli.until("ready")
            await answered_and_ended(
                (asterisk.sip_host, asterisk.sip_port), "phone", asterisk.phones["phone"]
            )
            cli.signal(signal.SIGTERM)
            assert await cli.ended() == 0, cli.text
            assert asterisk.ari_password not in cli.text
            assert not re.search("Traceback|error:", cli.text)
