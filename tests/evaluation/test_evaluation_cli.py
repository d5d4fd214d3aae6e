"""``voxtra eval``, and the project's own scenarios."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from voxtra.cli.root import run_cli

SCENARIOS = Path(__file__).resolve().parents[2] / "examples" / "scenarios"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_projects_own_scenarios_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_cli(["eval", str(SCENARIOS), "--html", str(tmp_path / "page")])
    said = capsys.readouterr().out
    assert code == 0, said
    assert said.count("  pass  ") >= 11
    assert "FAIL" not in said
    assert "talking over the agent" in (tmp_path / "page" / "index.html").read_text()


def copy(tmp_path: Path, text: str) -> str:
    shutil.copy(SCENARIOS / "clinic.py", tmp_path)
    (tmp_path / "one.yaml").write_text(text)
    return str(tmp_path / "one.yaml")


def test_one_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copy(tmp_path, "caller: [{hears: clinic}, hangs_up]\nllm: []\nexpect: {agent_said: garage}\n")
    assert run_cli(["eval", file, "--app", "clinic.py:app"]) == 1
    assert "the agent says 'garage': it said 'Welcome to the clinic." in capsys.readouterr().out
    assert run_cli(["eval", file, "--app", "clinic.py:app", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [check["holds"] for check in told["scenarios"][0]["checks"]] == [True, True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("caller: [hangs_up]\n", "no app: write  app: app.py:app  or give --app"),
        ("caller: [hangs_up]\napp: clinic.py:ap\n", "did you mean"),
        ("caller: [hangsup]\n", "did you mean 'hangs_up'?"),
        ("persona: {who: me, goal: it}\napp: clinic.py:app\n", "needs a language model: name one with --llm"),
    ],
)
def test_what_can_not_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    assert run_cli(["eval", copy(tmp_path, text)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
