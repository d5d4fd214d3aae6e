"""The client for event loops: the same, awaited."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable

import pytest
from fake_engine import KEY, ORG, FakeEngine

from voxtra import voice
from voxtra.voice import AsyncCall, AsyncVoice, VoiceError


@pytest.fixture
async def v(engine: FakeEngine) -> AsyncIterator[AsyncVoice]:
    async with AsyncVoice(base_url=engine.url + "/", api_key=KEY, org_id=ORG) as client:
        yield client
    await soon(lambda: not [task for task in asyncio.all_tasks() if " of call_" in task.get_name()])


@pytest.fixture
async def call(v: AsyncVoice) -> AsyncCall:
    return await v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")


async def soon(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    "name", ["Voice", "Calls", "Call", "Agents", "AudioBridges", "AudioBridge", "Inference"]
)
def test_it_has_the_same_names_and_arguments(name: str) -> None:
    plain, twin = getattr(voice, name), getattr(voice, f"Async{name}")
    public = [each for each in dir(plain) if not each.startswith("_")]
    assert public == [each for each in dir(twin) if not each.startswith("_")]
    for each in [*public, "__init__"] if name in ("Voice", "Inference") else public:
        if callable(getattr(plain, each)):
            mine, its = inspect.signature(getattr(plain, each)), inspect.signature(getattr(twin, each))
            assert list(mine.parameters) == list(its.parameters)
            assert [p.default for p in mine.parameters.values()] == [
                p.default for p in its.parameters.values()
            ]


async def test_a_call(v: AsyncVoice, engine: FakeEngine, call: AsyncCall) -> None:
    assert (call.status, v.base_url, v.org_id) == ("dialing", engine.url, ORG)
    await call.transfer("+15557654321")
    await call.transfer(agent="billing-bot")
    with pytest.raises(VoiceError, match="exactly one"):
        await call.transfer()
    await v.agents.attach(call.sid, {"modelCodec": "opus"})
    await v.agents.detach(call.sid)
    await asyncio.to_thread(engine.happen, call.sid, "status", status="in_progress")
    assert (await call.refresh()).status == "in_progress"
    engine.fail = [("GONE", "the call has ended")]
    await call.hangup()
    assert (await v.calls.get(sid=call.sid)).sid == call.sid
    with pytest.raises(VoiceError, match="did you mean 'sid'"):
        await v.calls.get(sdi=call.sid)  # type: ignore[call-arg]


async def test_events_to_functions_and_coroutine_functions(engine: FakeEngine, call: AsyncCall) -> None:
    statuses: list[str] = []
    later: list[str] = []

    async def slowly(status: str) -> None:
        await asyncio.sleep(0.01)
        later.append(status)

    call.on_status(statuses.append)
    call.on_status(slowly)
    for status in ("ringing", "in_progress", "completed"):
        await asyncio.to_thread(engine.happen, call.sid, "status", status=status)
    await soon(lambda: len(later) == 3)
    assert statuses == later == ["ringing", "in_progress", "completed"]


async def test_a_bridge(v: AsyncVoice, engine: FakeEngine, call: AsyncCall) -> None:
    heard: list[bytes] = []

    async def on_uplink(frame: bytes, timestamp_us: int) -> None:
        heard.append(frame)

    async with await v.audio_bridge.attach(call.sid, on_uplink=on_uplink, codec="pcm16") as bridge:
        await asyncio.to_thread(engine.say, b"hi", 1)
        bridge.publish_downlink(bytes(1920))
        await soon(lambda: heard and engine.sockets[0].frames)
        assert (bridge.call_sid, bridge.format.codec, bridge.closed) == (call.sid, "pcm16", False)
        bridge.on_uplink(None)
    assert (bridge.closed, bridge.dropped, bridge.reconnected) == (True, 0, 0)
    caller = await v.audio_bridge.attach_caller(call.sid)
    caller.on_downlink(lambda frame, _: heard.append(frame))
    caller.publish_uplink(b"x")
    await asyncio.to_thread(engine.say, b"ho", 1)
    await soon(lambda: heard == [b"hi", b"ho"])
    await caller.close()


async def test_dropping_the_last_reference_closes_it_at_once(
    v: AsyncVoice, engine: FakeEngine, call: AsyncCall
) -> None:
    bridge = await v.audio_bridge.attach(call.sid, on_uplink=print)
    gc.disable()
    try:
        del bridge
        await soon(engine.sockets[0].closed.is_set)
    finally:
        gc.enable()


async def test_after_close(v: AsyncVoice, call: AsyncCall) -> None:
    await v.close()
    with pytest.raises(VoiceError, match="closed"):
        await call.refresh()


async def test_a_callback_may_close_its_bridge_and_go_on(
    v: AsyncVoice, engine: FakeEngine, call: AsyncCall
) -> None:
    done: list[str] = []

    async def on_uplink(frame: bytes, timestamp_us: int) -> None:
        await bridge.close()
        await call.hangup()
        done.append("hung up")

    bridge = await v.audio_bridge.attach(call.sid, on_uplink=on_uplink)
    await asyncio.to_thread(engine.say, b"hi", 1)
    await soon(lambda: done)


async def test_close_ends_the_streams_of_events(engine: FakeEngine) -> None:
    statuses: list[str] = []
    async with AsyncVoice(base_url=engine.url, api_key=KEY, org_id=ORG) as client:
        call = await client.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")
        call.on_status(statuses.append)
        await asyncio.to_thread(engine.happen, call.sid, "status", status="ringing")
        await soon(lambda: statuses)
    assert not [task for task in asyncio.all_tasks() if "events of" in task.get_name()]
    with pytest.raises(VoiceError, match="closed"):
        call.on_status(print)


async def test_no_request_waits_for_streams(engine: FakeEngine) -> None:
    async with AsyncVoice(base_url=engine.url, api_key=KEY, org_id=ORG, timeout_s=5) as client:
        order = {"to": "+15551234567", "from_": "+15558675309", "trunk_id": "trunk_main"}
        call = await client.calls.originate(**order)
        for _ in range(101):
            (await client.calls.get(sid=call.sid)).on_status(print)
        await soon(lambda: len(engine.event_requests) == 101)
        assert (await client.calls.get(sid=call.sid)).sid == call.sid
