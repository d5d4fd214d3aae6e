"""The control protocol against a channel in memory: any order of events, any delay on the way."""

import json
import struct
from collections import deque

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from media_fakes import FakeChannel, Point

from voxtra.errors import MediaError
from voxtra.media.chan_websocket import MAX_MESSAGE_BYTES, WebSocketPlayout, command
from voxtra.media.codecs import Linear, ULaw

FRAME = 160


class Rig:
    """A playout and a channel with a wire between them that delivers when told."""

    def __init__(self, **limits):
        self.playout = WebSocketPlayout(Linear(8000), **limits)
        self.channel = FakeChannel(FRAME * 2)
        self.down = deque()
        self.up = deque()
        self.count = 0
        self.after_event = lambda: None

    def samples(self, number):
        values = [(self.count + n) % 32000 + 1 for n in range(number)]
        self.count += number
        return struct.pack(f"<{number}h", *values)

    def send(self):
        self.down += self.playout.outbox
        self.playout.outbox.clear()

    def deliver(self, number=1 << 30):
        self.send()
        while self.down and number:
            self.channel.receive(self.down.popleft())
            number -= 1
        self.up += self.channel.events
        self.channel.events.clear()

    def answer(self, number=1 << 30):
        signals = []
        while self.up and number:
            signals.append(self.playout.event(self.up.popleft()))
            self.after_event()
            number -= 1
        self.send()
        return signals

    def run(self, ticks):
        for _ in range(ticks):
            self.deliver()
            self.answer()
            self.channel.tick()
            self.deliver()
            self.answer()


def test_a_sentence_goes_out_in_big_messages_of_whole_frames():
    rig = Rig()
    rig.playout.play(rig.samples(FRAME * 200))  # 4 s
    audio = [message for message in rig.playout.outbox if isinstance(message, bytes)]
    assert len(audio) == 4
    assert sum(map(len, audio)) == FRAME * 400
    rig.run(200)
    assert rig.playout.heard == rig.playout.queued - FRAME * 50  # the last mark comes at the tick after
    rig.run(1)
    assert rig.playout.heard == rig.playout.queued == FRAME * 200
    assert rig.playout.stats.frames_played == 200


def test_one_frame_is_one_message_at_once():
    rig = Rig()
    pcm = rig.samples(FRAME)
    rig.playout.play(pcm)
    assert rig.playout.outbox == [pcm]


def test_a_partial_frame_waits_for_more_or_for_a_mark():
    rig = Rig()
    first = rig.samples(100)
    rig.playout.play(first)
    assert rig.playout.outbox == []
    assert rig.playout.queued == 100
    mark = Point()
    rig.playout.mark(mark)
    rig.run(2)
    assert mark.outcome == "heard"
    assert mark.position == rig.playout.heard == FRAME
    assert rig.channel.voiced == first + bytes(120)


def test_the_window_keeps_asterisk_far_from_its_limit():
    rig = Rig(window_frames=100)
    mark = Point()
    pcm = rig.samples(FRAME * 1000)
    rig.playout.play(pcm)
    rig.playout.mark(mark)
    rig.run(1001)
    assert rig.channel.longest <= 100
    assert rig.channel.dropped == 0
    assert rig.channel.voiced == pcm
    assert None not in rig.channel.played[1:1000]
    assert mark.outcome == "heard"


def test_xoff_stops_and_xon_goes_on():
    rig = Rig()
    rig.playout.event('{"event":"MEDIA_XOFF"}')
    rig.playout.play(rig.samples(FRAME))
    assert rig.playout.outbox == []
    rig.playout.event('{"event":"MEDIA_XON"}')
    assert len(rig.playout.outbox) == 1


def test_a_socket_that_takes_no_more_holds_the_sound_back():
    rig = Rig()
    rig.playout.held = True
    pcm = rig.samples(FRAME * 3)
    rig.playout.play(pcm)
    assert rig.playout.outbox == []
    rig.playout.held = False
    rig.playout.pump()
    assert rig.playout.outbox == [pcm]


def test_marks_in_the_middle_come_when_that_point_is_heard():
    rig = Rig()
    marks = []
    for _ in range(5):
        rig.playout.play(rig.samples(FRAME * 3))
        marks.append(Point())
        rig.playout.mark(marks[-1])
    for n in range(5):
        rig.run(3)
        assert [mark.outcome for mark in marks] == ["heard"] * n + [None] * (5 - n)
        rig.run(0)
        rig.channel.tick() if n == 4 else None
    rig.run(1)
    assert marks[-1].outcome == "heard"


def test_a_mark_on_an_empty_queue_is_heard_at_once():
    mark = Point()
    Rig().playout.mark(mark)
    assert mark.outcome == "heard"
    assert mark.position == 0


def test_flush_tells_exactly_what_was_heard():
    rig = Rig()
    passed, cut = Point(), Point()
    rig.playout.play(rig.samples(FRAME * 20))
    rig.playout.mark(passed)
    rig.playout.play(rig.samples(FRAME * 100))
    rig.playout.mark(cut)
    rig.run(33)
    assert not rig.playout.flush()
    rig.run(2)
    assert not rig.playout.flushing
    assert rig.playout.heard == rig.playout.queued == FRAME * 33
    assert (passed.outcome, cut.outcome) == ("heard", "flushed")
    assert rig.channel.played[33:] == [None, None]
    assert rig.playout.stats.frames_dropped == 87


def test_flush_settles_a_mark_that_was_heard_but_not_yet_reported():
    rig = Rig()
    mark = Point()
    rig.playout.play(rig.samples(FRAME * 3))
    rig.playout.mark(mark)
    rig.run(3)
    assert mark.outcome is None
    rig.playout.flush()
    rig.run(2)
    assert mark.outcome == "heard"


def test_flush_with_nothing_queued_sends_nothing():
    rig = Rig()
    assert rig.playout.flush()
    assert rig.playout.outbox == []


def test_sound_played_during_a_flush_follows_it():
    rig = Rig()
    rig.playout.play(rig.samples(FRAME * 50))
    rig.run(10)
    rig.playout.flush()
    fresh, mark = rig.samples(FRAME * 5), Point()
    rig.playout.play(fresh)
    rig.playout.mark(mark)
    rig.run(10)
    assert mark.outcome == "heard"
    assert mark.position == rig.playout.heard == FRAME * 15
    assert rig.channel.voiced.endswith(fresh)
    assert len(rig.channel.voiced) == FRAME * 30


def test_flush_ends_a_pause_and_pause_is_idempotent():
    rig = Rig()
    rig.playout.play(rig.samples(FRAME * 10))
    rig.run(2)
    rig.playout.pause()
    rig.playout.pause()
    rig.run(3)
    assert rig.channel.commands.count("PAUSE_MEDIA") == 1
    assert rig.channel.played[2:] == [None] * 3
    rig.playout.flush()
    rig.run(2)
    assert not rig.playout.paused
    assert not rig.channel.paused
    assert rig.playout.heard == FRAME * 2


def test_pause_and_resume_lose_nothing():
    rig = Rig()
    pcm = rig.samples(FRAME * 10)
    rig.playout.play(pcm)
    rig.run(3)
    rig.playout.pause()
    rig.run(5)
    rig.playout.resume()
    rig.run(10)
    assert rig.channel.voiced == pcm


def test_a_channel_that_does_not_answer_is_given_up_and_its_late_answer_ignored():
    rig = Rig()
    rig.playout.play(rig.samples(FRAME * 10))
    rig.run(4)
    rig.playout.flush()
    rig.deliver()
    late = list(rig.up)
    rig.up.clear()
    rig.playout.give_up_flush()
    assert rig.playout.heard == rig.playout.queued == 0  # the lower bound that was known
    rig.playout.play(rig.samples(FRAME * 10))
    rig.playout.flush()
    for event in late:
        assert rig.playout.event(event) is None
    assert rig.playout.flushing
    rig.run(2)
    assert not rig.playout.flushing


def test_the_end_of_unmarked_sound_is_confirmed_after_a_while():
    rig = Rig()
    for _ in range(3):
        rig.playout.play(rig.samples(FRAME))
    for _ in range(8):
        rig.run(1)
        rig.playout.tick()
    rig.run(2)
    assert rig.playout.heard == FRAME * 3


def test_the_bound_of_the_queue_is_kept():
    playout = WebSocketPlayout(Linear(8000), max_queue_ms=1000)
    playout.play(bytes(16000))
    with pytest.raises(MediaError, match="limit of 8000"):
        playout.play(bytes(2))
    with pytest.raises(MediaError, match="3 bytes"):
        playout.play(b"abc")


def test_closing_closes_the_marks():
    rig = Rig()
    one, two = Point(), Point()
    rig.playout.play(rig.samples(FRAME * 5))
    rig.playout.mark(one)
    rig.playout.flush()
    rig.playout.play(rig.samples(FRAME * 5))
    rig.playout.mark(two)
    rig.playout.close()
    assert (one.outcome, two.outcome) == ("closed", "closed")


OPERATIONS = st.one_of(
    st.tuples(st.just("play"), st.integers(0, 1500)),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("pause"), st.just(0)),
    st.tuples(st.just("resume"), st.just(0)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("tick"), st.integers(1, 6)),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("answer"), st.integers(1, 4)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATIONS, max_size=50))
@example([("play", 800), ("deliver", 4), ("tick", 2), ("flush", 0), ("play", 300), ("mark", 0), ("flush", 0)])
def test_every_sample_not_flushed_is_heard_once_in_order(operations):
    rig = Rig(window_frames=12, mark_frames=3)
    playout, channel = rig.playout, rig.channel
    kept, during = [], None  # samples to be heard; those played while a flush is under way
    points = []

    def settle():
        nonlocal kept, during
        if during is not None and not playout.flushing:
            kept = kept[: playout.heard] + during
            during = None

    rig.after_event = settle
    for name, number in operations:
        track = kept if during is None else during
        if name == "play":
            pcm = rig.samples(number)
            playout.play(pcm)
            track += struct.unpack(f"<{number}h", pcm)
        elif name == "mark":
            points.append(Point())
            playout.mark(points[-1])
            track += [0] * (-len(track) % FRAME)
        elif name == "flush":
            if during is not None:
                during.clear()
            if playout.flush():
                kept = kept[: playout.heard]
            elif during is None:
                during = []
        elif name == "tick":
            for _ in range(number):
                channel.tick()
            rig.deliver(0)
        elif name in ("pause", "resume"):
            getattr(playout, name)()
        else:
            getattr(rig, name)(number)
        heard_truly = sum(frame is not None for frame in channel.played) * FRAME
        assert playout.heard <= heard_truly
        assert playout.heard <= playout.queued
        assert channel.length <= 12
    playout.resume()
    last = Point()
    rig.run(3)
    playout.mark(last)
    kept += [0] * (-len(kept) % FRAME)
    rig.run(len(kept) // FRAME + 20)
    assert last.outcome == "heard"
    assert channel.voiced == struct.pack(f"<{len(kept)}h", *kept)
    assert playout.heard == playout.queued == len(kept)
    assert all(point.outcome in ("heard", "flushed") for point in points)
    assert channel.dropped == 0


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=60),
        st.binary(max_size=60),
        st.fixed_dictionaries(
            {
                "event": st.sampled_from(
                    ["STATUS", "MEDIA_MARK_PROCESSED", "QUEUE_DRAINED", "MEDIA_START", "X"]
                )
            },
            optional={
                "queue_length": st.one_of(st.integers(), st.none(), st.text(max_size=5), st.booleans()),
                "correlation_id": st.one_of(
                    st.text(max_size=9), st.integers(), st.from_regex(r"[0-9]{1,3}\.-?[0-9]{1,30}")
                ),
            },
        ).map(json.dumps),
    ),
    st.booleans(),
)
def test_garbage_from_the_peer_moves_nothing_beyond_what_was_sent(text, flushing):
    playout = WebSocketPlayout(ULaw())
    playout.play(bytes(3200))
    if flushing:
        playout.flush()
    playout.event(text)
    assert 0 <= playout.heard <= 1600
    assert playout.queued <= 1600


def test_deeply_nested_json_is_only_counted():
    playout = WebSocketPlayout(ULaw())
    assert playout.event("[" * 60_000) == "malformed"
    assert playout.stats.malformed == 1


def test_messages_stay_under_asterisks_limit_at_any_rate():
    for rate in (8000, 16000, 48000):
        playout = WebSocketPlayout(Linear(rate), window_frames=900)
        playout.play(bytes(rate * 2 * 15))
        sizes = [len(message) for message in playout.outbox if isinstance(message, bytes)]
        assert max(sizes) <= MAX_MESSAGE_BYTES
        assert all(size % (rate // 25) == 0 for size in sizes)


def test_commands_are_asterisks_json():
    assert json.loads(command("MARK_MEDIA", correlation_id="7")) == {
        "command": "MARK_MEDIA",
        "correlation_id": "7",
    }
