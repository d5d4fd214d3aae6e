"""What happens to the audio bridge when calls, clients and networks misbehave. With a real phone."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import moq
import pytest
from app_rig import Rig
from relay_quic_peer import quic_attached
from relay_rig import KEYS, SID, Calls, address, attached, over, refused, relaying, share, tone

from voxtra import CallSession
from voxtra.relay import Limits, Relay
from voxtra.relay.coding import FrameEncoder
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.tokens import RelayKeys
from voxtra.wire import AudioFormat, pack

pytestmark = pytest.mark.live

LAW = {"codec": "g711_ulaw"}
QUIC = {"quic": True}


def signed(org: str = "acme", sid: str = SID, **options: object) -> str:
    return KEYS.sign(org, sid, **options)[0]  # type: ignore[arg-type]


def expired() -> str:
    import jwt

    claims = {"iss": "voxtra", "sub": "acme", "ns": [f"voice/{SID}/*"], "exp": int(time.time()) - 60}
    return jwt.encode(claims, KEYS._key, algorithm="EdDSA")


async def test_who_may_not_is_told_why_and_nothing_is_started(asterisk: PrivateAsterisk) -> None:
    wrong = [
        ({"token": ""}, 4401, "no token"),
        ({"token": "x.y.z"}, 4401, "not one of this relay's"),
        ({"token": RelayKeys.create().sign("acme", SID)[0]}, 4401, "not one of this relay's"),
        ({"token": expired()}, 4401, "expired"),
        ({"token": signed(sid="call-0002")}, 4401, "another call"),
        ({"token": signed(org="evil")}, 4404, "no living call"),
        ({"token": signed(role="caller"), "role": "server"}, 4401, "role caller"),
        ({"sid": "call-0002"}, 4404, "no living call"),
        ({"codec": "mp3"}, 4400, "codec='mp3'"),
        ({"codec": "g711_ulaw", "sampleRate": 16000}, 4400, "8000"),
    ]
    async with relaying(asterisk, relay=QUIC) as it, it.call() as phone:
        for query, code, words in wrong:
            got, reason = await refused(it.relay, **query)
            assert (got, words in reason) == (code, True), (query, got, reason)
            async with quic_attached(it.relay, **query) if code != 4400 else _none() as peer:
                if peer is not None:
                    with pytest.raises(moq.Error) as error:
                        await asyncio.wait_for(peer.client.session.closed(), 5)
                    assert moq.is_auth(error.value) == (code == 4401)
                    peer.reader.cancel()
        assert len(await it.rig.app.ari.channels.list()) == 1, "no line was opened for them"
        assert it.relay.stats.admitted == 0
        assert it.relay.stats.refused == len(wrong) + 8
        await phone.hangup()


class _none:
    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *exc: object) -> None:
        return None


async def test_before_the_answer_and_across_it(asterisk: PrivateAsterisk) -> None:
    """Attached while it rings: what is said then is heard from its first sample at the answer."""
    answer = asyncio.Event()

    async def handler(call: CallSession, rig: Rig) -> None:
        await answer.wait()
        await call.answer()
        await over(call)

    async with relaying(asterisk, handler, answer=False) as it, it.rig.phone() as phone:
        call = await phone.dial("100")
        await it.known()
        async with attached(it.relay, **LAW) as tap, attached(it.relay, role="caller", **LAW) as caller:
            await tap.say(tone(700, 1.0), pace=0)
            await asyncio.sleep(0.5)
            answer.set()
            await call.answered()
            call.play(tone(440, 3))
            await asyncio.gather(tap.hears(440), caller.hears(440))
            await asyncio.sleep(0.5)
            pcm = call.received_pcm()
            assert share(pcm, 700, seconds=0.9) > 0.6
        await call.hangup()


async def test_a_call_placed_is_attached_to_while_it_rings(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.rig.phone("phone2") as phone:
        await phone.register()
        session = await it.rig.app.originate("PJSIP/phone2", wait=False)
        it.calls.living["acme", SID] = session
        call = await phone.incoming()
        call.ringing()
        async with attached(it.relay, **LAW) as tap, attached(it.relay, role="caller", **LAW) as caller:
            await asyncio.sleep(0.5)
            call.answer()
            call.play(tone(440, 4))
            await asyncio.gather(
                tap.hears(440), caller.hears(440), tap.say(tone(900, 2)), caller.say(tone(1500, 2))
            )
            await asyncio.sleep(0.3)
            assert share(call.received_pcm(), 900) > 0.3
            assert share(call.received_pcm(), 1500) > 0.3
            await call.hangup()
            assert await tap.closed() == 4410


@pytest.mark.parametrize("by", ["phone", "app"])
async def test_a_hang_up_drops_both_tracks(asterisk: PrivateAsterisk, by: str) -> None:
    async with relaying(asterisk, relay=QUIC) as it, it.call() as phone:
        async with attached(it.relay, **LAW) as one, quic_attached(it.relay, **LAW) as two:
            await asyncio.wait_for(two.subscribed.wait(), 5)
            if by == "phone":
                await phone.hangup()
            else:
                await it.rig.calls[0].hangup()
            assert await one.closed() == 4410
            with pytest.raises(moq.Error):
                await asyncio.wait_for(two.client.session.closed(), 5)
            await asyncio.wait({two.reader}, timeout=5)
            assert two.reader.done(), "the track has ended"
        assert (await refused(it.relay))[0] == 4404
        await it.nobody()


@pytest.mark.parametrize("way", ["websocket", "quic"])
async def test_a_flood_harms_nobody(asterisk: PrivateAsterisk, way: str) -> None:
    attach = attached if way == "websocket" else quic_attached
    limits = Limits(waiting_s=3.0)
    async with relaying(asterisk, relay={**QUIC, "limits": limits}) as it, it.call() as phone:
        async with attached(it.relay, **LAW) as tap, attach(it.relay, **LAW) as flooder:
            phone.play(tone(440, 6))
            began = len(tap.frames)
            flood = asyncio.create_task(flooder.say(tone(700, 200), pace=0))
            await asyncio.sleep(3)
            assert len(tap.frames) - began > 120, "who listens loses nothing"
            await tap.hears(440)
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)
        stats = it.relay.stats
        assert stats.frames_flooded > 0
        line = it.rig.calls[0]._live.media.line
        assert line.ms(line.queued - line.heard) < 4000
        await phone.hangup()


async def test_sound_held_up_on_the_way_is_dropped(asterisk: PrivateAsterisk) -> None:
    """A network that stalls for two seconds: what was said in them is gone, and no delay remains."""
    form = AudioFormat(codec="g711_ulaw")
    async with relaying(asterisk) as it, it.call() as phone:
        async with attached(it.relay, **LAW) as peer:
            frames = FrameEncoder(form, 8000).push(tone(700, 1) + tone(1500, 2) + tone(900, 2), 0)
            for frame in frames[:50]:
                await peer.socket.send_bytes(pack(frame))
                await asyncio.sleep(0.02)
            await asyncio.sleep(2)
            for frame in frames[50:]:
                await peer.socket.send_bytes(pack(frame))
                if frame.timestamp_us > 3_000_000:
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.5)
        pcm = phone.received_pcm()
        assert share(pcm, 700) > 0.6
        assert share(pcm, 900) > 0.6
        assert share(pcm, 1500, seconds=0.8) < 0.7, "no more than half a second of it"
        assert it.relay.stats.frames_late >= 60
        await phone.hangup()


async def test_a_subscriber_that_does_not_read_is_dropped_from(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.call() as phone:
        phone.play(tone(440, 12))
        url = address(it.relay, codec="pcm16", sampleRate=48000)
        async with (
            attached(it.relay, **LAW) as tap,
            aiohttp.ClientSession() as http,
            http.ws_connect(url) as deaf,
        ):
            before = len(tap.frames)
            deaf._conn.transport.pause_reading()  # type: ignore[union-attr]
            async with asyncio.timeout(25):
                while it.relay.stats.frames_unread < 10:
                    await asyncio.sleep(0.1)
            assert len(tap.frames) - before > 40
            deaf._conn.transport.resume_reading()  # type: ignore[union-attr]
            await asyncio.sleep(0.5)
        await phone.hangup()


async def test_reconnecting_while_the_call_goes_on(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk, relay=QUIC) as it, it.call() as phone:
        for hz in (500, 700, 900):
            attach = quic_attached if hz == 700 else attached
            async with attach(it.relay, **LAW) as peer:
                phone.play(tone(hz, 2))
                await asyncio.gather(peer.hears(hz), peer.say(tone(hz + 1000, 1)))
                phone.stop_playing()
                await asyncio.sleep(0.3)
            assert share(phone.received_pcm(), hz + 1000) > 0.6
        await it.nobody()
        assert it.relay._reception._calls == {}
        await phone.hangup()


async def test_the_relay_stops_and_starts_while_the_call_goes_on(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk, relay=QUIC) as it, it.call() as phone:
        calls = Calls(it.calls.living)
        async with Relay(calls, KEYS) as second:
            port = int(second.websocket_url.rsplit(":", 1)[1])  # type: ignore[union-attr]
            assert second.quic_url == f"https://127.0.0.1:{port}", "one number for both"
            async with attached(second, **LAW) as one, quic_attached(second, **LAW) as two:
                await asyncio.wait_for(two.subscribed.wait(), 5)
                await second.close()
                assert await one.closed() == 1001
                with pytest.raises(moq.Error):
                    await asyncio.wait_for(two.client.session.closed(), 5)
                two.reader.cancel()
        async with Relay(calls, KEYS, port=port) as third, attached(third, **LAW) as peer:
            phone.play(tone(440, 2))
            await peer.hears(440)
        assert it.rig.calls[0].is_active
        await phone.hangup()


async def test_on_hold_there_is_silence_and_then_sound_again(asterisk: PrivateAsterisk) -> None:
    async with relaying(asterisk) as it, it.call() as phone, attached(it.relay, **LAW) as tap:
        call = await it.known()
        phone.play(tone(440, 8))
        await tap.hears(440)
        await call.hold()
        await asyncio.sleep(0.5)
        since = len(tap.frames)
        await asyncio.sleep(1)
        assert share(tap.pcm(since), 440) < 0.05
        await call.unhold()
        await tap.hears(440)
        await phone.hangup()


async def test_too_many_and_bad_frames(asterisk: PrivateAsterisk) -> None:
    limits = Limits(per_call=2, seats=1)
    async with relaying(asterisk, relay={"limits": limits}) as it, it.call() as phone:
        async with attached(it.relay, role="caller", **LAW):
            assert (await refused(it.relay, role="caller"))[0] == 4429
            async with attached(it.relay, codec="pcm16", sampleRate=8000):
                assert (await refused(it.relay))[0] == 4429
        for message in (b"short", bytes(8) + b"odd", bytes(9000), "text"):
            async with attached(it.relay, codec="pcm16", sampleRate=8000) as peer:
                await (peer.socket.send_str if isinstance(message, str) else peer.socket.send_bytes)(message)
                assert await peer.closed() in (4400, 1009)
        assert it.rig.calls[0].is_active
        assert it.relay.stats.malformed == 2
        await phone.hangup()
