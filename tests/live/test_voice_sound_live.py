"""The Voice client's audio bridge, against a real Asterisk and a telephone: who hears whom is told by tones."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from relay_rig import share, tone
from voice_rig import Hums, Tapped, aside, packets, served, until

from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.voice import VoiceError
from voxtra.wire import AudioFormat

pytestmark = pytest.mark.live

FORMATS = [("opus", 48000), ("pcm16", 16000), ("pcm16", 8000), ("g711_ulaw", 8000), ("g711_alaw", 8000)]
PCM = AudioFormat(codec="pcm16", sample_rate=16000)


async def hears(far: object, hz: float, *, least: float = 0.6, timeout: float = 8) -> None:
    """Wait until the telephone hears the tone."""
    await until(
        lambda: share(far.received_pcm()[-16_000:], hz) > least,  # type: ignore[attr-defined]
        f"{hz} Hz was not heard on the telephone",
        timeout,
    )


@pytest.mark.proves(
    "voice case 6",
    "audio_bridge.attach(call_sid, on_uplink=)",
    "audio_bridge.attach(codec=, sample_rate=, channels=, frame_ms=)",
    "bridge.publish_downlink(frame)",
)
@pytest.mark.parametrize("transport", ["quic", "websocket"])
@pytest.mark.parametrize(("codec", "rate"), FORMATS)
async def test_each_codec_both_ways(asterisk: PrivateAsterisk, codec: str, rate: int, transport: str) -> None:
    async with served(asterisk) as it:
        call, far = await it.answered()
        tapped = Tapped(form=AudioFormat.model_validate({"codec": codec, "sampleRate": rate}))
        began_us = time.monotonic_ns() // 1000
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec=codec, sample_rate=rate,
            transport=transport,
        )  # fmt: skip
        assert (bridge.call_sid, bridge.format.codec) == (call.sid, codec)
        far.play(tone(440, 3))
        for packet in packets(bridge.format, tone(700, 2)):
            bridge.publish_downlink(packet)
        await tapped.hears(440)
        await hears(far, 700)
        steps = [b.timestamp_us - a.timestamp_us for a, b in itertools.pairwise(tapped.frames)]
        assert set(steps) == {20_000}
        took_us = time.monotonic_ns() // 1000 - began_us
        assert tapped.frames[-1].timestamp_us - tapped.frames[0].timestamp_us < took_us + 1_000_000
        await aside(bridge.close)
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 5", "Call.hangup()")
async def test_hanging_up_drops_both_tracks(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as it:
        call, far = await it.answered()
        tapped = Tapped(form=PCM)
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000
        )
        await until(lambda: tapped.frames)
        await aside(call.hangup)
        await far.ended()
        await until(lambda: bridge.closed)
        bridge.publish_downlink(bytes(640))
        with pytest.raises(VoiceError) as raised:
            await aside(it.v.audio_bridge.attach, call.sid)
        assert raised.value.code == "GONE"
        await aside(call.hangup)


@pytest.mark.proves("voice case 9")
async def test_a_brain_of_ones_own(asterisk: PrivateAsterisk) -> None:
    """Attached while it rings; what the caller says goes back to them an octave up; then it hangs up."""
    async with served(asterisk) as it:
        call = await it.originate()
        tapped = Tapped(form=PCM)
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000
        )
        far = await it.phone.incoming()
        far.answer()
        far.play(tone(440, 3))
        await tapped.hears(440)
        bridge.publish_downlink(tone(880, 1, 16000))  # of any length, as a model gives it
        await hears(far, 880)
        await aside(bridge.close)
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 12", "voice case 23", "bridge.close()")
async def test_a_tap_beside_an_agent(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    async with served(asterisk, {"hum": Hums("hum", came)}) as it:
        call, far = await it.answered(agent="hum")
        tapped = Tapped(form=PCM)
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000
        )
        assert await far.voice()
        far.play(tone(440, 3))
        await tapped.hears(440)
        await aside(bridge.close)
        now = asyncio.get_running_loop().time
        assert await far.voice(after=now())
        assert came == ["hum came"]
        assert (await aside(call.refresh)).agent == "hum"
        await far.hangup()
        await it.reached(call, "completed")
        await aside(call.hangup)  # after the far end did
    assert came == ["hum came", "hum went"]


@pytest.mark.proves("voice case 23")
async def test_a_pre_roll_plays_before_the_agent(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk, {"hum": Hums("hum", [])}) as it:
        call, far = await it.answered()
        bridge = await aside(it.v.audio_bridge.attach, call.sid, codec="pcm16", sample_rate=16000)
        bridge.publish_downlink(tone(700, 2, 16000))
        await hears(far, 700)
        await aside(it.v.agents.attach, call.sid, "hum")
        await asyncio.sleep(4)
        heard = far.received_pcm()
        await aside(bridge.close)
        await aside(call.hangup)
        await far.ended()
    at = [share(heard[n : n + 4000], 700, seconds=0.25) > 0.6 for n in range(0, len(heard) - 4000, 4000)]
    first, last = at.index(True), len(at) - 1 - at[::-1].index(True)
    assert last - first >= 6, "nearly all of its two seconds"
    assert all(at[first : last + 1]), "nobody spoke into it"
    after = heard[(last + 2) * 4000 :]
    assert max(after) > 0, "and then the agent"


@pytest.mark.proves("voice case 13", "audio_bridge.attach_caller(call_sid, on_downlink=)")
async def test_two_clients_through_the_relay(asterisk: PrivateAsterisk) -> None:
    """A softphone (no browser: attach_caller) in the call of a telephone, and an agent's bridge that hears both."""
    async with served(asterisk) as it:
        call, far = await it.answered()
        heard = Tapped(form=PCM)
        seat = await aside(
            it.v.audio_bridge.attach_caller, call.sid, on_downlink=heard, codec="pcm16", sample_rate=16000
        )
        far.play(tone(440, 4))
        seat.publish_uplink(tone(700, 4, 16000))
        await heard.hears(440)
        await hears(far, 700)
        await aside(seat.close)
        assert (await aside(call.refresh)).status == "in_progress"
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("voice case 24")
async def test_a_token_is_of_one_call(asterisk: PrivateAsterisk) -> None:
    import aiohttp

    from voxtra.voice.dialer import granted
    from voxtra.voice.websocket_link import LinkEnded, WebSocketLink
    from voxtra.wire import BridgeToken

    async with served(asterisk) as it:
        one, far = await it.answered()
        two, other = await it.answered()

        async def token(sid: str) -> object:
            http = it.v._http
            return await http.call("voice.audioBridge.token", BridgeToken(org_id=http.org_id, sid=sid))

        grant = granted(await aside(it.v._runner.run, token(one.sid)))
        assert grant.websocket is not None
        async with aiohttp.ClientSession() as session:
            link = await WebSocketLink.connect(session, grant.websocket, one.sid, grant.token, "server", PCM)
            await link.close()
            for sid, token_ in (
                (two.sid, grant.token),
                (one.sid, grant.token[:-4] + "AAAA"),
                (one.sid, "full"),
            ):
                with pytest.raises(LinkEnded):
                    await WebSocketLink.connect(session, grant.websocket, sid, token_, "server", PCM)
        for call, phone in ((one, far), (two, other)):
            await aside(call.hangup)
            await phone.ended()


@pytest.mark.proves("a broken connection is made again, with its tracks")
@pytest.mark.parametrize("transport", ["quic", "websocket"])
async def test_the_relay_goes_and_comes_back_elsewhere(asterisk: PrivateAsterisk, transport: str) -> None:
    async with served(asterisk) as it:
        call, far = await it.answered()
        tapped = Tapped(form=PCM)
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000,
            transport=transport,
        )  # fmt: skip
        await until(lambda: tapped.frames)
        relay = it.rig.app.api.relay  # type: ignore[union-attr]
        await relay.close()
        await relay.start()
        await until(lambda: bridge.reconnected, timeout=30)
        heard = len(tapped.frames)
        far.play(tone(440, 3))
        bridge.publish_downlink(tone(700, 2, 16000))
        await hears(far, 700)
        await until(lambda: share(tapped.pcm(heard), 440, 16000) > 0.6)
        assert not bridge.closed
        await aside(bridge.close)
        await aside(call.hangup)
        await far.ended()


@pytest.mark.proves("dropping the last reference closes both tracks")
@pytest.mark.parametrize("transport", ["quic", "websocket"])
async def test_dropping_the_last_reference(asterisk: PrivateAsterisk, transport: str) -> None:
    async with served(asterisk) as it:
        call, far = await it.answered()
        tapped = Tapped(form=PCM)
        bridge = await aside(
            it.v.audio_bridge.attach, call.sid, on_uplink=tapped, codec="pcm16", sample_rate=16000,
            transport=transport,
        )  # fmt: skip
        await until(lambda: tapped.frames)
        relay = it.rig.app.api.relay  # type: ignore[union-attr]
        assert relay.stats.attached == 1
        del bridge
        await until(lambda: relay.stats.attached == 0, timeout=5)
        assert (await aside(call.refresh)).status == "in_progress"
        await aside(call.hangup)
        await far.ended()
