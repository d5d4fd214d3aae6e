"""Where we pace: sound that comes after silence goes early, and nothing of it is lost, doubled or misplaced."""

import asyncio
import itertools
import random
import socket

import pytest
from media_peers import speech

from voxtra.media.clock import shared_clock
from voxtra.media.codecs import make_codec
from voxtra.media.paced import PacedPlayout
from voxtra.media.paced_line import PacedLine
from voxtra.media.rtp import parse
from voxtra.media.rtp_line import RTPSettings, RTPTransport
from voxtra.media.wheel import MAX_LEAD

FRAME = bytes(range(1, 161)) * 2


class Told:
    """A playout, and how often it said that sound begins."""

    def __init__(self):
        self.count = 0
        self.playout = PacedPlayout(8000, begin=self._begin)

    def _begin(self):
        self.count += 1


def test_sound_begins_only_after_silence_and_with_a_whole_frame():
    told = Told()
    told.playout.play(FRAME)
    assert told.count == 0  # nothing was asked for yet: the first frame is due anyway
    assert told.playout.take() == FRAME
    told.playout.play(FRAME)
    assert told.playout.take() == FRAME
    assert told.playout.take() is None
    told.playout.play(FRAME[:100])
    assert told.count == 0
    told.playout.play(FRAME[100:] + FRAME)
    told.playout.play(FRAME)
    assert told.count == 1


def test_a_mark_makes_the_rest_a_frame_and_resume_begins_again():
    told = Told()
    told.playout.take()
    told.playout.play(FRAME[:100])

    class Point:
        position = 0

        def resolve(self, outcome):
            raise AssertionError(outcome)

    told.playout.mark(Point())
    assert told.count == 1
    told.playout.pause()
    assert told.playout.take() is None
    told.playout.play(FRAME)
    assert told.count == 1
    told.playout.resume()
    assert told.count == 2


class Wire(PacedLine):
    """A line to nowhere on the shared clock."""

    transport = "wire"

    def __init__(self):
        super().__init__(make_codec("slin"), shared_clock(), max_queue_ms=60_000)
        self.wire = []
        self.slots = []

    def _can_send(self):
        return not self._closed.done()

    def _send_frame(self, data):
        self.wire.append(bytes(data))
        self.slots.append(self._beat.due)  # 20 ms after the one that it was due in

    async def close(self):
        self._finish("closed here")


async def test_a_reply_does_not_wait_for_the_next_tick():
    line = Wire()
    line._start_clock()
    early = 0
    async with asyncio.timeout(20):
        for _ in range(10):
            count = len(line.wire)
            while len(line.wire) < count + 3:  # the lead of the reply before is given back
                await asyncio.sleep(0.002)
            due = line._beat.due
            line.play(FRAME)
            early += line._beat.due < due
            await line.drained()
    assert line.wire.count(FRAME) == 10
    assert early >= 3  # all of them, but on a machine that is late itself
    assert all(after - before >= MAX_LEAD for before, after in itertools.pairwise(line.slots))
    await line.close()
    await line.close()


@pytest.mark.parametrize("name", ["ulaw", "g722"])
async def test_rtp_of_many_spurts_has_one_timeline(name):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        offer = RTPTransport(RTPSettings(format=name)).offer()
        address = {
            "UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1",
            "UNICASTRTP_LOCAL_PORT": str(sock.getsockname()[1]),
        }
        line = await offer.connect(address)
        said = [speech(3, make_codec(name), seed=seed) for seed in range(8)]
        loop, packets = asyncio.get_running_loop(), []

        async def read():
            while True:
                packets.append(parse(await loop.sock_recv(sock, 2048)))

        reader = asyncio.create_task(read())
        async with asyncio.timeout(20):
            for sound in said:
                await asyncio.sleep(random.uniform(0.05, 0.09))
                line.play(sound)
                await line.drained()
            while len(packets) < line.stats.bytes_sent // 172:
                await asyncio.sleep(0.01)
        reader.cancel()
        await line.close()
    steps = [(b.timestamp - a.timestamp) % 2**32 for a, b in itertools.pairwise(packets)]
    assert set(steps) == {160}
    assert [(b.sequence - a.sequence) % 2**16 for a, b in itertools.pairwise(packets)] == [1] * len(steps)
    assert 2 <= sum(packet.marker for packet in packets) <= 1 + len(said)
    codec = make_codec(name)
    if name == "ulaw":
        wire = [codec.decode(packet.payload) for packet in packets]
        assert b"".join(pcm for pcm in wire if any(pcm)) == b"".join(said)
