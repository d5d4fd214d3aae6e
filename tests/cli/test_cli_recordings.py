"""``voxtra recordings purge``: what is old goes, after a question, and nothing else does."""

from __future__ import annotations

import io
import json
import os
import time
from pathlib import Path

import pytest

from voxtra.cli.root import run_cli


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, days in (("old/a.wav", 40), ("new.wav", 1), (".spool/b.wav", 99)):
        path = tmp_path / "calls" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - days * 86_400,) * 2)
    return tmp_path / "calls"


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_would_go_is_named_and_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["recordings", "purge", str(folder), "--older-than", "30", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "old" / "a.wav"), "1 would be deleted"]
    assert len(left(folder)) == 3


def test_it_goes_with_its_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["recordings", "purge", str(folder), "--older-than", "30", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"dry_run": False, "files": [str(folder / "old" / "a.wav")]}
    assert left(folder) == [".spool/b.wav", "new.wav"]
    assert not (folder / "old").exists()


@pytest.mark.parametrize("answer", ["", "n\n"])
def test_without_a_yes_nothing_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert run_cli(["recordings", "purge", str(folder), "--older-than", "30"]) == 130
    assert len(left(folder)) == 3
    assert "error: nothing was deleted: that was no yes (--yes does not ask)" in capsys.readouterr().err


def test_a_folder_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["recordings", "purge", str(tmp_path / "x"), "--older-than", "30"]) == 2
    assert "x is no folder" in capsys.readouterr().err
