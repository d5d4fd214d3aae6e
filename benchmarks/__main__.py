"""``python -m benchmarks [NAME...] [--quick]``: measure, and print figures beside their goals."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from benchmarks.process import BenchmarkError
from benchmarks.report import Figure, headlines, machine, progress, table, versions, write
from voxtra.errors import VoxtraError
from voxtra.testing.asterisk_config import find_asterisk

NAMES = (
    "frame",
    "calls",
    "control",
    "core",
    "ending",
    "path",
    "relay",
    "faults",
    "flush",
    "greeting",
    "memory",
    "short",
    "spool",
    "turns",
)
RESULTS = Path("build/bench/results.json")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    about = "\n".join(f"  {name:<10}{load(name).TITLE}" for name in NAMES)
    made = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measures what voxtra costs and how fast it is, and prints it beside its goals.",
        epilog=f"benchmarks:\n{about}\n\nWhat each line means: docs/benchmarks.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="which ones; all when none is named")
    made.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to quote")
    made.add_argument("--profile", action="store_true", help="profile also what reaches its goal")
    made.add_argument("--list", action="store_true", help="name the benchmarks and stop")
    made.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes (%(default)s)")
    return made


def load(name: str) -> ModuleType:
    """A benchmark: it has TITLE and ``async def run(*, quick, profile) -> list[Figure]``."""
    return importlib.import_module(f"benchmarks.{name}")


def main() -> int:
    """Returns the exit code: 1 when a benchmark could not be measured, 0 also when a goal was missed."""
    options = parser()
    given = options.parse_args()
    if given.list:
        for name in NAMES:
            print(f"{name:<10}{load(name).TITLE}")
        return 0
    unknown = [name for name in given.names if name not in NAMES]
    if unknown:
        options.error(f"there is no benchmark {unknown[0]!r}: there are {', '.join(NAMES)}")
    return _measure(given.names or list(NAMES), given)


def _measure(names: list[str], given: argparse.Namespace) -> int:
    before = machine()
    figures: list[Figure] = []
    failed = False
    began = time.monotonic()
    for name in names:
        progress(f"{name}: {load(name).TITLE}")
        try:
            found = asyncio.run(load(name).run(quick=given.quick, profile=given.profile))
        except (BenchmarkError, VoxtraError, OSError) as error:
            failed = True
            progress(f"{name}: not measured: {error}")
            said = str(error).splitlines() or [type(error).__name__]
            why = said[0] if len(said) == 1 else f"{said[0]}: {said[-1].strip()}"
            found = [Figure(name, None, note=f"not measured: {why}")]
        for figure in found:
            figure.bench = name
        figures += found
    write(given.output, figures, quick=given.quick, before=before, more=_asterisk_version())
    progress(f"{time.monotonic() - began:.0f} s; {given.output}")
    print(_heading(before, given.quick))
    print(table(figures))
    print(headlines(figures))
    return 1 if failed else 0


def _asterisk_version() -> dict[str, str]:
    """Of the Asterisk that was measured with."""
    try:
        command = [str(find_asterisk().executable), "-V"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (VoxtraError, OSError, subprocess.TimeoutExpired):
        return {}
    return {"asterisk": said.strip().removeprefix("Asterisk ")}


def _heading(found: dict[str, object], quick: bool) -> str:
    known = versions()
    said = f"{found['processor']}, {found['cores']} cores, {found['memory_gb']} GB, load {found['load'][0]}"  # type: ignore[index]
    libraries = f"Python {known['python']}, uvloop {known['uvloop']}, picows {known['picows']}"
    return f"{said}; {libraries}{'; QUICK: sizes too small to quote' if quick else ''}\n"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
