"""Publishers that flood: what one call may cost, and that others have their turn."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest
from relay_fakes import FakeCalls, FakeSession

from voxtra.relay import Limits, Relay
from voxtra.relay.allowance import CALL_BURST
from voxtra.relay.publisher import TURN, Publisher
from voxtra.relay.reception import Reception
from voxtra.relay.sound import Sound
from voxtra.tokens import RelayKeys
from voxtra.voice.moq_session import MoqSession
from voxtra.wire import AudioFormat, SoundFrame, pack

SID = "call-0001"
KEYS = RelayKeys.create()
FORM = AudioFormat(codec="g711_ulaw", frame_ms=20)


def message(number: int) -> bytes:
    return pack(SoundFrame(number * 20_000, b"\xff" * 160))


async def test_a_publisher_whose_messages_have_all_come_lets_others_have_their_turn() -> None:
    call = FakeSession()
    sound = Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    publisher = Publisher(Reception(FakeCalls(), KEYS), sound, FORM)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    for number in range(20 * TURN):
        await publisher.take(message(number))
    assert turns >= 19
    task.cancel()
    publisher.close()
    await sound.close()


async def test_thirty_publishers_of_one_call_send_no_more_than_it_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("voxtra.relay.publisher.SLOW_S", 0.0)
    call = FakeSession()
    sound = Sound(call, call.open_line)  # type: ignore[arg-type]
    await sound.opened()
    reception = Reception(FakeCalls(), KEYS)
    began = asyncio.get_running_loop().time()
    publishers = [Publisher(reception, sound, FORM) for _ in range(30)]
    for publisher in publishers:
        for number in range(CALL_BURST // 20):
            await publisher.take(message(number))
    elapsed = asyncio.get_running_loop().time() - began
    assert len(call.lines[0].played) // 320 <= CALL_BURST + 1000 * elapsed
    assert reception.stats.frames_flooded > 0
    await sound.close()


async def test_a_token_opens_as_many_connections_as_a_call_takes_and_rubbish_none() -> None:
    call = FakeSession()
    token = KEYS.sign("acme", SID)[0]
    async with (
        Relay(FakeCalls(**{SID: call}), KEYS, quic=False) as relay,
        aiohttp.ClientSession() as http,
        contextlib.AsyncExitStack() as stack,
    ):
        where = f"{relay.websocket_url}/voice"

        async def connect(url: str) -> int | None:
            """The code it is closed with, None when it is let in."""
            ws = await stack.enter_async_context(http.ws_connect(url))
            first = await ws.receive(timeout=10)
            return None if first.type is aiohttp.WSMsgType.TEXT else ws.close_code

        codes = [await connect(f"{where}/{SID}?tok={token}") for _ in range(35)]
        assert codes == [None] * 32 + [4429] * 3
        for url, code in (
            (f"{where}/{SID}", 4401),
            (f"{where}/{SID}?tok={KEYS.sign('evil', SID)[0]}", 4404),
            (f"{where}/call-0002?tok={token}", 4401),
            (f"{where}/{SID}%2F..%2Fcall-0002?tok={token}", 4404),
            (f"{where}/%2A?tok={token}", 4404),
            (f"{where}/{SID}?tok={token}&role=caller%00", 4400),
            (f"{where}/{SID}?tok={token}%00", 4401),
        ):
            assert await connect(url) == code, url
        assert relay.stats.attached == 32
        call.end()
        async with asyncio.timeout(10):
            while relay.stats.attached:
                await asyncio.sleep(0.01)
        assert relay._reception._calls == {}


@pytest.mark.parametrize(
    ("sid", "query", "says", "final"),
    [
        (SID, "", "the token is not taken", False),
        (SID, f"tok={KEYS.sign('evil', SID)[0]}", "there is no such call", True),
        (SID, f"nonsense=1&tok={KEYS.sign('acme', SID)[0]}", "the relay closed with 400", True),
        (SID, f"tok={KEYS.sign('acme', SID)[0]}", "the relay closed with 429", False),
    ],
)
async def test_why_the_client_is_refused_over_quic(sid: str, query: str, says: str, final: bool) -> None:
    """A relay that is full is tried again: the old connection of one that broke may still count."""
    async with Relay(FakeCalls(**{SID: FakeSession()}), KEYS, limits=Limits(per_call=0)) as relay:
        session = await MoqSession.connect(f"{relay.quic_url}/voice/{sid}?{query}", relay.fingerprints)
        try:
            async with asyncio.timeout(10):
                why = await session.ended()
        finally:
            await session.close()
        assert (str(why), why.final) == (says, final)
