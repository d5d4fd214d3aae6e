from __future__ import annotations

import asyncio

import pytest
from fake_calls import FakeLine, breathe

from voxtra.calls.audio import MAX_CHUNKS, AudioOut, AudioTap
from voxtra.errors import CallEndedError, CodecError
from voxtra.media.codecs import make_codec
from voxtra.types import AudioChunk, AudioCodec


@pytest.fixture
async def line():
    line = FakeLine()
    yield line
    await line.close()


@pytest.mark.parametrize(
    ("codec", "wire", "size", "rate"),
    [
        (AudioCodec.ULAW, "ulaw", 160, 8000),
        (AudioCodec.ALAW, "ulaw", 160, 8000),
        (AudioCodec.ULAW, "slin16", 160, 8000),
        (AudioCodec.PCM_S16LE, "slin16", 640, 16000),
        (AudioCodec.PCM_S16LE, "ulaw", 320, 8000),
    ],
)
async def test_chunks_in_the_codec_asked_for(codec: AudioCodec, wire: str, size: int, rate: int) -> None:
    line = FakeLine(wire)
    async with AudioTap(line, codec) as tap:
        line.hear(10, level=0x55)
        chunks = [await anext(tap) for _ in range(10)]
        await line.close()
        with pytest.raises(StopAsyncIteration):
            await anext(tap)
    assert {chunk.codec for chunk in chunks} == {codec}
    assert {chunk.sample_rate for chunk in chunks} == {rate}
    assert [chunk.sequence for chunk in chunks] == list(range(10))
    assert [chunk.timestamp_ms for chunk in chunks] == list(range(0, 200, 20))
    assert len(chunks[-1].data) == size


async def test_ulaw_goes_through_bit_for_bit(line: FakeLine) -> None:
    async with AudioTap(line, AudioCodec.ULAW) as tap:
        line.hear(1, level=0x37)
        assert (await anext(tap)).data == b"\x37" * 160


@pytest.mark.proves("failure 8")
async def test_a_slow_consumer_loses_the_oldest(line: FakeLine) -> None:
    async with AudioTap(line, AudioCodec.ULAW) as tap:
        line.hear(MAX_CHUNKS + 7)
        assert (await anext(tap)).sequence == 7


async def test_a_consumer_that_waits_is_woken_by_the_end(line: FakeLine) -> None:
    async with AudioTap(line, AudioCodec.ULAW) as tap:
        waiting = asyncio.ensure_future(anext(tap))
        await breathe()
        assert not waiting.done()
        line.lose()
        with pytest.raises(StopAsyncIteration):
            await waiting


async def test_a_tap_that_is_left_no_longer_listens(line: FakeLine) -> None:
    async with AudioTap(line, AudioCodec.ULAW) as tap:
        pass
    line.hear()
    assert not tap._chunks


async def test_a_codec_that_cannot_be_had(line: FakeLine) -> None:
    with pytest.raises(CodecError, match=r"audio_stream\(opus\): ulaw, alaw or pcm_s16le"):
        AudioTap(line, AudioCodec.OPUS)


async def test_play_each_codec_and_rate(line: FakeLine) -> None:
    out = AudioOut(line)
    out.play(AudioChunk(b"\x37" * 160))
    out.play(AudioChunk(make_codec("alaw").encode(bytes(320)), codec=AudioCodec.ALAW))
    out.play(AudioChunk(bytes(640), sample_rate=16000, codec=AudioCodec.PCM_S16LE))
    out.play(AudioChunk(b""))
    line.tick()
    assert line.wire == [b"\x37" * 160]
    assert abs(line.ms(line.queued) - 60) <= 5


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (AudioChunk(b"x", codec=AudioCodec.OPUS), "can't play opus"),
        (AudioChunk(b"x", codec="mp3"), "can't play mp3"),  # type: ignore[arg-type]
        (AudioChunk(b"xx", channels=2), "2 channels"),
        (AudioChunk(b"xxx", codec=AudioCodec.PCM_S16LE), "3 bytes"),
        (AudioChunk(b"xx", sample_rate=0), "sample_rate=0"),
        (AudioChunk(b"xx", sample_rate=-8000), "sample_rate=-8000"),
        (AudioChunk(b"xx", sample_rate="8000"), "sample_rate='8000'"),  # type: ignore[arg-type]
        (AudioChunk("text"), "bytes"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_played(line: FakeLine, chunk: AudioChunk, said: str) -> None:
    with pytest.raises(CodecError, match=said):
        AudioOut(line).play(chunk)
    assert line.queued == 0


async def test_the_call_is_over(line: FakeLine) -> None:
    out = AudioOut(line)
    line.lose()
    with pytest.raises(CallEndedError, match="line is closed"):
        out.play(AudioChunk(bytes(160)))


async def test_drained_when_heard_ended_or_late(line: FakeLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.calls.audio.DRAIN_GRACE_S", 0.02)
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    out = AudioOut(line)
    await out.drained(ended)  # nothing is queued
    out.play(AudioChunk(bytes(800)))
    waiting = asyncio.ensure_future(out.drained(ended))
    await breathe()
    assert not waiting.done()
    line.tick(6)
    await asyncio.wait_for(waiting, 1)
    out.play(AudioChunk(bytes(800)))
    await asyncio.wait_for(out.drained(ended), 2)  # nothing plays, and yet it returns
    out.play(AudioChunk(bytes(80_000)))
    waiting = asyncio.ensure_future(out.drained(ended))
    await breathe()
    ended.set_result(None)
    await asyncio.wait_for(waiting, 1)
