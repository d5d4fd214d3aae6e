"""The app of the benchmark ``relay``: holds its calls, and lets clients at their sound."""

from __future__ import annotations

import time

from benchmarks.process import Answer, run_child, serve
from voxtra import CallSession, VoxtraApp
from voxtra.relay import Relay
from voxtra.serving import spare_collector
from voxtra.tokens import RelayKeys

ORG = "bench"


class Worker:
    """The app, its relay, and what is asked about them. A call's sid is the extension it dialled and a number."""

    def __init__(self) -> None:
        self.app = VoxtraApp()
        self.app.default()(self.hold)
        self.calls: dict[str, CallSession] = {}
        self.keys = RelayKeys.create()
        self.relay = Relay(self, self.keys)

    def find(self, org: str, sid: str) -> CallSession | None:
        """For the relay."""
        return self.calls.get(sid)

    async def hold(self, call: CallSession) -> None:
        """Every call: answer it and listen, as an app does that has nothing to say."""
        await call.answer()
        line = await call.open_line()
        sid = next(sid for n in range(10_000) if (sid := f"{call.called_number}-{n:04}") not in self.calls)
        self.calls[sid] = call
        try:
            await line.closed
        finally:
            del self.calls[sid]

    async def start(self) -> Answer:
        """Start both."""
        await self.app.start()
        await self.relay.start()
        spare_collector()
        return {
            "websocket": self.relay.websocket_url,
            "quic": self.relay.quic_url,
            "fingerprints": self.relay.fingerprints,
        }

    async def stop(self) -> Answer:
        """Stop both."""
        await self.relay.close()
        await self.app.stop()
        return {}

    async def clear(self) -> Answer:
        """End all calls."""
        for call in list(self.calls.values()):
            await call.hangup()
        return {}

    async def usage(self) -> Answer:
        """CPU and calls, now."""
        return {"cpu": time.process_time(), "at": time.monotonic(), "active": len(self.calls)}

    async def stats(self) -> Answer:
        """What the relay has counted."""
        stats = self.relay.stats
        return {
            "attached": stats.attached,
            "out": stats.frames_out,
            "in": stats.frames_in,
            "lost": stats.frames_unread + stats.frames_flooded + stats.frames_late,
        }

    async def grants(self) -> Answer:
        """Path and query of every call."""
        found = {sid: f"/voice/{sid}?tok={self.keys.sign(ORG, sid)[0]}" for sid in self.calls}
        return {"paths": found}


async def main() -> None:
    worker = Worker()
    await serve({n: getattr(worker, n) for n in ("start", "stop", "usage", "stats", "grants", "clear")})


if __name__ == "__main__":
    run_child(main)
