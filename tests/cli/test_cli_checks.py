from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from voxtra.cli.checks import Check, check_extras, check_settings, run_series
from voxtra.cli.checks_ari import judge_version
from voxtra.cli.info import EXTRAS
from voxtra.config import VoxtraConfig
from voxtra.errors import ARIServerError


@pytest.mark.parametrize(
    ("version", "transport", "status"),
    [
        ("22.10.1+dfsg", "websocket", "ok"),
        ("22.8.0", "websocket", "ok"),
        ("22.7.9", "websocket", "fail"),
        ("22.7.9", "rtp", "warn"),
        ("20.18.0", "websocket", "ok"),
        ("certified-20.7-cert5", "websocket", "fail"),
        ("21.12.0", "websocket", "fail"),
        ("23.1.0", "websocket", "fail"),
        ("24.0.0", "websocket", "ok"),
        ("18.9.0", "audiosocket", "warn"),
        ("16.28.0", "rtp", "fail"),
        ("GIT-master", "websocket", "warn"),
        ("", "websocket", "warn"),
    ],
)
def test_versions(version: str, transport: str, status: str) -> None:
    check = judge_version(version, transport)
    assert check.status == status
    assert bool(check.advice) == (status != "ok")


async def test_after_a_failure_the_rest_is_skipped_and_errors_are_failures() -> None:
    async def good() -> Check:
        return Check("good", "ok", "")

    async def raises() -> Check:
        raise ARIServerError("GET", "/x", 500, "boom")

    shown: list[Check] = []
    checks = await run_series([("good", good), ("raises", raises), ("good", good)], shown.append)
    assert [check.status for check in checks] == ["ok", "fail", "skip"]
    assert "500 boom" in checks[1].found
    assert checks[2].found == "needs raises"
    assert shown == checks


def test_the_password_in_clear_and_a_misspelt_variable_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    keywords = {"asterisk.password": "x", "asterisk.url": "http://pbx.example:8088"}
    check = check_settings(VoxtraConfig.load(env={}, keywords=keywords))
    assert check.status == "warn"
    assert "in clear" in check.found
    monkeypatch.setenv("VOXTRA_ARI_PASWORD", "x")
    check = check_settings(VoxtraConfig.load(env={}, keywords={"asterisk.password": "x"}))
    assert check.advice == "did you mean VOXTRA_ARI_PASSWORD?"


def test_an_extra_that_is_asked_for_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.cli.checks.extras", lambda: {"local": False, "openai": True})
    check = check_extras(VoxtraConfig.load(env={}, keywords={"stt.provider": "local"}))
    assert check.status == "fail"
    assert "pip install 'voxtra[local]'" in check.advice
    assert check_extras(VoxtraConfig.load(env={}, keywords={"llm.provider": "openai"})).status == "ok"


def test_every_extra_is_shown() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert set(EXTRAS) == set(project["project"]["optional-dependencies"])
