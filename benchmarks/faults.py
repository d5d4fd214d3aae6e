"""What each sink has in the end when something breaks: sent, stored, duplicated, lost."""

from __future__ import annotations

import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.process import BenchmarkError
from benchmarks.report import Figure, progress

TITLE = "recordings sent through the spool while a fault lasts: stored, duplicated and lost at each sink"
RUN = Path(__file__).parents[1] / "tests" / "recording" / "fault_run.py"


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """One line for each sink and fault; its figure is what was lost or stored twice."""
    try:
        faults = _load()
    except ImportError as error:
        raise BenchmarkError(f"what it runs against is not installed: {error}") from error
    before = logging.root.manager.disable
    logging.disable()  # that it fails and is tried again is what it is about
    try:
        progress(faults.line())
        rows = await faults.run(
            faults.QUICK if quick else faults.FULL, told=lambda row: progress(faults.line(row))
        )
    finally:
        logging.disable(before)
    return [_figure(row) for row in rows]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fault_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["fault_run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _figure(row: Any) -> Figure:
    told = f"sent {row.sent}, stored {row.stored}, duplicated {row.duplicated}, lost {row.lost}; hit {row.hits} times"
    return Figure(f"{row.sink}, {row.fault}", row.lost + row.duplicated, "", 0.0, told, digits=0)
