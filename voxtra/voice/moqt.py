"""Raw tracks: what is published and subscribed by name over MoQ, without the roles of an audio bridge."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from voxtra.voice.arguments import checked, format_of
from voxtra.voice.bridging import OnFrame, check_callback
from voxtra.voice.delivery import FRAMES, Delivery, TaskDelivery, ThreadDelivery
from voxtra.voice.errors import bad_argument
from voxtra.voice.moq_session import installed
from voxtra.voice.runner import Runner
from voxtra.voice.track_hub import Published, Subscribed, TrackHub
from voxtra.wire import AudioFormat


class AudioPublication:
    """A track that is published. Dropping the last reference ends it."""

    def __init__(self, client: MoqtClient | AsyncMoqtClient, hub: TrackHub, published: Published) -> None:
        self._client = client  # it lives as long as its tracks are held
        self._published = published
        self._finalizer = weakref.finalize(self, hub.soon, hub.unpublish, published)
        self._finalizer.atexit = False

    @property
    def path(self) -> str:
        """Its name, ``voice/<sid>/downlink``."""
        return self._published.path

    @property
    def format(self) -> AudioFormat:
        """How its frames are coded."""
        return self._published.format

    @property
    def dropped(self) -> int:
        """Frames that were not sent: there was no connection for too long."""
        return self._published.outbox.dropped

    def write(self, timestamp_us: int | None, frame: bytes) -> None:
        """Send one frame; ``pcm16`` and G.711 of any length. It never waits.

        Args:
            timestamp_us: its time, µs; None: following on, by the monotonic clock.
            frame: the sound.

        Raises:
            VoiceError: CLOSED; BAD_ARGUMENT: it can't be sound of this codec.
        """
        self._published.write(timestamp_us, frame)

    def close(self) -> None:
        """End the track; what was written is sent."""
        self._finalizer()


class AudioSubscription:
    """A track that is heard. Dropping the last reference ends it; the callback runs no more then."""

    def __init__(self, client: MoqtClient | AsyncMoqtClient, hub: TrackHub, subscribed: Subscribed) -> None:
        self._client = client
        self._subscribed = subscribed
        self._finalizer = weakref.finalize(self, hub.soon, hub.unsubscribe, subscribed)
        self._finalizer.atexit = False

    @property
    def path(self) -> str:
        """Its name, ``voice/<sid>/uplink``."""
        return self._subscribed.path

    @property
    def dropped(self) -> int:
        """Frames that the callback was too slow for."""
        return self._subscribed.delivery.dropped

    def close(self) -> None:
        """Hear it no more."""
        self._finalizer()


class MoqtClient:
    """One connection to a relay by MoQ, with tracks of any name on it.

    A connection that breaks is made again, and everything published and subscribed as before. For the sound of a call
    take :meth:`voxtra.voice.AudioBridges.attach`, or the tracks by hand: the relay's address is
    ``https://host:port/voice/<sid>?role=server&codec=…``, see docs/relay.md.

    Args:
        url: ``https://host:port/path``.
        token: goes with it as ``tok``; "" = none.
        fingerprints: SHA-256 of certificates to trust, hex; none = public ones.

    Raises:
        VoiceError: BAD_ARGUMENT; NETWORK: the relay is not reached by QUIC.
    """

    @checked
    def __init__(self, url: str, *, token: str = "", fingerprints: Sequence[str] = ()) -> None:
        place = _address(url, token), tuple(fingerprints)
        self._runner = Runner(_nothing)
        self._hub = self._runner.run(_opened(*place))
        self._finalizer = weakref.finalize(self, self._hub.abort)

    @checked
    def publish_audio(
        self,
        path: str,
        *,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
    ) -> AudioPublication:
        """Announce a track of sound.

        Raises:
            VoiceError: BAD_ARGUMENT; NETWORK: the path is taken; CLOSED.
        """
        fmt = format_of(codec, sample_rate, channels, frame_ms)
        return AudioPublication(self, self._hub, self._runner.run(self._hub.publish(_path(path), fmt)))

    @checked
    def subscribe_audio(self, path: str, on_frame: OnFrame, *, max_late_ms: int = 500) -> AudioSubscription:
        """Hear a track: frame and time in µs, on a background thread. It need not be there yet.

        Args:
            path: its name.
            on_frame: gets the frames.
            max_late_ms: sound that is so much older than the newest is skipped. Where it is sent ahead of its
                time, as synthesised speech is, that is to be longer than the speech.

        Raises:
            VoiceError: BAD_ARGUMENT; CLOSED.
        """
        subscribed = _subscribed(path, on_frame, ThreadDelivery(f"frames of {path}", FRAMES), max_late_ms)
        self._runner.run(self._hub.subscribe(subscribed))
        return AudioSubscription(self, self._hub, subscribed)

    @property
    def closed(self) -> bool:
        """Whether it is over: closed, or the relay has ended it for good."""
        return self._hub.over

    @property
    def reconnected(self) -> int:
        """How often the connection broke and was made again."""
        return self._hub.reconnected

    def close(self) -> None:
        """End all tracks and the connection; what was written is sent first."""
        if self._finalizer.detach() is not None:
            self._runner.run_if_open(self._hub.close())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncMoqtClient:
    """:class:`MoqtClient` for programs on an event loop: ``async with AsyncMoqtClient(url) as client``."""

    @checked
    def __init__(self, url: str, *, token: str = "", fingerprints: Sequence[str] = ()) -> None:
        self._place = _address(url, token), tuple(fingerprints)
        self._open: TrackHub | None = None

    async def __aenter__(self) -> Self:
        self._open = await _opened(*self._place)
        self._finalizer = weakref.finalize(self, self._open.abort)
        self._finalizer.atexit = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _hub(self) -> TrackHub:
        if self._open is None:
            raise bad_argument("connect first:  async with AsyncMoqtClient(...) as client")
        return self._open

    @checked
    async def publish_audio(
        self,
        path: str,
        *,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
    ) -> AudioPublication:
        """Announce a track of sound; see :meth:`MoqtClient.publish_audio`."""
        fmt = format_of(codec, sample_rate, channels, frame_ms)
        return AudioPublication(self, self._hub, await self._hub.publish(_path(path), fmt))

    @checked
    async def subscribe_audio(
        self, path: str, on_frame: OnFrame, *, max_late_ms: int = 500
    ) -> AudioSubscription:
        """Hear a track; the callback may be a coroutine function."""
        subscribed = _subscribed(path, on_frame, TaskDelivery(f"frames of {path}", FRAMES), max_late_ms)
        await self._hub.subscribe(subscribed)
        return AudioSubscription(self, self._hub, subscribed)

    @property
    def closed(self) -> bool:
        """Whether it is over: closed, or the relay has ended it for good."""
        return self._hub.over

    @property
    def reconnected(self) -> int:
        """How often the connection broke and was made again."""
        return self._hub.reconnected

    async def close(self) -> None:
        """End all tracks and the connection; what was written is sent first."""
        if self._open is not None and self._finalizer.detach() is not None:
            await self._open.close()


async def _opened(url: str, fingerprints: tuple[str, ...]) -> TrackHub:
    hub = TrackHub(url, fingerprints)
    await hub.open()
    return hub


async def _nothing() -> None:
    await asyncio.sleep(0)


def _subscribed(path: str, on_frame: OnFrame, delivery: Delivery, max_late_ms: int) -> Subscribed:
    if type(max_late_ms) is not int or not 0 < max_late_ms <= 60_000:
        raise bad_argument(f"max_late_ms = {max_late_ms!r}: should be 1 to 60000", "max_late_ms")
    if on_frame is None:
        raise bad_argument("on_frame = None: should be a function of (frame, timestamp_us)", "on_frame")
    check_callback(on_frame, "on_frame")
    return Subscribed(_path(path), on_frame, delivery, 1000 * max_late_ms)


def _path(path: object) -> str:
    if not isinstance(path, str) or not path.strip("/"):
        raise bad_argument(f"path = {path!r}: should be a track's, like voice/<sid>/uplink", "path")
    return path.strip("/")


def _address(url: object, token: str) -> str:
    parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
    if parts.scheme != "https" or not parts.hostname:
        raise bad_argument(
            f"url = {url!r}: should be the relay's, like https://relay.example.com:4443/path", "url"
        )
    if not installed():
        raise bad_argument("MoqtClient: moq-rs is not installed: run  pip install 'voxtra[voice]'")
    query = [*parse_qsl(parts.query, keep_blank_values=True), *([("tok", token)] if token else [])]
    return urlunsplit(parts._replace(query=urlencode(query)))
