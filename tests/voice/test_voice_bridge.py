"""The audio bridge of the client: frames both ways, broken connections, the rule of the last reference."""

from __future__ import annotations

import gc
import threading
import time
from typing import Any

import pytest
from conftest import client_threads, until
from fake_engine import KEY, ORG, FakeEngine

from voxtra.voice import AudioBridge, Voice, VoiceError

SID = "call_00000001"


class Heard:
    def __init__(self) -> None:
        self.frames: list[tuple[bytes, int]] = []
        self.threads: set[str] = set()

    def __call__(self, frame: bytes, timestamp_us: int) -> None:
        self.frames.append((frame, timestamp_us))
        self.threads.add(threading.current_thread().name)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def sent(engine: FakeEngine, which: int = -1) -> list[tuple[int, bytes]]:
    return [tuple(frame) for frame in engine.sockets[which].frames]  # type: ignore[misc]


@pytest.mark.proves("bridge.call_sid")
def test_one_frame_a_callback_with_its_time(v: Voice, engine: FakeEngine, heard: Heard) -> None:
    bridge = v.audio_bridge.attach(SID, on_uplink=heard)
    engine.say(b"one", 20_000)
    engine.say(b"two", 40_000)
    until(lambda: len(heard.frames) == 2)
    assert heard.frames == [(b"one", 20_000), (b"two", 40_000)]
    assert heard.threads == {f"frames of {SID}"}
    assert bridge.call_sid == SID
    query = engine.sockets[0].query
    assert query.pop("tok").startswith(f"{SID}.server.")
    assert query == {"role": "server", "codec": "opus", "sampleRate": "48000", "frameMs": "20"}


@pytest.mark.parametrize(
    ("codec", "rate", "wanted"),
    [
        ("opus", 48000, "48000"),
        ("pcm16", 16000, "16000"),
        ("g711_ulaw", 48000, "8000"),
        ("g711_alaw", 8000, "8000"),
    ],
)
def test_each_codec(v: Voice, engine: FakeEngine, codec: str, rate: int, wanted: str) -> None:
    bridge = v.audio_bridge.attach(SID, codec=codec, sample_rate=rate)
    assert engine.sockets[0].query["sampleRate"] == wanted
    assert bridge.format.codec == codec


@pytest.mark.proves("bridge.publish_downlink(frame, timestamp_us=)")
def test_the_last_words_are_heard_out_when_the_call_ends(v: Voice, engine: FakeEngine) -> None:
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")
    heard: list[int] = []

    def slow(frame: bytes, timestamp_us: int) -> None:
        time.sleep(0.01)
        heard.append(timestamp_us)

    bridge = v.audio_bridge.attach(call.sid, on_uplink=slow)
    for number in range(30):
        engine.say(b"x", number)
    engine.end_sound(4410)
    until(lambda: bridge.closed)
    until(lambda: heard == list(range(30)))


def test_sound_goes_out_cut_into_frames_one_after_another(v: Voice, engine: FakeEngine) -> None:
    bridge = v.audio_bridge.attach(SID, codec="pcm16", sample_rate=8000)
    now = time.monotonic_ns() // 1000
    bridge.publish_downlink(bytes(320) + b"\1" * 320 + b"\2" * 10)
    bridge.publish_downlink(b"\3" * 320)
    bridge.publish_downlink(b"\4" * 320, timestamp_us=7)
    until(lambda: len(sent(engine)) == 5)
    frames = sent(engine)
    assert [len(payload) for _, payload in frames] == [320, 320, 10, 320, 320]
    stamps = [stamp - frames[0][0] for stamp, _ in frames[:4]]
    assert stamps == [0, 20_000, 40_000, 60_000]
    assert abs(frames[0][0] - now) < 5_000_000
    assert frames[4][0] == 7


def test_an_opus_packet_stays_whole(v: Voice, engine: FakeEngine) -> None:
    bridge = v.audio_bridge.attach(SID)
    bridge.publish_downlink(b"x" * 1200)
    until(lambda: len(sent(engine)) == 1)
    assert len(sent(engine)[0][1]) == 1200


@pytest.mark.parametrize(
    ("codec", "frame", "said"),
    [
        ("opus", b"", "frame of 0 B: should be one Opus packet"),
        ("opus", bytes(9000), "frame of 9000 B"),
        ("opus", "text", "should be bytes, not str"),
        ("pcm16", bytes(3), "frame of 3 B: should be a multiple of 2 B"),
    ],
)
def test_what_is_no_frame(v: Voice, engine: FakeEngine, codec: str, frame: Any, said: str) -> None:
    bridge = v.audio_bridge.attach(SID, codec=codec)
    with pytest.raises(VoiceError, match=said):
        bridge.publish_downlink(frame)
    with pytest.raises(VoiceError, match="timestamp_us = -1"):
        bridge.publish_downlink(b"ok", timestamp_us=-1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"codec": "mp3"}, "^codec = 'mp3': "),
        ({"sample_rate": 44100}, "^sample_rate = 44100: "),
        ({"channels": 2}, "^channels = 2: "),
        ({"frame_ms": 30}, "^frame_ms = 30: "),
        ({"codec": "g711_ulaw", "sample_rate": 16000}, "g711_ulaw has 8000 Hz"),
        ({"on_uplink": 5}, "^on_uplink = 5: should be a function"),
        ({"transport": "udp"}, "^transport = 'udp': "),
    ],
)
def test_a_bad_argument_is_named(v: Voice, engine: FakeEngine, given: dict[str, Any], said: str) -> None:
    with pytest.raises(VoiceError, match=said):
        v.audio_bridge.attach(SID, **given)
    assert engine.asked == []


@pytest.mark.proves("bridge.publish_uplink(frame), on_uplink(callback), on_downlink(callback)")
def test_a_caller_hears_the_downlink_and_speaks_on_the_uplink(
    v: Voice, engine: FakeEngine, heard: Heard
) -> None:
    bridge = v.audio_bridge.attach_caller(SID, on_downlink=heard)
    assert engine.inputs("voice.audioBridge.token")[0]["role"] == "caller"
    assert engine.sockets[0].query["role"] == "caller"
    engine.say(b"hello", 1)
    bridge.publish_uplink(b"hi")
    until(lambda: heard.frames and sent(engine))
    for verb in (bridge.publish_downlink, bridge.on_uplink):
        with pytest.raises(VoiceError, match="made by attach_caller; attach makes one that has it"):
            verb(b"")  # type: ignore[operator]


@pytest.mark.proves("bridge.publish_uplink(frame), on_uplink(callback), on_downlink(callback)")
def test_another_callback_in_the_middle(v: Voice, engine: FakeEngine, heard: Heard) -> None:
    bridge, other = v.audio_bridge.attach(SID, on_uplink=heard), Heard()
    engine.say(b"a", 1)
    until(lambda: heard.frames)
    bridge.on_uplink(other)
    engine.say(b"b", 2)
    until(lambda: other.frames)
    assert (heard.frames, other.frames) == ([(b"a", 1)], [(b"b", 2)])


def test_a_callback_that_fails_is_logged_and_the_next_one_runs(
    v: Voice, engine: FakeEngine, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def fails_once(frame: bytes, timestamp_us: int) -> None:
        if timestamp_us == 1:
            raise RuntimeError("my own fault")
        heard(frame, timestamp_us)

    bridge = v.audio_bridge.attach(SID, on_uplink=fails_once)
    engine.say(b"a", 1)
    engine.say(b"b", 2)
    until(lambda: heard.frames)
    assert "my own fault" in caplog.text
    assert not bridge.closed


def test_a_callback_may_use_the_client(v: Voice, engine: FakeEngine) -> None:
    done: list[str] = []
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t")

    def on_uplink(frame: bytes, timestamp_us: int) -> None:
        bridge.publish_downlink(frame)
        bridge.close()
        call.hangup()
        done.append("done")

    bridge = v.audio_bridge.attach(call.sid, on_uplink=on_uplink)
    engine.say(b"bye", 1)
    until(lambda: done)
    assert [frame.payload for frame in engine.sockets[0].frames] == [b"bye"]
    assert engine.inputs("voice.calls.hangup")


def test_a_slow_callback_loses_the_oldest(v: Voice, engine: FakeEngine) -> None:
    go, got = threading.Event(), []

    def slow(frame: bytes, timestamp_us: int) -> None:
        go.wait(10)
        got.append(timestamp_us)

    bridge = v.audio_bridge.attach(SID, on_uplink=slow)
    for number in range(600):
        engine.say(b"x", number)
    until(lambda: bridge.dropped >= 99)
    go.set()
    until(lambda: got and got[-1] == 599)
    assert len(got) <= 501


# ---- the end


def test_close_sends_what_was_published_first(v: Voice, engine: FakeEngine) -> None:
    bridge = v.audio_bridge.attach(SID, codec="pcm16", sample_rate=8000)
    bridge.publish_downlink(bytes(320 * 200))
    bridge.close()
    bridge.close()
    assert engine.sockets[0].closed.wait(5)
    assert len(sent(engine)) == 200
    assert bridge.closed
    with pytest.raises(VoiceError, match="this bridge is closed"):
        bridge.publish_downlink(bytes(320))


def test_after_close_no_callback_runs(v: Voice, engine: FakeEngine, heard: Heard) -> None:
    bridge = v.audio_bridge.attach(SID, on_uplink=heard)
    engine.say(b"a", 1)
    until(lambda: heard.frames)
    bridge.close()
    assert [name for name in client_threads() if name.startswith("frames")] == []


@pytest.mark.proves("dropping the last reference closes both tracks")
def test_dropping_the_last_reference_closes_both_tracks_at_once(
    v: Voice, engine: FakeEngine, heard: Heard
) -> None:
    bridge = v.audio_bridge.attach(SID, on_uplink=heard)
    engine.say(b"a", 1)
    until(lambda: heard.frames)
    gc.disable()  # it is the reference count that does it, not the collector
    try:
        del bridge
        assert engine.sockets[0].closed.wait(5)
    finally:
        gc.enable()


def test_a_callback_that_uses_the_bridge_holds_it_to_the_end_of_the_call(
    v: Voice, engine: FakeEngine
) -> None:
    def echo() -> None:
        bridge: AudioBridge = v.audio_bridge.attach(
            SID, on_uplink=lambda frame, timestamp_us: bridge.publish_downlink(frame)
        )

    echo()
    gc.collect()
    engine.say(b"still", 1)
    until(lambda: sent(engine))
    engine.end_sound(4410)
    until(lambda: not [name for name in client_threads() if name.startswith("frames")])


def test_the_end_of_the_call_ends_it_and_nothing_is_raised(v: Voice, engine: FakeEngine) -> None:
    bridge = v.audio_bridge.attach(SID)
    engine.end_sound(4410)
    until(lambda: bridge.closed)
    bridge.publish_downlink(b"into nothing")
    bridge.close()
    assert len(engine.sockets) == 1


@pytest.mark.parametrize(("code", "error"), [(4410, "GONE"), (4404, "GONE"), (4401, "NETWORK")])
def test_a_bridge_that_is_refused(v: Voice, engine: FakeEngine, code: int, error: str) -> None:
    engine.refuse_socket = code
    with pytest.raises(VoiceError, match=f"bridge of {SID}") as raised:
        v.audio_bridge.attach(SID)
    assert raised.value.code == error


def test_a_token_that_is_refused(v: Voice, engine: FakeEngine) -> None:
    engine.fail = [("NOT_FOUND", "there is no such call", "sid")]
    with pytest.raises(VoiceError, match="no such call") as raised:
        v.audio_bridge.attach(SID)
    assert raised.value.code == "NOT_FOUND"


# ---- broken connections


@pytest.mark.proves("a broken connection is made again, with its tracks")
def test_a_broken_connection_is_made_again_both_ways(v: Voice, engine: FakeEngine, heard: Heard) -> None:
    bridge = v.audio_bridge.attach(SID, on_uplink=heard)
    engine.say(b"a", 1)
    until(lambda: heard.frames)
    engine.cut()
    until(lambda: len(engine.sockets) == 2)
    until(lambda: bridge.reconnected == 1)
    engine.say(b"b", 2)
    bridge.publish_downlink(b"c")
    until(lambda: len(heard.frames) == 2 and sent(engine))
    tokens = {each.query["tok"] for each in engine.sockets}
    assert len(tokens) == 2
    assert not bridge.closed


def test_connecting_again_ends_when_the_call_has(v: Voice, engine: FakeEngine) -> None:
    bridge = v.audio_bridge.attach(SID)
    engine.fail = [("GONE", "the call has ended")]
    engine.cut()
    until(lambda: bridge.closed)
    assert len(engine.sockets) == 1


def test_what_waited_too_long_for_a_connection_is_dropped(
    v: Voice, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.voice.outbox.LATE_S", 0.0)
    bridge = v.audio_bridge.attach(SID)
    engine.refuse_socket = 4401
    engine.cut()
    until(lambda: len(engine.inputs("voice.audioBridge.token")) >= 3)
    bridge.publish_downlink(b"late")
    engine.refuse_socket = 0
    until(lambda: bridge.reconnected)
    bridge.publish_downlink(b"in time")
    until(lambda: sent(engine))
    assert [payload for _, payload in sent(engine)] == [b"in time"]
    assert bridge.dropped == 1


@pytest.mark.proves("Voice(relay_host=)")
def test_a_relay_elsewhere(engine: FakeEngine) -> None:
    host = engine.url.removeprefix("http://")
    engine.extra = {"websocket": "ws://relay.invalid:1"}
    with Voice(base_url=engine.url, api_key=KEY, org_id=ORG, relay_host=host) as v:
        assert v.relay_host == host
        bridge = v.audio_bridge.attach(SID)
        assert len(engine.sockets) == 1
        bridge.close()


def test_the_documents_default_is_where_the_engine_says(engine: FakeEngine) -> None:
    with Voice(base_url=engine.url, api_key=KEY, org_id=ORG) as v:
        assert v.relay_host == "relay.clutchcall.dev"
        v.audio_bridge.attach(SID).close()
        assert len(engine.sockets) == 1
