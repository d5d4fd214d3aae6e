"""What it costs to be sure of a recording, and what 200 sudden deaths lose."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.process import BenchmarkError
from benchmarks.report import Figure, progress
from voxtra.recording.spool_store import Entry, SpoolStore

TITLE = "until a recording is safe in the spool, on this disk; what is lost when the process is killed"
KILLS = Path(__file__).parents[1] / "tests" / "recording" / "spool_kills.py"
SIZE = 1_000_000


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Measure both."""
    puts, kills = (50, 20) if quick else (500, 200)
    progress(f"spool: {puts} recordings of {SIZE // 1000} kB")
    times = sorted(await asyncio.to_thread(_put, puts))
    progress(f"spool: {kills} deaths")
    found = await asyncio.to_thread(_kill, kills)
    told = f"{found['acknowledged']} acknowledged, {found['duplicated']} stored twice"
    return [
        Figure(
            "recording of 1 MB safe, p50",
            times[len(times) // 2] * 1000,
            "ms",
            note="file and row synced",
            digits=2,
        ),
        Figure("the same, p99", times[int(len(times) * 0.99)] * 1000, "ms", digits=2),
        Figure(
            f"lost in {kills} deaths by SIGKILL", found["lost"] + found["duplicated"], "", 0.0, told, digits=0
        ),
    ]


def _put(number: int) -> list[float]:
    times = []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = SpoolStore(Path(folder), min_free=0)
        for each in range(number):
            source = store.incoming / f"{each}.wav"
            source.write_bytes(bytes(SIZE))
            began = time.perf_counter()
            store.put(
                [Entry("sink", str(each), "recording", {"name": str(each)}, file=f"{each}.wav")], source
            )
            times.append(time.perf_counter() - began)
            entry = store.take("sink")
            if entry is not None:
                store.done(entry)
        store.close()
    return times


def _kill(runs: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(KILLS), folder, str(runs), "1"]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        raise BenchmarkError(ran.stderr)
    found: dict[str, int] = json.loads(ran.stdout)
    return found
