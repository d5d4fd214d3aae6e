from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxtra import _env_file
from voxtra.cli import options
from voxtra.cli.log import set_up_logging
from voxtra.cli.root import run_cli
from voxtra.config import ENVIRONMENT

APP = """
from voxtra import VoxtraApp

app = VoxtraApp()

@app.default()
async def hello(call):
    await call.answer()
"""
HANDLERS = "async def sales(call): ...\nasync def two(a, b): ...\ndef plain(call): ...\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    kept = {n: v for n, v in os.environ.items() if n not in (*ENVIRONMENT, "VOXTRA_CONFIG")}
    monkeypatch.setattr(os, "environ", kept)
    monkeypatch.setattr(_env_file, "_exported", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "vx_check_app.py").write_text(APP)
    (tmp_path / "vx_handlers.py").write_text(HANDLERS)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:], root.level = handlers, level
    for name in [name for name in sys.modules if name.startswith("vx_")]:
        del sys.modules[name]


def checked(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, dict[str, str]]:
    """Every check by its name; ``--json`` and the plain form agree."""
    assert run_cli(["check", *arguments]) == code
    lines = capsys.readouterr().out.splitlines()
    assert run_cli(["check", *arguments, "--json"]) == code
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is (code == 0)
    assert len([line for line in lines if not line.startswith(" ")]) == len(report["checks"])
    return {check["name"]: check for check in report["checks"]}


@pytest.mark.proves("voxtra check")
def test_all_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("VOXTRA_ARI_PASSWORD=hunter2\n")
    (folder / ".env").chmod(0o600)
    (folder / "voxtra.yaml").write_text(
        "routes: [{extension: '100', handler: 'vx_handlers:sales'}]\n"
        "trunk: {endpoint: 'PJSIP/{number}@carrier'}\n"
    )
    found = checked(capsys, "vx_check_app:app")
    assert {check["status"] for check in found.values()} == {"ok"}
    assert list(found) == ["settings", ".env", "app", "asterisk", "routes", "media", "trunk", "extras"]
    assert found["routes"]["found"] == "1 in the settings"
    assert "PJSIP/+442071838750@carrier" in found["trunk"]["found"]
    assert "hunter2" not in str(found)


def test_without_an_app_the_settings_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.yaml").write_text("routes: [{handler: 'vx_handlers:sales'}]\n")
    found = checked(capsys, "-c", "other.yaml")
    assert found["settings"]["found"] == "other.yaml"
    assert found["routes"]["status"] == "ok"
    assert found["asterisk"]["status"] == "warn"
    assert checked(capsys)["routes"]["advice"].startswith("write @app.default()")


@pytest.mark.parametrize(
    ("yaml", "env", "target", "name", "says"),
    [
        ("asterisk: {usr: x}", "", "", "settings", "did you mean 'user'?"),
        ("asterisk: {password: '${NOPE}'}", "", "", "settings", "${NOPE} is not set"),
        ("", "VOXTRA_ARI_URL=pbx", "", "settings", "(in .env VOXTRA_ARI_URL)"),
        ("", "hunter2", "", "settings", "line 1: is not NAME=value"),
        ("", "", "vx_check_app:ap", "app", "did you mean 'vx_check_app:app'?"),
        ("", "", "vx_check_ap:app", "app", "no module 'vx_check_ap'"),
        ("", "", "vx_broken:app", "app", "vx_broken can't be imported: ZeroDivisionError"),
        ("routes: [{handler: 'vx_handlers:sale'}]", "", "", "routes", "did you mean 'sales'?"),
        ("routes: [{handler: 'vx_nowhere:x'}]", "", "", "routes", "routes.0: no module 'vx_nowhere'"),
        ("routes: [{handler: 'vx_handlers:plain'}]", "", "", "routes", "must be async def plain(call)"),
        ("routes: [{handler: 'vx_handlers:two'}]", "", "", "routes", "must take one argument"),
        ("routes: [{handler: 'vx_broken:x'}]", "", "", "routes", "ZeroDivisionError"),
        ("stt: {provider: whispr}", "", "", "stt", "did you mean 'whisper'?"),
        ("llm: {provider: openai, options: {modle: x}}", "", "", "llm", "no option 'modle'"),
    ],
)
def test_what_is_wrong_has_its_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], yaml: str, env: str, target: str, name: str, says: str
) -> None:
    (folder / "vx_broken.py").write_text("1 / 0\n")
    (folder / "voxtra.yaml").write_text(yaml)
    if env:
        (folder / ".env").write_text(env)
    found = checked(capsys, *([target] if target else []), code=2)
    assert found[name]["status"] == "fail"
    assert says in found[name]["found"]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("section", ["stt", "tts", "llm", "vad", "realtime", "end_of_turn"])
def test_each_kind_of_provider_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], section: str
) -> None:
    (folder / "voxtra.yaml").write_text(f"{section}: {{provider: nope}}\n")
    assert checked(capsys, code=2)[section]["status"] == "fail"


def test_a_missing_extra_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setattr("voxtra.cli.checks.extras", lambda: {"local": True, "openai": False})
    (folder / "voxtra.yaml").write_text("llm: {provider: openai, model: x, api_key: hunter2}\n")
    found = checked(capsys, code=2)
    assert found["extras"]["status"] == "fail"
    assert "pip install 'voxtra[openai]'" in found["extras"]["advice"]
    assert "hunter2" not in str(found)


def test_an_env_file_that_others_can_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("X=1\n")
    (folder / ".env").chmod(0o644)
    assert checked(capsys)[".env"]["advice"] == "chmod 600 .env"


def test_start_says_what_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, says in (
        (None, "no voxtra.yaml here"),
        ("asterisk: {user: x}", "voxtra.yaml has no routes"),
        ("routes: [{handler: 'vx_handlers:sale'}]", "did you mean 'sales'?"),
        ("routes: [{handler: 'vx_handlers:plain'}]", "must be  async def plain(call)"),
    ):
        if text is not None:
            (folder / "voxtra.yaml").write_text(text)
        assert run_cli(["start"]) == 2
        out, err = capsys.readouterr()
        assert says in err
        assert (out, err.count("\n")) == ("", 1)


def test_the_log_leaves_out_every_secret_of_settings_and_env_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".env").write_text("OPENAI_API_KEY=secret-1\nVOXTRA_ARI_PASSWORD=secret-2\nPLAIN=shown-1\n")
    (folder / "voxtra.yaml").write_text(
        "media: {password: secret-3}\n"
        "llm: {provider: openai, api_key: secret-4, options: {auth_token: secret-5, model: shown-2}}\n"
        "vad: {provider: webrtc, options: {licence_key: secret-6}}\n"
    )
    options.load_env_file()
    settings = options.load_settings(None, {})
    set_up_logging("info", options.secrets_of(settings))
    logging.getLogger("x").warning("%s", [f"secret-{n}" for n in range(1, 7)] + ["shown-1", "shown-2"])
    said = capsys.readouterr().err
    assert "secret-" not in said
    assert "shown-1" in said
    assert "shown-2" in said
    assert "secret-" not in f"{settings!r} {settings}"
