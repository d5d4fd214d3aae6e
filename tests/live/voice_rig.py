"""The Voice client against the real API of a real app on a real Asterisk, with a real telephone that is called."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from app_rig import Rig, running
from relay_rig import Ears, tone

from voxtra import AudioChunk, AudioCodec, CallSession
from voxtra.api import Api
from voxtra.relay.coding import FrameEncoder
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall
from voxtra.testing.talking_phone import TestPhone
from voxtra.voice import AudioBridge, Call, CallEvent, Voice
from voxtra.wire import AudioFormat, SoundFrame

sys.path.append(str(Path(__file__).resolve().parents[1] / "control"))

from control_rig import FixedKeys

FROM, TO, NEXT = "+15558675309", "+15551234567", "+15557654321"
TRUNK = {
    "id": "trunk_main", "endpoint": "PJSIP/{number}@phone2", "caller_ids": [FROM], "destinations": ["+1555"]
}  # fmt: skip
CAPS = {"calls_per_second": 100.0, "concurrent": 50}
ORDER: dict[str, Any] = {"to": TO, "from_": FROM, "trunk_id": "trunk_main"}

T = TypeVar("T")


async def aside(function: Callable[..., T], *args: Any, **options: Any) -> T:
    """The synchronous client, used beside the app's event loop."""
    return await asyncio.to_thread(function, *args, **options)


async def until(
    condition: Callable[[], object], what: str = "it did not come about", timeout: float = 15
) -> None:
    try:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


@dataclass
class Served:
    """An app with its API, a client, and the telephone that is called."""

    rig: Rig
    url: str
    v: Voice
    phone: TestPhone
    events: list[CallEvent] = field(default_factory=list)

    def client(self, key: str = "full", org: str = "org_abc") -> Voice:
        return Voice(base_url=self.url, api_key=key, org_id=org)

    async def originate(self, **given: Any) -> Call:
        return await aside(self.v.calls.originate, **ORDER | given)

    async def answered(self, **given: Any) -> tuple[Call, PhoneCall]:
        """A call, and the far end that has answered it."""
        call = await self.originate(**given)
        far = await self.phone.incoming()
        far.answer()
        await self.reached(call, "in_progress")
        return call, far

    async def reached(self, call: Call, *statuses: str, timeout: float = 15) -> str:
        async with asyncio.timeout(timeout):
            while (status := (await aside(self.v.calls.get, sid=call.sid)).status) not in statuses:
                await asyncio.sleep(0.05)
        return status

    async def follow(self, call: Call) -> None:
        """Keep the call's events."""
        for name in ("status", "turn_committed", "barge_in_confirmed", "backchannel_dropped"):
            await aside(call.on, name, self.events.append)

    def named(self, name: str) -> list[CallEvent]:
        return [event for event in self.events if event.name == name]


@contextlib.asynccontextmanager
async def served(
    asterisk: PrivateAsterisk, agents: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Served]:
    """An app with agents by id; afterwards nothing is left behind."""
    with tempfile.TemporaryDirectory() as folder:
        api = Api(port=0, keys=FixedKeys(), trunks=[TRUNK], caps=CAPS, relay_key=f"{folder}/relay.pem")
        async with running(asterisk, api=api, **options) as rig:
            for name, agent in (agents or {}).items():
                rig.app.agents[name] = agent
            async with TestPhone(asterisk, user="phone2", register=True) as phone:
                with Voice(base_url=api.url, api_key="full", org_id="org_abc") as v:
                    yield Served(rig, api.url, v, phone)
                    await asyncio.to_thread(v.close)


class Tapped(Ears):
    """What a bridge of the synchronous client hears."""

    def __init__(self, bridge: AudioBridge | None = None, form: AudioFormat | None = None) -> None:
        assert bridge or form
        super().__init__(form or bridge.format)  # type: ignore[union-attr]

    def __call__(self, frame: bytes, timestamp_us: int) -> None:
        self.frames.append(SoundFrame(timestamp_us, frame))


def packets(form: AudioFormat, pcm: bytes, rate: int = 8000) -> list[bytes]:
    """Sound as the frames of a format."""
    return [frame.payload for frame in FrameEncoder(form, rate).push(pcm, 0)]


class Hums:
    """An agent that hums, by the line as every real one, until it is told to leave."""

    def __init__(self, name: str, came: list[str], hz: float = 1000) -> None:
        self.name = name
        self.came = came
        self.sound = tone(hz, 0.5)

    async def __call__(self, call: CallSession) -> None:
        self.came.append(f"{self.name} came")
        try:
            while True:
                await call.send_audio(AudioChunk(self.sound, sample_rate=8000, codec=AudioCodec.PCM_S16LE))
                await asyncio.sleep(0.5)
        finally:
            self.came.append(f"{self.name} went")
