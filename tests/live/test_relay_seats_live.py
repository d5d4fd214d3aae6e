"""Callers by network: seats in a call with a real phone in it."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from app_rig import Rig
from relay_quic_peer import quic_attached
from relay_rig import SID, attached, over, relaying, share, tone

from voxtra import CallSession
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.types import AudioChunk, AudioCodec

pytestmark = pytest.mark.live

LAW = {"codec": "g711_ulaw"}


def chunk(hz: float, seconds: float) -> AudioChunk:
    return AudioChunk(tone(hz, seconds), sample_rate=8000, codec=AudioCodec.PCM_S16LE)


@pytest.mark.parametrize("way", ["websocket", "quic"])
async def test_a_caller_by_network_the_phone_the_app_and_a_tap_hear_each_other(
    asterisk: PrivateAsterisk, way: str
) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        for _ in range(60):
            await call.send_audio(chunk(1500, 0.5))
            await asyncio.sleep(0.5)

    attach = attached if way == "websocket" else quic_attached
    async with relaying(asterisk, handler, relay={"quic": True}) as it, it.call() as phone:
        async with attached(it.relay, **LAW) as tap, attach(it.relay, role="caller", **LAW) as caller:
            phone.play(tone(440, 4))
            await asyncio.gather(
                caller.say(tone(700, 4)),
                tap.hears(440, least=0.2), tap.hears(700, least=0.2),
                caller.hears(440, least=0.2), caller.hears(1500, least=0.2),
            )  # fmt: skip
            assert share(caller.pcm(), 700) < 0.05, "a caller does not hear themselves"
            assert share(tap.pcm(), 1500) < 0.05, "the uplink is not what the app says"
        heard = phone.received_pcm()
        assert share(heard, 700) > 0.2
        assert share(heard, 1500) > 0.2
        await phone.hangup()


async def test_two_callers_hear_each_other_and_one_leaves(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.call() as phone:
        async with attached(it.relay, role="caller", **LAW) as one:
            async with attached(it.relay, role="caller", **LAW) as two:
                await asyncio.gather(
                    one.say(tone(500, 2)), two.say(tone(900, 2)), one.hears(900), two.hears(500)
                )
            phone.play(tone(440, 2))
            since = len(one.frames)
            await one.hears(440)
            await asyncio.sleep(0.5)
            assert share(one.pcm(since + 50), 900) < 0.05
            assert len(await it.rig.app.ari.channels.list()) == 3  # phone, the app's line, one seat
        await asyncio.sleep(0.3)
        assert len(await it.rig.app.ari.channels.list()) == 2
        await phone.hangup()


async def test_a_seat_goes_into_a_bridge_with_its_call_and_back(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.call() as phone, it.rig.phone("phone2") as other_phone:
        other = await other_phone.dial("100")
        await other.answered()
        first, second = await it.known(), await it.known(f"{SID}-2")
        async with attached(it.relay, role="caller", **LAW) as caller:
            await first.bridge_with(second)
            other.play(tone(1500, 3))
            phone.play(tone(440, 3))
            await asyncio.gather(
                caller.say(tone(700, 3)), caller.hears(1500, least=0.2), caller.hears(440, least=0.2)
            )
            assert share(other.received_pcm(), 700) > 0.2
            await other.hangup()
            await asyncio.sleep(0.5)
            since = len(caller.frames)
            phone.play(tone(600, 2))
            await caller.hears(600)
            assert share(caller.pcm(since), 1500) < 0.05
        await phone.hangup()


async def test_a_seat_or_a_line_that_asterisk_drops_is_opened_again(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.call() as phone:
        async with attached(it.relay, **LAW) as tap, attached(it.relay, role="caller", **LAW) as caller:
            phone.play(tone(440, 1.5))
            await asyncio.gather(tap.hears(440), caller.hears(440))
            ari = it.rig.app.ari
            ours = [c.id for c in await ari.channels.list() if c.id.startswith("vx-")]
            assert len(ours) == 2
            for channel in ours:
                await ari.channels.hangup(channel_id=channel)
            await asyncio.sleep(1.0)
            phone.play(tone(600, 3))
            await asyncio.gather(tap.hears(600), caller.hears(600), tap.say(tone(900, 2)))
            await asyncio.sleep(0.3)
            assert share(phone.received_pcm(), 900) > 0.6
            anew = [c.id for c in await ari.channels.list() if c.id.startswith("vx-")]
            assert len(anew) == 2
            assert not {*anew} & {*ours}
            for peer in (tap, caller):
                times = [frame.timestamp_us for frame in peer.frames]
                assert all(b - a >= 20_000 for a, b in pairwise(times)), "never back"
        await phone.hangup()


async def test_a_hang_up_ends_seats_too(asterisk: PrivateAsterisk) -> None:
    async def handler(call: CallSession, rig: Rig) -> None:
        await over(call)

    async with relaying(asterisk, handler) as it, it.call() as phone:
        async with attached(it.relay, role="caller", **LAW) as caller, attached(it.relay, **LAW) as tap:
            await asyncio.sleep(0.3)
            await phone.hangup()
            assert await caller.closed() == 4410
            assert await tap.closed() == 4410
        await it.rig.nothing_left()
