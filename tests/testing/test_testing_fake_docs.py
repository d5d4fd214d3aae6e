"""The tests that the page on testing handlers shows do pass."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "testing-handlers.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.finditer(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def shown() -> list[tuple[str, Callable[[], None]]]:
    found = []
    for block in BLOCKS:
        if "def test_" in block[1]:
            module = types.ModuleType("page")
            above = "\n" * TEXT.count("\n", 0, block.start(1))  # so that a failure shows the page's line
            exec(compile(above + block[1], str(PAGE), "exec"), module.__dict__)
            found += [(name, each) for name, each in vars(module).items() if name.startswith("test_")]
    return found


SHOWN = shown()


@pytest.mark.parametrize(("name", "test"), SHOWN, ids=lambda value: value if isinstance(value, str) else "")
def test_shown(name: str, test: Callable[[], None]) -> None:
    test()


def test_all_are_there() -> None:
    assert [name for name, _ in SHOWN] == [
        "test_opening_hours",
        "test_anna_answers",
        "test_anna_is_busy",
        "test_anna_is_slow",
        "test_the_office",
    ]
