"""Kills a process that writes records of calls, at random moments, and counts what is there in the end.

    python tests/recording/record_kills.py FOLDER RUNS SEED

Prints JSON: kills, begun, acknowledged (the record's ``finish`` had returned), stored, lost (acknowledged and not
stored whole), duplicated, cut (calls under way when the process died, of which there is what had happened), left
(files in the spool).
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

from voxtra.events import CallEndedEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.recording import CallRecords, LocalFileSink, records
from voxtra.recording.spooled import SpooledSink

logging.disable()


def records_of(folder: Path) -> CallRecords:
    sink = LocalFileSink(folder / "stored")
    return CallRecords(
        SpooledSink(sink, folder / "spool", retry_s=(0.01, 0.05), grace_s=0, parallel=2), page=False
    )


async def call(kept: CallRecords, name: str, told: int) -> None:
    """One call, in which a few things happen."""
    record = kept.begin({"id": name})
    record(VoxtraEvent(type=EventType.SESSION_CREATED))
    os.write(told, b"begun " + name.encode() + b"\n")
    for number in range(3):
        record(UserTranscriptEvent(text=f"word {number}"))
        await asyncio.sleep(0.004)
    record(CallEndedEvent(reason="hangup"))
    await record.finish()
    os.write(told, b"safe " + name.encode() + b"\n")


async def live(folder: Path, run: int, told: int) -> None:
    """Until killed: calls, some at once."""
    records.DRAFT_S = 0.003
    kept = records_of(folder)
    await kept.start()

    async def lane(lane: int) -> None:
        for number in range(100_000):
            await call(kept, f"{run}-{lane}-{number}", told)

    await asyncio.gather(lane(0), lane(1), lane(2))


async def drain(folder: Path) -> None:
    kept = records_of(folder)
    await kept.start()
    assert isinstance(kept.sink, SpooledSink)
    if not await kept.sink.flush(60):
        raise SystemExit("not drained in 60 s")
    await kept.close()


def main(folder: Path, runs: int, seed: int) -> dict[str, int]:
    told = kill_again_and_again(
        lambda run, far: live(folder, run, far), runs=runs, seed=seed, lives_s=(0.02, 0.15)
    )
    begun, safe = ({name for kind, name in told if kind == wanted} for wanted in ("begun", "safe"))
    asyncio.run(drain(folder))
    found = [json.loads(path.read_text()) for path in (folder / "stored").rglob("*.json")]
    whole = Counter(each["call"]["id"] for each in found if each["call"]["ended"])
    cut = {each["call"]["id"] for each in found if not each["call"]["ended"]}
    return {
        "kills": runs,
        "begun": len(begun),
        "acknowledged": len(safe),
        "stored": len(whole),
        "lost": len(safe - whole.keys()),
        "duplicated": sum(whole.values()) - len(whole) + len(cut & whole.keys()),
        "cut": len(cut),
        "left": sum(len(list((folder / "spool" / part).iterdir())) for part in ("files", "incoming", "out")),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
