"""Scenarios as real calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxtra.cli.root import run_cli
from voxtra.errors import ConfigurationError
from voxtra.evaluation import Scenario
from voxtra.evaluation.live import LivePlayer

pytestmark = [pytest.mark.live, pytest.mark.local]

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(420)
def test_the_projects_own_scenarios_on_real_calls(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_cli(["eval", str(ROOT / "examples" / "scenarios" / "live"), "--live"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "13 passed, 0 failed" in said


def test_what_is_for_text_only() -> None:
    scenario = Scenario.model_validate(
        {"name": "x", "caller": ["hangs_up"], "endpoints": {"PJSIP/a": "busy"}}
    )
    with LivePlayer() as play, pytest.raises(ConfigurationError, match="endpoints are for text only"):
        play(scenario, None)  # type: ignore[arg-type]


def test_a_real_call_that_does_not_go_as_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = ROOT / "examples" / "scenarios" / "clinic.py"
    file = tmp_path / "one.yaml"
    file.write_text(
        f"app: {app}:app\nllm: []\ncaller:\n"
        "  - {hears: How can I help you}\n  - {presses: '12'}\n  - {hears: a pizza, timeout: 1}\n"
        "expect: {digits: '12', ended_by: caller}\n"
    )
    assert run_cli(["eval", str(file), "--live"]) == 1
    said = capsys.readouterr().out
    assert "step 3 (hears a pizza, timeout 1): waited 1 s for the words 'a pizza'" in said
    assert "keys" not in said  # what was expected and holds is not told
