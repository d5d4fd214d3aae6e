from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from voxtra.cli.init import Template, app_name, rendered
from voxtra.cli.root import run_cli
from voxtra.config import ENVIRONMENT, VoxtraConfig

FILES = ["app.py", "voxtra.yaml", ".env.example", "README.md", "tests/test_app.py", ".gitignore"]
CLEAN = {name: value for name, value in os.environ.items() if name not in (*ENVIRONMENT, "VOXTRA_CONFIG")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.proves("voxtra init")
@pytest.mark.parametrize("template", ["hello", "ivr", pytest.param("agent", marks=pytest.mark.local)])
def test_the_project_is_right_as_it_stands(folder: Path, template: str) -> None:
    assert run_cli(["init", "shop", "--template", template]) == 0
    project = folder / "shop"
    assert sorted(str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()) == sorted(FILES)

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=project,
            env=CLEAN,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    checks = json.loads(run("voxtra.cli", "check", "app:app", "--json"))
    assert checks["ok"]
    assert {c["name"]: c["status"] for c in checks["checks"]}["routes"] == "ok"
    assert " passed" in run("pytest", "-q", "-p", "no:cacheprovider")
    assert "All checks passed" in run(
        "ruff", "check", "--isolated", "--select", "E,F,I,UP,B", "--line-length=110", "."
    )
    assert not (project / "recordings").exists()


def test_the_example_of_the_environment_is_one(folder: Path) -> None:
    run_cli(["init"])
    text = (folder / ".env.example").read_text()
    (folder / ".env").write_text(text.replace("PASSWORD=", "PASSWORD=s3cret"))
    config = VoxtraConfig.load(file="voxtra.yaml", env={}, env_file=".env")
    assert config.asterisk.password.get_secret_value() == "s3cret"
    assert config.asterisk.app_name == app_name(folder)
    assert ".env\n" in (folder / ".gitignore").read_text()


def test_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "app.py").write_text("mine")
    (folder / ".gitignore").symlink_to("/nonexistent")
    assert run_cli(["init"]) == 2
    out, err = capsys.readouterr()
    assert "app.py, .gitignore already: nothing was written" in err
    assert err.count("\n") == 1
    assert out == ""
    assert (folder / "app.py").read_text() == "mine"
    assert sorted(p.name for p in folder.iterdir()) == [".gitignore", "app.py"]


def test_what_is_no_folder_and_no_template(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert run_cli(["init", "file"]) == 2
    assert "can't be written" in capsys.readouterr().err
    assert run_cli(["init", "x", "--template", "helo"]) == 2
    assert "'hello'" in capsys.readouterr().err
    assert not (folder / "x").exists()


@pytest.mark.parametrize(
    ("name", "wanted"), [("shop", "shop"), ("My Shop!", "My-Shop"), ("-", "voxtra"), ("x" * 99, "x" * 64)]
)
def test_the_app_is_called_like_the_folder(name: str, wanted: str) -> None:
    assert app_name(Path("/somewhere") / name) == wanted


def test_every_template_is_filled_in() -> None:
    for template in Template:
        assert not [
            text for text in rendered(template, "x").values() if "@NAME@" in text or "@ABOUT@" in text
        ]
