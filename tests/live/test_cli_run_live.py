from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli_process import CliProcess

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

APP = """
from voxtra import VoxtraApp

app = VoxtraApp()

@app.on_startup
async def up():
    print("hook: up")

@app.on_shutdown
async def down():
    print("hook: down")

@app.default()
async def handler(call):
    await call.answer()
    print("call", call.id)
    await call.hangup()
"""


def env(asterisk: PrivateAsterisk) -> dict[str, str]:
    return {
        "VOXTRA_ARI_URL": asterisk.ari_url,
        "VOXTRA_ARI_USER": asterisk.ari_user,
        "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
    }


@pytest.mark.proves("voxtra run app:app", "failure 24")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_call_then_a_signal_then_a_clean_end(
    asterisk: PrivateAsterisk,
    phone_account: dict[str, object],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    (tmp_path / "app.py").write_text(APP)
    await asterisk.rx("dialplan set global APP voxtra")
    async with CliProcess("run", "app:app", folder=tmp_path, env=env(asterisk)) as cli:
        await cli.until("hook: up")
        await cli.until("ready")
        async with Phone(**phone_account) as phone:  # type: ignore[arg-type]
            call = await phone.dial("100")
            await call.answered(timeout=5)
            await call.ended(timeout=5)
        await cli.until("^call ")
        cli.signal(number)
        assert await cli.ended() == code, cli.text
        assert "hook: down" in cli.text
        assert "Traceback" not in cli.text
        assert asterisk.ari_password not in cli.text


async def test_settings_from_the_file(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "voxtra.yaml").write_text(
        f"asterisk:\n  url: {asterisk.ari_url}\n  user: {asterisk.ari_user}\n  password: ${{SECRET}}\n"
    )
    secret = {"SECRET": asterisk.ari_password}
    async with CliProcess("run", "app:app", folder=tmp_path, env=secret) as cli:
        await cli.until("hook: up")
        cli.signal(signal.SIGTERM)
        assert await cli.ended() == 0, cli.text


async def test_a_wrong_password_is_one_line(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    wrong = env(asterisk) | {"VOXTRA_ARI_PASSWORD": "nope-nope"}
    arguments = ("run", "app:app", "--log-level", "error")
    async with CliProcess(*arguments, folder=tmp_path, env=wrong) as cli:
        assert await cli.ended() == 2
        errors = [line for line in cli.lines if line.startswith("voxtra: error: ")]
        assert len(errors) == 1
        assert "password" in errors[0]
        assert "Traceback" not in cli.text
        assert "nope-nope" not in cli.text


async def test_asterisk_not_there_yet_is_waited_for_and_a_signal_ends_that(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    nobody = {"VOXTRA_ARI_URL": "http://127.0.0.1:1", "VOXTRA_ARI_PASSWORD": "x"}
    async with CliProcess("run", "app:app", folder=tmp_path, env=nobody) as cli:
        await cli.until("127.0.0.1:1")  # what is wrong is said while it waits
        cli.signal(signal.SIGTERM)
        assert await cli.ended() == 0, cli.text
        assert "Traceback" not in cli.text


async def test_an_error_in_a_startup_hook_is_shown_where_it_is(
    asterisk: PrivateAsterisk, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP.replace('print("hook: up")', "1 / 0"))
    async with CliProcess("run", "app:app", folder=tmp_path, env=env(asterisk)) as cli:
        assert await cli.ended() == 1, cli.text
        assert 'app.py", line 8, in up' in cli.text
        assert "ZeroDivisionError" in cli.lines[-1]
