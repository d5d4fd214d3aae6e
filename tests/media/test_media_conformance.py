"""What every Line promises, tried on each of them, on asyncio's loop and on uvloop."""

import asyncio
import gc
import random

import pytest
import uvloop
from media_peers import KINDS, connected, make, speech, until

from voxtra.errors import LineClosedError, MediaError
from voxtra.media.line import FRAME_MS

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test):
    """Runs an async test on asyncio's own loop and on uvloop."""

    @pytest.mark.parametrize("loop", LOOPS)
    def run(kind, loop):
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(test(kind))

    run.__name__ = test.__name__
    return run


pytestmark = pytest.mark.parametrize("kind", KINDS)


@on_both_loops
async def test_received_frames_come_to_every_sink_on_the_spot(kind):
    async with connected(kind) as (line, peer):
        one, two = [], []
        line.listen(one.append)
        end = line.listen(two.append)
        pcm = speech(10, peer.codec)
        size = peer.codec.pcm_frame_bytes
        for at in range(0, 5 * size, size):
            await peer.say(pcm[at : at + size])
        await until(lambda: len(one) == 5)
        end()
        end()
        for at in range(5 * size, 10 * size, size):
            await peer.say(pcm[at : at + size])
        await until(lambda: len(one) == 10)
        assert b"".join(frame.pcm for frame in one) == pcm
        assert [frame.sequence for frame in one] == list(range(10))
        assert not any(frame.lost for frame in one)
        assert [frame.time for frame in one] == sorted(frame.time for frame in one)
        assert len(two) == 5
        assert line.stats.frames_received == 10
        assert line.stats.bytes_received > 0


@on_both_loops
async def test_what_is_played_is_heard_once_in_order_whatever_the_sizes(kind):
    async with connected(kind) as (line, peer):
        pcm = speech(15, peer.codec)
        rng, at, marks = random.Random(7), 0, []
        while at < len(pcm):
            size = rng.choice([2, 38, 320, 322, 640, 1000, 3000])
            line.play(pcm[at : at + size])
            at += size
        marks.append(line.mark())
        assert await asyncio.wait_for(marks[0].wait(), 3) == "heard"
        await until(lambda: len(peer.heard) >= len(pcm))
        assert peer.heard == pcm
        assert line.queued == line.heard == len(pcm) // 2 == marks[0].position
        assert line.stats.frames_played == 15
        assert line.ms(line.heard) == 15 * FRAME_MS


@on_both_loops
async def test_marks_come_when_their_point_is_heard_and_not_before(kind):
    async with connected(kind) as (line, peer):
        pcm = speech(12, peer.codec)
        line.play(pcm[: len(pcm) // 2])
        first = line.mark()
        line.play(pcm[len(pcm) // 2 :])
        second = line.mark()
        assert await asyncio.wait_for(first.wait(), 3) == "heard"
        assert second.outcome is None
        assert len(peer.heard) < len(pcm)
        assert line.heard >= first.position
        assert await asyncio.wait_for(line.drained(), 3) == "heard"
        assert second.outcome == "heard"


@on_both_loops
async def test_a_partial_frame_is_padded_by_a_mark(kind):
    async with connected(kind) as (line, peer):
        size = peer.codec.pcm_frame_bytes
        pcm = speech(1, peer.codec)[:100]
        line.play(pcm)
        assert line.queued == 50
        assert await asyncio.wait_for(line.drained(), 3) == "heard"
        assert peer.heard == peer.codec.decode(peer.codec.encode(pcm + bytes(size - 100)))
        assert line.queued == size // 2


@on_both_loops
async def test_pause_and_resume_are_bit_exact(kind):
    async with connected(kind) as (line, peer):
        pcm = speech(12, peer.codec)
        line.play(pcm)
        await until(lambda: len(peer.heard) > 4 * 320)
        line.pause()
        line.pause()
        assert line.paused
        await asyncio.sleep(0.06)
        held = len(peer.heard)
        assert held < len(pcm)
        await asyncio.sleep(0.1)
        assert len(peer.heard) == held
        line.resume()
        line.resume()
        assert not line.paused
        assert await asyncio.wait_for(line.drained(), 3) == "heard"
        assert peer.heard == pcm


@on_both_loops
async def test_flush_stops_and_tells_exactly_what_was_heard(kind):
    async with connected(kind) as (line, peer):
        pcm = speech(200, peer.codec)
        line.play(pcm)
        pending = line.mark()
        await until(lambda: len(peer.heard) > 6 * 320)
        heard = await line.flush()
        await asyncio.sleep(0.08)
        assert len(peer.heard) == heard * 2
        assert peer.heard == pcm[: heard * 2]
        assert heard == line.heard == line.queued
        assert pending.outcome == "flushed"
        assert line.stats.frames_dropped == 200 - heard // peer.codec.frame_samples
        more = speech(5, peer.codec, seed=2)
        line.play(more)
        mark = line.mark()
        assert await asyncio.wait_for(mark.wait(), 3) == "heard"
        assert peer.heard == pcm[: heard * 2] + more
        assert mark.position == heard + len(more) // 2


@on_both_loops
async def test_flush_ends_a_pause_and_leaves_nothing(kind):
    async with connected(kind) as (line, peer):
        line.play(speech(50, peer.codec))
        await until(lambda: len(peer.heard) > 2 * 320)
        line.pause()
        await asyncio.sleep(0.06)
        heard = await line.flush()
        assert not line.paused
        await asyncio.sleep(0.06)
        assert len(peer.heard) == heard * 2
        line.play(speech(2, peer.codec))
        assert await asyncio.wait_for(line.drained(), 3) == "heard"


@on_both_loops
async def test_flush_on_an_empty_queue_and_two_at_once(kind):
    async with connected(kind) as (line, peer):
        assert await line.flush() == 0
        line.play(speech(50, peer.codec))
        await until(lambda: len(peer.heard) > 0)
        both = await asyncio.gather(line.flush(), line.flush())
        assert both[0] == both[1] == line.heard == line.queued


@on_both_loops
async def test_a_cancelled_flush_still_flushes(kind):
    async with connected(kind) as (line, peer):
        line.play(speech(100, peer.codec))
        await until(lambda: len(peer.heard) > 0)
        task = asyncio.create_task(line.flush())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.15)
        count = len(peer.heard)
        await asyncio.sleep(0.1)
        assert len(peer.heard) == count == line.heard * 2


@on_both_loops
async def test_marks_on_an_empty_queue_are_heard_at_once(kind):
    async with connected(kind) as (line, _):
        assert line.mark().outcome == "heard"
        assert await line.drained() == "heard"


@pytest.mark.proves("failure 8")
@on_both_loops
async def test_the_queue_is_bounded(kind):
    async with connected(kind, max_queue_ms=500) as (line, _):
        line.play(bytes(line.rate))
        with pytest.raises(MediaError, match="limit"):
            line.play(bytes(2))
        with pytest.raises(MediaError, match="whole number"):
            line.play(b"x")


@on_both_loops
async def test_a_failing_sink_is_reported_and_dropped_and_the_others_go_on(kind):
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with connected(kind) as (line, peer):
        good, bad = [], []

        def fail(frame):
            bad.append(frame)
            raise ValueError("no")

        line.listen(fail)
        line.listen(good.append)
        for _ in range(3):
            await peer.say(speech(1, peer.codec))
        await until(lambda: len(good) == 3)
        assert len(bad) == 1
        assert [type(report["exception"]) for report in reports] == [ValueError]


@on_both_loops
async def test_close_ends_everything_and_is_idempotent(kind):
    async with connected(kind) as (line, peer):
        line.play(speech(50, peer.codec))
        mark = line.mark()
        await asyncio.gather(line.close(), line.close())
        assert mark.outcome == "closed"
        assert "here" in line.closed.result()
        with pytest.raises(LineClosedError, match="closed"):
            line.play(bytes(320))
        assert line.mark().outcome == "closed"
        assert await line.drained() == "closed"
        assert await line.flush() == line.heard
        line.pause()
        line.resume()
        line.listen(print)()


@on_both_loops
async def test_a_lost_connection_closes_the_line_with_the_reason(kind):
    if kind == "rtp":
        pytest.skip("UDP has no connection to lose; ARI tells that the channel is gone")
    async with connected(kind) as (line, peer):
        line.play(speech(50, peer.codec))
        mark = line.mark()
        await peer.cut()
        reason = await asyncio.wait_for(asyncio.shield(line.closed), 3)
        assert "lost" in reason
        assert await mark == "closed"
        await line.close()


@on_both_loops
async def test_a_peer_that_does_not_come_is_an_error_in_time(kind):
    transport, peer = await make(kind)
    try:
        offer = transport.offer()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(MediaError):
            await offer.connect({"MEDIA_WEBSOCKET_CONNECTION_ID": "nobody"}, deadline_s=0.3)
        assert loop.time() - begin < 2
        await offer.cancel()
    finally:
        await peer.close()
        await transport.close()


@on_both_loops
async def test_an_offer_can_be_cancelled_and_after_connecting_that_is_harmless(kind):
    transport, peer = await make(kind)
    try:
        unused = transport.offer()
        await unused.cancel()
        await unused.cancel()
        offer = transport.offer()
        await peer.open(offer)
        line = await offer.connect(peer.channelvars, deadline_s=3)
        await offer.cancel()
        assert not line.closed.done()
        await transport.close()
        assert line.closed.done()
    finally:
        await peer.close()
        await transport.close()


@on_both_loops
async def test_nothing_is_left_behind(kind):
    before = len(asyncio.all_tasks())
    for _ in range(2):
        async with connected(kind) as (line, peer):
            line.play(speech(3, peer.codec))
            await line.drained()
    await asyncio.sleep(0.05)
    gc.collect()
    assert len(asyncio.all_tasks()) <= before


@on_both_loops
async def test_sound_comes_through_in_wideband(kind):
    wide = {"rtp": "g722", "audiosocket": "slin16"}.get(kind, "slin16")
    if wide == "g722":
        pytest.importorskip("G722")
    async with connected(kind, format=wide) as (line, peer):
        assert line.rate == 16000
        assert line.codec == wide == peer.params["format"]
        pcm = speech(10, peer.codec)
        line.play(pcm)
        assert await asyncio.wait_for(line.drained(), 3) == "heard"
        if wide != "g722":
            assert peer.heard == pcm
        got = []
        line.listen(got.append)
        await peer.say(pcm[:640])
        await until(lambda: got)
        assert len(got[0].pcm) == 640
