from __future__ import annotations

from pathlib import Path

import pytest

from voxtra.cli.root import run_cli
from voxtra.testing import asterisk_config


def test_the_one_that_is_there_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOXTRA_ASTERISK", str(tmp_path))
    root = tmp_path / "root"
    for name in ("usr/sbin", "usr/lib/asterisk/modules", "usr/share/asterisk/documentation"):
        (root / name).mkdir(parents=True)
    (root / "usr/sbin/asterisk").touch()
    (tmp_path / "asterisk").touch(mode=0o755)
    assert run_cli(["asterisk"]) == 0
    assert capfd.readouterr().out == f"{tmp_path}/asterisk\n"


@pytest.mark.parametrize(("script", "code"), [("exit 7", 1), (None, 2)])
def test_what_goes_wrong_is_said(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    script: str | None,
    code: int,
) -> None:
    if script is not None:
        (tmp_path / "get-asterisk.sh").write_text(script)
    monkeypatch.setattr(asterisk_config, "template_dir", lambda: tmp_path)
    assert run_cli(["asterisk", "--again", "--to", str(tmp_path / "x")]) == code
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "get-asterisk.sh failed (7)" in err if script else "is not there: install voxtra again" in err
