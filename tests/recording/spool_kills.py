"""Kills a process that spools, at random moments, and counts what its sinks have in the end.

    python tests/recording/spool_kills.py FOLDER RUNS SEED

Prints JSON: kills, sent (begun), acknowledged, stored, lost (acknowledged and not stored), duplicated.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections import Counter
from pathlib import Path

from kills import kill_again_and_again

from voxtra.recording import LocalFileSink, RecordingMetadata
from voxtra.recording.spooled import SpooledSink

logging.disable()


def sink_of(folder: Path) -> SpooledSink:
    return SpooledSink(
        LocalFileSink(folder / "stored"), folder / "spool", retry_s=(0.01, 0.05), grace_s=0, parallel=2
    )


async def record(folder: Path, run: int, told: int) -> None:
    """Until killed: recordings, one after another in two tasks; each that is safe is told."""
    sink = sink_of(folder)
    workspace = sink.workspace
    assert workspace is not None

    async def some(lane: int) -> None:
        for number in range(100_000):
            name = f"{run}-{lane}-{number}"
            path = workspace / f"{name}.wav"
            await asyncio.to_thread(path.write_bytes, name.encode() * 50)
            os.write(told, b"sent " + name.encode() + b"\n")
            await sink.on_recording_complete(RecordingMetadata(f"call-{name}", name, str(path)))
            os.write(told, b"safe " + name.encode() + b"\n")

    await asyncio.gather(some(0), some(1))


async def drain(folder: Path) -> None:
    async with sink_of(folder) as sink:
        if not await sink.flush(60):
            raise SystemExit("not drained in 60 s")


def main(folder: Path, runs: int, seed: int) -> dict[str, int]:
    told = kill_again_and_again(
        lambda run, far: record(folder, run, far), runs=runs, seed=seed, lives_s=(0.005, 0.12)
    )
    sent, safe = ({name for kind, name in told if kind == wanted} for wanted in ("sent", "safe"))
    asyncio.run(drain(folder))
    contents = [path.read_bytes().decode() for path in (folder / "stored").rglob("*.wav")]
    # One killed before its file was written is there, empty: it grew no further.
    stored = Counter(content[: len(content) // 50] for content in contents if content)
    return {
        "kills": runs,
        "sent": len(sent),
        "acknowledged": len(safe),
        "stored": len(stored),
        "lost": len(safe - stored.keys()),
        "duplicated": sum(stored.values()) - len(stored),
        "left": len(list((folder / "spool" / "files").iterdir())),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
