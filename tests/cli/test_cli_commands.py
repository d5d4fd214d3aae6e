from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from voxtra import __version__
from voxtra.cli.options import load_settings
from voxtra.cli.root import run_cli
from voxtra.config import ENVIRONMENT, VoxtraConfig

APP = "from voxtra import VoxtraApp\n\napp = VoxtraApp()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for variable in (*ENVIRONMENT, "VOXTRA_CONFIG", "VOXTRA_LOG_LEVEL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "vx_cli_app.py").write_text(APP)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield tmp_path
    root.handlers[:], root.level = handlers, level
    for name in ("vx_cli_app", "vx_cli_beside"):
        sys.modules.pop(name, None)


def says(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run it, expect one line on stderr and nothing on stdout, and return the line."""
    assert run_cli(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("voxtra: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["run"], "Missing argument 'APP' (see voxtra run --help)"),
        (["run", "appapp"], "'appapp' names no app: write MODULE:ATTRIBUTE"),
        (["dev", "appapp"], "'appapp' names no app"),
        (["run", "vx_cli_ap:app"], "did you mean 'vx_cli_app:app'?"),
        (["run", "vx_cli_app:ap"], "vx_cli_app has no 'ap': did you mean 'vx_cli_app:app'?"),
        (["run", "vx_cli_app:app", "--ari-urll", "x"], "No such option: --ari-urll"),
        (["rnu", "x:y"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "vx_cli_app:app", "--ari-url", "pbx:8088"], "asterisk.url = 'pbx:8088': must be an address"),
        (["run", "vx_cli_app:app", "--ari-url", ""], "--ari-url is empty"),
        (["run", "vx_cli_app:app", "-c", "no.yaml"], "no.yaml: no such file (named by --config)"),
        (["run", "vx_cli_app:app", "--log-level", "loud"], "must be one of debug, info, warning, error"),
        (["run", "vx_cli_app:app", "--app-name", "a b"], "asterisk.app_name = 'a b'"),
        (["doctor", "--transport", "udp"], "media.transport = 'udp': must be 'websocket', 'rtp' or"),
        (["doctor", "--ari-url", "http://u:p@x"], "must not hold user or password"),
        (["dev", "vx_cli_app:app", "--sip-port", "99999"], "--sip-port"),
        (
            ["dev", "vx_cli_app:app", "--sip-host", "192.0.2.1"],
            "--sip-host '192.0.2.1' --sip-port 5060: can't",
        ),
        (
            ["dev", "vx_cli_app:app", "--sip-host", "no.such.host.invalid"],
            "--sip-host 'no.such.host.invalid'",
        ),
        (["info", "-c", "no.yaml"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
) -> None:
    assert wanted in says(capsys, *arguments)


@pytest.mark.parametrize("group", ["spool", "recordings", "keys"])
def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str], group: str) -> None:
    assert run_cli([group]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"Usage: voxtra {group} ")
    assert "\nCommands:\n" in out
    assert err == ""


def test_a_bad_file_is_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "voxtra.yaml").write_text("asterisk: {usr: x}\n")
    line = says(capsys, "run", "vx_cli_app:app")
    assert "unknown setting 'asterisk.usr': did you mean 'user'? (in voxtra.yaml)" in line


def test_the_environment_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXTRA_ARI_URL", "pbx")
    assert "asterisk.url = 'pbx'" in says(capsys, "run", "vx_cli_app:app")
    assert "(in environment VOXTRA_ARI_URL)" in says(capsys, "info")


@pytest.mark.parametrize("command", ["run vx_cli_app:app", "start", "info", "check"])
def test_a_misspelt_variable_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("VOXTRA_ARI_PASWORD", "hunter2")
    monkeypatch.setenv("VOXTRA_OF_MY_OWN", "1")
    assert run_cli(command.split()) == 2
    said = "".join(capsys.readouterr())
    assert "environment: VOXTRA_ARI_PASWORD is no setting: did you mean VOXTRA_ARI_PASSWORD?" in said
    assert "hunter2" not in said


def test_a_missing_extra_is_one_line(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code = "from voxtra.errors import MissingExtraError\nraise MissingExtraError('local speech', 'local')\n"
    (folder / "vx_cli_extra.py").write_text(code)
    line = says(capsys, "run", "vx_cli_extra:app")
    assert "vx_cli_extra.py:2: local speech is not installed: run  pip install 'voxtra[local]'" in line


def test_the_users_error_shows_where_and_debug_shows_all(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "vx_cli_broken.py").write_text("def f():\n    return 1 / 0\n\nf()\n")
    assert run_cli(["run", "vx_cli_broken:app"]) == 2
    err = capsys.readouterr().err
    assert 'vx_cli_broken.py", line 2, in f' in err
    assert "importlib" not in err
    assert err.splitlines()[-1] == (
        "voxtra: error: vx_cli_broken can't be imported: ZeroDivisionError: division by zero"
    )
    assert run_cli(["run", "vx_cli_broken:app", "--debug"]) == 2
    assert "importlib" in capsys.readouterr().err


@pytest.mark.proves("voxtra info", "voxtra --version")
def test_version_help_and_info(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRA_ARI_PASSWORD", "hunter2")
    assert run_cli(["--version"]) == 0
    assert capsys.readouterr().out == f"voxtra {__version__}\n"
    assert run_cli([]) == 0
    assert "doctor" in capsys.readouterr().out
    for name in ("run", "dev", "doctor", "info", "asterisk"):
        assert run_cli([name, "--help"]) == 0
        assert "Examples:" in capsys.readouterr().out
    assert run_cli(["info"]) == 0
    assert "hunter2" not in capsys.readouterr().out
    assert run_cli(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["settings"]["asterisk.password"] == {
        "value": "set",
        "from": "environment VOXTRA_ARI_PASSWORD",
    }


def test_doctor_without_a_password_says_where_it_goes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "set VOXTRA_ARI_PASSWORD to the password of [asterisk] in ari.conf" in out
    assert "\x1b" not in out


def test_doctor_where_nothing_listens(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["doctor", "--ari-url", "http://127.0.0.1:1", "--ari-password", "x", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    by_name = {check["name"]: check for check in report["checks"]}
    assert report["ok"] is False
    assert by_name["reachable"]["status"] == "fail"
    assert "http.conf" in by_name["reachable"]["advice"]
    assert by_name["media"] == {"name": "media", "status": "skip", "found": "needs reachable", "advice": ""}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    words = {"bash": ("voxtra d", "1"), "zsh": ("voxtra d", ""), "fish": ("voxtra d", "")}[shell]
    environment = {
        **os.environ,
        "_VOXTRA_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words[0],
        "COMP_CWORD": words[1],
        "_TYPER_COMPLETE_ARGS": words[0],
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-m", "voxtra.cli"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert "dev" in done.stdout
    assert "doctor" in done.stdout


def test_show_completion_bash() -> None:
    code = (
        "import sys; sys.argv = ['voxtra', '--show-completion', 'bash']; import voxtra.cli; voxtra.cli.main()"
    )
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "complete -o default -F _voxtra_completion voxtra" in done.stdout


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m voxtra.cli info | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""


def test_info_shows_each_setting_that_was_made_and_no_secret(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOXTRA_SERVER_PORT", "9000")
    (folder / "voxtra.yaml").write_text(
        "backend: {url: 'https://b.example/x?token=hunter2', signing_secret: hunter22}\n"
        "llm: {provider: openai, options: {api_key: hunter222, size: 5}}\n"
        "routes: [{handler: 'a:b'}]\n"
    )
    assert run_cli(["info"]) == 0
    text = capsys.readouterr().out
    assert "hunter" not in text
    assert run_cli(["info", "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["server.port"] == {"value": 9000, "from": "environment VOXTRA_SERVER_PORT"}
    assert settings["backend.signing_secret"] == {"value": "set", "from": "voxtra.yaml"}
    assert settings["backend.url"]["value"] == "https://b.example/x?token=***"
    assert settings["llm.options.api_key"]["value"] == "set"
    assert settings["llm.options.size"]["value"] == 5
    assert settings["routes"]["value"] == "1 of them"
    assert "backend.timeout" not in settings


def test_handlers_of_the_settings_are_looked_at_before_the_start(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "voxtra.yaml").write_text("routes: [{handler: 'vx_cli_beside:h'}]\n")
    (folder / "conf" / "vx_cli_beside.py").write_text("def h(call): ...\n")
    line = says(capsys, "run", "vx_cli_app:app", "-c", "conf/voxtra.yaml")  # found, beside the file
    assert "routes.0: @route: h must be  async def h(call)" in line
    (folder / "voxtra.yaml").write_text("routes: [{handler: 'vx_cli_wrong:h'}]\n")
    (folder / "vx_cli_wrong.py").write_text("def (\n")
    assert run_cli(["run", "vx_cli_app:app"]) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == (
        "voxtra: error: routes.0: vx_cli_wrong can't be imported: SyntaxError: invalid syntax"
    )
    assert "importlib" not in err
    (folder / "voxtra.yaml").write_text("routes: [{handler: 'vx_cli_beside.py:h'}]\n")
    assert "write 'vx_cli_beside:h'" in says(capsys, "run", "vx_cli_app:app")


def test_a_file_that_the_program_reads_is_not_replaced_by_the_one_that_is_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.yaml").write_text("asterisk: {app_name: mine}\n")
    (folder / "voxtra.yaml").write_text("asterisk: {app_name: here}\n")
    own, none = VoxtraConfig.from_yaml("mine.yaml"), VoxtraConfig.load()
    assert load_settings(None, {}, own).asterisk.app_name == "mine"
    assert load_settings(None, {}, none).asterisk.app_name == "here"
    assert load_settings(Path("voxtra.yaml"), {}, own).asterisk.app_name == "here"  # --config
    monkeypatch.setenv("VOXTRA_CONFIG", "voxtra.yaml")
    assert load_settings(None, {}, own).asterisk.app_name == "here"
