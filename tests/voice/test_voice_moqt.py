"""Raw tracks, through a relay that passes everything on to everybody."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import moq
import pytest
from conftest import client_threads, until

from voxtra.voice import AsyncMoqtClient, AudioPublication, MoqtClient, VoiceError

UP, DOWN = "voice/call_0001/uplink", "voice/call_0001/downlink"


class Relay:
    """``end`` closes all sessions with a code."""

    def __init__(self) -> None:
        self.url = ""
        self.fingerprints: list[str] = []
        self.asked: list[str] = []
        self.sessions: list[Any] = []
        self.loop: asyncio.AbstractEventLoop | None = None

    def end(self, code: int) -> None:
        assert self.loop is not None
        for session in self.sessions:
            self.loop.call_soon_threadsafe(session.cancel, code)
        self.sessions = []


@contextmanager
def relaying() -> Iterator[Relay]:
    relay, ready, ends = Relay(), threading.Event(), []

    async def serve() -> None:
        relay.loop = asyncio.get_running_loop()
        ends.append(asyncio.Event())
        shared = moq.OriginProducer()
        server = moq.Server("127.0.0.1:0", publish=shared, subscribe=shared, tls_generate=["127.0.0.1"])
        async with server:
            relay.fingerprints = list(server.cert_fingerprints())
            relay.url = f"https://{server.local_addr}/voice/call_0001"

            async def accept() -> None:
                async for request in server:
                    relay.asked.append(request.query)
                    relay.sessions.append(await request.accept())

            accepting = asyncio.create_task(accept())
            ready.set()
            await ends[0].wait()
            accepting.cancel()
            relay.sessions.clear()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield relay
    assert relay.loop is not None
    relay.loop.call_soon_threadsafe(ends[0].set)
    thread.join(10)


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    with relaying() as it:
        yield it


def client(relay: Relay) -> MoqtClient:
    return MoqtClient(relay.url, token="a.b.c", fingerprints=relay.fingerprints)


class Heard:
    def __init__(self) -> None:
        self.frames: list[tuple[bytes, int]] = []

    def __call__(self, frame: bytes, timestamp_us: int) -> None:
        self.frames.append((frame, timestamp_us))


@pytest.mark.proves("MoqtClient.publish_audio, subscribe_audio")
def test_from_one_client_to_two_others(relay: Relay) -> None:
    one, two = Heard(), Heard()
    with client(relay) as publisher, client(relay) as first, client(relay) as second:
        pairs = ((first, one), (second, two))
        subscriptions = [each.subscribe_audio(UP, heard, max_late_ms=9000) for each, heard in pairs]
        publication = publisher.publish_audio(UP, codec="pcm16", sample_rate=16000)
        assert (publication.path, publication.format.sample_rate) == (UP, 16000)
        sent = []
        for number in range(120):
            frame = bytes([number]) * 640
            sent.append((frame, number * 20_000))
            publication.write(number * 20_000, frame)
        until(lambda: len(one.frames) == len(two.frames) == 120)
        assert one.frames == two.frames == sent
        assert [each.path for each in subscriptions] == [UP, UP]
        assert publication.dropped == subscriptions[0].dropped == 0
    assert relay.asked[-1] == "tok=a.b.c"
    assert publisher.closed
    assert client_threads() == []
    with pytest.raises(VoiceError, match="closed"):
        publication.write(None, bytes(640))


def test_a_broken_connection_is_made_again_with_its_tracks(relay: Relay) -> None:
    heard = Heard()
    with client(relay) as publisher, client(relay) as subscriber:
        subscription = subscriber.subscribe_audio(DOWN, heard)
        publication = publisher.publish_audio(DOWN)
        publication.write(1, b"before")
        until(lambda: heard.frames)
        relay.end(500)
        until(lambda: publisher.reconnected and subscriber.reconnected)

        def again() -> bool:
            publication.write(2, b"after")
            return (b"after", 2) in heard.frames

        until(again)
        subscription.close()


def test_a_relay_that_says_no_for_good(relay: Relay) -> None:
    relay.sessions.clear()
    with client(relay) as it:
        until(lambda: relay.sessions)
        relay.end(410)
        until(lambda: it.closed)
        with pytest.raises(VoiceError, match="closed"):
            it.publish_audio("voice/call_0001/other")


def test_dropping_what_is_held(relay: Relay) -> None:
    heard = Heard()
    publication: AudioPublication | None = client(relay).publish_audio(
        "voice/call_0002/uplink"
    )  # and its client
    subscriber = client(relay)
    subscription = subscriber.subscribe_audio("voice/call_0002/uplink", heard)
    assert publication is not None
    publication.write(1, b"x")
    until(lambda: heard.frames)
    assert [name for name in client_threads() if name.startswith("frames")]
    del subscription
    until(lambda: not [name for name in client_threads() if name.startswith("frames")])
    publication = None
    del subscriber
    gc.collect()
    until(lambda: client_threads() == [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://relay.test"}, "^url = 'http://relay.test': should be the relay's"),
        ({"url": 3}, "^url = 3"),
        ({"uri": "https://relay.test"}, "did you mean 'url'"),
    ],
)
def test_a_bad_argument_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(VoiceError, match=said):
        MoqtClient(**given)


def test_a_bad_path_or_callback(relay: Relay) -> None:
    with client(relay) as it:
        with pytest.raises(VoiceError, match="path = '/': should be a track's"):
            it.publish_audio("/")
        with pytest.raises(VoiceError, match="on_frame = 3: should be a function"):
            it.subscribe_audio(UP, 3)  # type: ignore[arg-type]
        with pytest.raises(VoiceError, match="max_late_ms = 0: should be 1 to 60000"):
            it.subscribe_audio(UP, print, max_late_ms=0)
        with pytest.raises(VoiceError, match="codec = 'mp3'"):
            it.publish_audio(UP, codec="mp3")


def test_nobody_there(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.voice.moq_session.CONNECT_S", 0.3)
    with pytest.raises(VoiceError, match=r"no QUIC connection to https://127.0.0.1:9/x: no answer") as raised:
        MoqtClient("https://127.0.0.1:9/x", token="secret")
    assert raised.value.code == "NETWORK"
    assert "secret" not in str(raised.value)


async def test_the_async_one(relay: Relay) -> None:
    heard = Heard()
    with pytest.raises(VoiceError, match="connect first"):
        await AsyncMoqtClient(relay.url).publish_audio(UP)
    async with AsyncMoqtClient(relay.url, fingerprints=relay.fingerprints) as it:
        subscription = await it.subscribe_audio("voice/call_0003/uplink", heard)
        publication = await it.publish_audio("voice/call_0003/downlink")
        async with AsyncMoqtClient(relay.url, fingerprints=relay.fingerprints) as other:
            back = Heard()
            held = await other.subscribe_audio("voice/call_0003/downlink", back)
            sent = await other.publish_audio("voice/call_0003/uplink")
            publication.write(None, b"to")
            sent.write(5, b"fro")
            async with asyncio.timeout(10):
                while not (heard.frames and back.frames):
                    await asyncio.sleep(0.01)
            assert heard.frames == [(b"fro", 5)]
            held.close()
        assert (it.closed, it.reconnected) == (False, 0)
        subscription.close()
    assert it.closed
