"""The app of the benchmark ``control``: its calls, and the HTTP API about them."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

from benchmarks.process import Answer, run_child, serve
from voxtra import CallSession, VoxtraApp
from voxtra.api import Api
from voxtra.control.keys import KeyRing
from voxtra.serving import spare_collector

ORG = "bench"
TRUNK = {
    "id": "trunk",
    "endpoint": "PJSIP/{number}@phone2",
    "caller_ids": ["+15558675309"],
    "destinations": ["US"],
    "channels": 10_000,
}


class Worker:
    """The app and its API."""

    def __init__(self, folder: Path) -> None:
        ring = KeyRing(folder / "keys.json")
        self.key = ring.create(ORG)
        self.api = Api(
            0, keys=ring, org=ORG, trunks=[TRUNK], relay=False, requests_per_second=100_000.0,
            caps={"calls_per_second": 1000.0, "concurrent": 10_000},
        )  # fmt: skip
        self.app = VoxtraApp(api=self.api)
        self.app.default()(self.hold)

    async def hold(self, call: CallSession) -> None:
        """Every inbound call: answer it and listen, as an app does that has nothing to say."""
        await call.answer()
        line = await call.open_line()
        await line.closed

    async def start(self) -> Answer:
        """Start, and tell where."""
        await self.app.start()
        spare_collector()
        return {}

    async def where(self) -> Answer:
        """The API's address, and a key."""
        return {"url": self.api.url, "key": self.key}

    async def stop(self) -> Answer:
        """End."""
        await self.app.stop(0)
        return {}

    async def usage(self) -> Answer:
        """CPU and calls, now."""
        active = sum(call.duration > 0 for call in self.app.active_sessions)
        return {"cpu": time.process_time(), "at": time.monotonic(), "active": active}


async def main() -> None:
    """Until the parent has had enough."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        worker = Worker(Path(folder))
        names = ("start", "where", "stop", "usage")
        await serve({name: getattr(worker, name) for name in names})


if __name__ == "__main__":
    run_child(main)
