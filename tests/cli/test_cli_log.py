from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from voxtra.cli.log import set_up_logging
from voxtra.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_a_line_says_when_how_grave_who_which_call_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info")
    set_up_logging("info")  # again changes nothing
    logging.getLogger("voxtra.session").info("answered %s", 100, extra={"call_id": "17.4"})
    logging.getLogger("voxtra.session").debug("not shown")
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    assert out.split(" ", 1)[1] == "info    voxtra.session [17.4] answered 100\n"


def test_secrets_are_taken_out_also_of_tracebacks(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("info", ["hunter22"])
    try:
        raise ValueError("bad hunter22")
    except ValueError:
        logging.getLogger("x").exception("login with %s", "hunter22")
    err = capsys.readouterr().err
    assert "hunter22" not in err
    assert "login with ***" in err
    assert "ValueError: bad ***" in err


def test_levels() -> None:
    with pytest.raises(ConfigurationError, match="must be one of"):
        set_up_logging("loud")
    set_up_logging("DEBUG")
