"""``voxtra spool``: what waits is shown, tried again, thrown away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voxtra.cli.root import run_cli
from voxtra.recording.spool_store import Entry, SpoolStore


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    store = SpoolStore(folder, min_free=0)
    for number in range(3):
        source = store.incoming / f"{number}.wav"
        source.write_bytes(b"RIFF")
        body = {"name": f"call-{number}", "session_id": "vx-1"}
        store.put([Entry("GCSSink", str(number), "recording", body, file=f"{number}.wav")], source)
    for _ in range(2):
        entry = store.take("GCSSink")
        assert entry is not None
        store.failed(entry, "403\nforbidden", None)
    store.close()
    return folder


def says(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    assert run_cli(["spool", *map(str, arguments)]) == code
    return capsys.readouterr().out if code == 0 else capsys.readouterr().err


def test_list_shows_what_waits_and_why(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = says(capsys, "list", "--folder", spool).splitlines()
    assert lines[0] == "GCSSink: 2 dead, 1 pending"
    assert "dead    GCSSink  call-0 of vx-1" in lines[1]
    assert lines[1].endswith("1 attempts: 403 forbidden")
    assert "pending" in lines[3]
    found = json.loads(says(capsys, "list", "-f", spool, "--dead", "--json"))
    assert [each["body"]["name"] for each in found["entries"]] == ["call-0", "call-1"]
    assert found["counts"] == {"GCSSink": {"dead": 2, "pending": 1}}


def test_retry_makes_it_wait_again(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert says(capsys, "retry", "-f", spool, "1") == "1 to be tried again\n"
    assert json.loads(says(capsys, "retry", "-f", spool, "--json")) == {"retried": 1}
    assert says(capsys, "list", "-f", spool).startswith("GCSSink: 3 pending\n")


def test_purge_takes_only_what_was_given_up_and_its_files(
    spool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says(capsys, "purge", "-f", spool, "--yes") == "2 purged\n"
    assert [path.name for path in (spool / "files").iterdir()] == ["2.wav"]
    assert json.loads(says(capsys, "purge", "-f", spool, "--waiting", "-y", "--json")) == {"purged": 1}
    assert list((spool / "files").iterdir()) == []


def test_a_folder_that_is_none_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no spool" in says(capsys, "list", "-f", tmp_path, code=2)


def test_list_names_the_spools_of_other_processes(spool: Path, capsys: pytest.CaptureFixture[str]) -> None:
    SpoolStore(spool / "process-2", min_free=0).close()
    assert says(capsys, "list", "-f", spool).endswith(
        f"another process has its own: voxtra spool list -f {spool / 'process-2'}\n"
    )
