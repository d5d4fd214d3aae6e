"""The example that users copy is run as it stands."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("rapidfuzz")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
try:
    _example = import_module("test_receptionist")
finally:
    del sys.path[0]

pytestmark = pytest.mark.local
globals().update({name: value for name, value in vars(_example).items() if name.startswith("test_")})


def test_there_are_some() -> None:
    assert "test_the_caller_interrupts" in globals()
