"""What a process has used: CPU, memory, and where the time goes."""

from __future__ import annotations

import asyncio
import cProfile
import os
import pstats
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = resource.getpagesize()
TICK = os.sysconf("SC_CLK_TCK")
TOP = 8


@dataclass(slots=True)
class Meter:
    """CPU of this process since the meter was made, s."""

    def __post_init__(self) -> None:
        self.reset()

    _cpu: float = 0.0
    _wall: float = 0.0

    def reset(self) -> None:
        """Begin anew."""
        self._cpu = time.process_time()
        self._wall = time.monotonic()

    def read(self) -> dict[str, float]:
        """``cpu`` and ``wall`` since then, s."""
        return {
            "cpu": time.process_time() - self._cpu,
            "wall": time.monotonic() - self._wall,
        }


def cpu_of(pid: int) -> float:
    """CPU that another process has used, s (ticks of 10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def starved_s() -> float:
    """Seconds since boot in which something had to wait for a core (PSI); 0 where the kernel doesn't tell.

    The shares of /proc/stat are no use here: they are sampled, and calls beat in step with the samples.
    """
    try:
        words = Path("/proc/pressure/cpu").read_text().split()
    except OSError:
        return 0.0
    return int(words[4].removeprefix("total=")) / 1e6


def rss_of(pid: int | str = "self") -> float:
    """Resident memory of a process, MB (10**6 B)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6


def descriptors_of(pid: int | str = "self") -> int:
    """Open file descriptors of a process."""
    return len(os.listdir(f"/proc/{pid}/fd"))


class Profiler:
    """Profiles this thread: its top functions by their own CPU time.

    C code (sockets, codecs, the VAD's inside) counts for the Python function that called it; what runs
    outside of any Python function, the event loop and its part of the kernel, is the last entry.
    """

    def __init__(self) -> None:
        self._profiler = cProfile.Profile(time.thread_time_ns, 1e-9, builtins=False)
        self._meter = Meter()
        self._profiler.enable()

    def stop(self) -> list[dict[str, Any]]:
        """End it; returns entries with ``function``, ``share`` of the CPU, ``calls``."""
        self._profiler.disable()
        used = self._meter.read()["cpu"]
        raw: dict[Any, Any] = pstats.Stats(self._profiler).stats  # type: ignore[attr-defined]
        found = sorted(((own, calls, where) for where, (_, calls, own, _, _) in raw.items()), reverse=True)
        inside = sum(own for own, _, _ in found)
        top = [
            {"function": _name(where), "share": own / used, "calls": calls}
            for own, calls, where in found[:TOP]
        ]
        rest = {"function": "event loop and kernel, outside Python", "share": max(0.0, 1 - inside / used)}
        return [*top, {**rest, "calls": 0}]


async def profiled(seconds: float) -> list[dict[str, Any]]:
    """Profile this thread for a while, see :class:`Profiler`."""
    profiler = Profiler()
    await asyncio.sleep(seconds)
    return profiler.stop()


def _name(where: tuple[str, int, str]) -> str:
    path, line, function = where
    if path == "~":
        return function.strip("<>").replace("built-in method ", "")
    parts = Path(path).parts
    for root in ("voxtra", "benchmarks", "site-packages", "python3.11"):
        if root in parts:
            at = len(parts) - 1 - parts[::-1].index(root)
            parts = parts[at + (root not in ("voxtra", "benchmarks")) :]
            break
    return f"{'/'.join(parts[-3:])}:{line} {function}"
