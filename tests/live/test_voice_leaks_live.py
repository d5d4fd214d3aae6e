"""Many short calls with bridges, and everything that may be cut off in between: nothing of them remains."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from typing import Any

import pytest
from relay_rig import tone
from voice_rig import ORDER, Served, packets, served

from voxtra import CallSession
from voxtra.api import Api
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall
from voxtra.testing.talking_phone import TestPhone
from voxtra.voice import AsyncVoice, VoiceError
from voxtra.wire import AudioFormat

pytestmark = pytest.mark.live
WAYS = ("closed", "hung up first", "dropped", "hung up while it attaches", "both roles")


async def answering(phone: TestPhone, calls: set[PhoneCall]) -> None:
    while True:
        call = await phone.incoming(timeout=600)
        calls.add(call)
        call.answer()


async def short(v: AsyncVoice, way: str, transport: Any, wait_s: float) -> None:
    """One call with a bridge, ended in some way."""
    call = await v.calls.originate(**ORDER)
    async with asyncio.timeout(30):
        while (status := (await v.calls.get(sid=call.sid)).status) in ("dialing", "ringing"):
            await asyncio.sleep(0.02)
    assert status == "in_progress"
    options: dict[str, Any] = {"codec": "pcm16", "sample_rate": 16000, "transport": transport}
    heard: list[bytes] = []

    def hear(frame: bytes, timestamp_us: int) -> None:
        heard.append(frame)

    if way == "hung up while it attaches":
        attaching = asyncio.ensure_future(v.audio_bridge.attach(call.sid, on_uplink=hear, **options))
        await asyncio.sleep(wait_s)
        await call.hangup()
        with contextlib.suppress(VoiceError):
            await (await attaching).close()
        return
    bridge = await v.audio_bridge.attach(call.sid, on_uplink=hear, **options)
    for packet in packets(AudioFormat(codec="pcm16", sample_rate=16000), tone(500, 0.2)):
        bridge.publish_downlink(packet)
    if way == "both roles":
        seat = await v.audio_bridge.attach_caller(call.sid, on_downlink=hear, **options)
        await asyncio.sleep(0.1)
        await seat.close()
    await asyncio.sleep(0.1)
    if way == "dropped":
        del bridge
    elif way in ("closed", "both roles"):
        await bridge.close()
    await call.hangup()


def belongings() -> tuple[int, int]:
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def living_sessions() -> int:
    return sum(type(each) is CallSession for each in gc.get_objects())


async def test_short_calls_with_bridges_leave_nothing(asterisk: PrivateAsterisk) -> None:
    rounds = int(os.environ.get("VOXTRA_SHORT_CALLS", "24"))
    async with served(asterisk) as it:
        phones: set[PhoneCall] = set()
        answers = asyncio.ensure_future(answering(it.phone, phones))
        async with AsyncVoice(base_url=it.url, api_key="full", org_id="org_abc") as v:
            await some(v, len(WAYS) * 2)  # what is loaded and opened once is there
            await at_rest(it)
            before = belongings(), len(asyncio.all_tasks())
            sessions = living_sessions()
            await some(v, rounds)
            await at_rest(it)
            for _ in range(100):
                after = belongings(), len(asyncio.all_tasks())
                if after[1] <= before[1] and after[0][1] <= before[0][1] + 4:
                    break
                await asyncio.sleep(0.2)
            assert after[1] <= before[1], (before, after)
            assert after[0][1] <= before[0][1] + 4, (before, after)
            assert after[0][0] <= before[0][0] + 2, (before, after)
            assert living_sessions() <= sessions + 4  # rows of calls that are over remain, the calls don't
        answers.cancel()
        assert await asyncio.gather(answers, return_exceptions=True)


async def some(v: AsyncVoice, number: int) -> None:
    at_once = asyncio.Semaphore(4)

    async def one(n: int) -> None:
        async with at_once:
            transport = ("websocket", "quic")[n // len(WAYS) % 2]
            await short(v, WAYS[n % len(WAYS)], transport, wait_s=0.004 * (n // len(WAYS) % 12))

    async with asyncio.TaskGroup() as group:
        for n in range(number):
            group.create_task(one(n))


async def at_rest(it: Served) -> None:
    """Nothing is left of any call: in Asterisk, at the desk, at the gate, in the relay."""
    api = it.rig.app.api
    assert isinstance(api, Api)
    desk, relay = api.desk, api.relay
    assert relay is not None
    await it.rig.nothing_left(timeout=20)

    def left() -> dict[str, Any]:
        there = {
            "running": desk._running,
            "busy": desk._busy,
            "work": desk._work,
            "admitted": [a for account in desk.gate._accounts.values() for a in account.live],
            "trunks": desk.gate._trunks,
            "attached": relay.stats.attached,
            "sounds": relay._reception._calls,
            "outgoing": relay._udp._outgoing if relay._udp is not None else {},
            "sessions": relay._udp._sessions if relay._udp is not None else set(),
            "open": relay._tcp._open if relay._tcp is not None else set(),
        }
        return {name: value for name, value in there.items() if value}

    try:
        async with asyncio.timeout(20):
            while left():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still there: {left()}") from None
