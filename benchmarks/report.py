"""Figures, their goals, the table and the JSON that say what came out."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PACKAGES = ("voxtra", "uvloop", "picows", "aiohttp", "pydantic", "numpy", "webrtcvad-wheels")


@dataclass(slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the figure; None when it could not be measured, and ``note`` says why.
        unit: its unit.
        goal: the most it may be; None when there is no goal.
        at_least: the goal is the least, instead.
        headline: what it is called among the few figures that are shown once more at the end; "" for the others.
        where: where the time goes, in words, for those.
        note: what to know beside it.
        digits: after the decimal point.
        profile: where the time goes: entries with ``function`` and ``share`` of the CPU.
        details: more of it for the JSON.
        bench: the benchmark it came from; filled in by the runner.
    """

    name: str
    value: float | None
    unit: str = ""
    goal: float | None = None
    note: str = ""
    digits: int = 1
    profile: list[dict[str, Any]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    bench: str = ""
    at_least: bool = False
    headline: str = ""
    where: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without a goal."""
        if self.goal is None:
            return None
        if self.value is None:
            return False
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    @property
    def text(self) -> str:
        """The figure as printed."""
        return "–" if self.value is None else f"{self.value:.{self.digits}f}"

    @property
    def verdict(self) -> str:
        """The goal and whether it was reached, as printed."""
        if self.goal is None:
            return ""
        return f"{'≥' if self.at_least else '≤'} {self.goal:g} {'✓' if self.met else 'missed'}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0..1) of all values don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def median(values: Sequence[float]) -> float:
    """The middle."""
    return percentile(values, 0.5)


def table(figures: Iterable[Figure]) -> str:
    """The figures as an aligned table, and after it where the time of missed goals goes."""
    figures = list(figures)
    head = ("", "figure", "unit", "goal", "")
    rows = [(figure.name, figure.text, figure.unit, figure.verdict, figure.note) for figure in figures]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    lines = [_row(head, widths), "  ".join("-" * width for width in widths)]
    bench = ""
    for figure, row in zip(figures, rows, strict=True):
        if bench and figure.bench != bench:
            lines.append("")
        bench = figure.bench
        lines.append(_row(row, widths))
    return "\n".join([*lines, *_profiles(figures)])


def headlines(figures: Iterable[Figure]) -> str:
    """The few figures that have a headline, with a plain word on each; "" when there are none."""
    chosen = [figure for figure in figures if figure.headline]
    if not chosen:
        return ""
    words = {None: "", True: "reached", False: "missed"}
    rows = [
        (
            figure.headline,
            f"{figure.text} {figure.unit}",
            figure.verdict.rpartition(" ")[0],
            words[figure.met],
        )
        for figure in chosen
    ]
    head = ("goals of turn-taking", "measured", "goal", "")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    where = [f"  {f.headline}: {f.where}" for f in chosen if f.where]
    told = ["", "where the time goes", *where] if where else []
    return "\n".join(line.rstrip() for line in ["", *lines, *told])


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    name, figure, unit, goal, note = row
    cells = (
        name.ljust(widths[0]),
        figure.rjust(widths[1]),
        unit.ljust(widths[2]),
        goal.ljust(widths[3]),
        note,
    )
    return "  ".join(cells).rstrip()


def _profiles(figures: Iterable[Figure]) -> Iterable[str]:
    for figure in figures:
        if figure.profile:
            said = "missed its goal" if figure.met is False else "by its profile"
            yield f"\n{figure.name}, {said}: where the time goes (share of the process' CPU)"
            for entry in figure.profile:
                yield f"  {entry['share']:6.1%}  {entry['function']}"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")),
        platform.machine(),
    )


def versions() -> dict[str, str]:
    """Of Python and of what bears on the figures."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def write(
    path: Path, figures: Sequence[Figure], *, quick: bool, before: dict[str, Any], more: dict[str, str]
) -> None:
    """Write everything to a JSON file, also what the table leaves out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "machine": before,
        "load_after": [round(load, 2) for load in os.getloadavg()],
        "versions": versions() | more,
        "figures": [asdict(figure) | {"met": figure.met} for figure in figures],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def progress(text: str) -> None:
    """A line on stderr."""
    print(text, file=sys.stderr, flush=True)
