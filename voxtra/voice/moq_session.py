"""MoQ for the client: sessions, published and subscribed tracks. The only module here that knows ``moq-rs``.

That package is young: it is pinned to one version, and whatever it raises ends here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
from collections.abc import AsyncIterator
from typing import Any, Final, Self

from voxtra.voice.errors import VoiceError, bad_argument
from voxtra.voice.link import LinkEnded
from voxtra.wire import AudioFormat, SoundFrame, pack, unpack

CONNECT_S: Final = 3.0
GROUP_FRAMES: Final = 50
"""Frames of a group: one a frame lost sound under load, a second of it none."""
LATE_US: Final = 500_000
"""Received sound that is later than this is skipped, µs."""
AHEAD_US: Final = 60_000_000
"""How far ahead of its time sound may be published, µs: synthesised speech comes all at once."""
FLUSH_S: Final = 1.0
SENT_BYTES: Final = 4_000
_STATS_S = 0.15  # they are renewed every 100 ms
_REJECTED = 64
"""What MoQ adds to the status of a request that is refused; one that is closed later has it plain."""
_AGAIN = (401, 429)
"""Refusals that another try, with a new token, may get over."""


def installed() -> bool:
    """Whether the QUIC transport is."""
    return importlib.util.find_spec("moq") is not None


def _moq() -> Any:
    try:
        import moq
    except (ImportError, OSError):
        raise bad_argument(
            "QUIC needs moq-rs, which is not installed: run  pip install 'voxtra[voice]'"
        ) from None
    return moq


class MoqSession:
    """One connection. Made by :meth:`connect`; it does not reconnect by itself."""

    def __init__(self, moq: Any, client: Any) -> None:
        self._moq = moq
        self._client = client

    @classmethod
    async def connect(cls, url: str, fingerprints: tuple[str, ...] = (), *, tls_verify: bool = True) -> Self:
        """Connect to a relay.

        Args:
            url: ``https://host:port/path?tok=…``.
            fingerprints: SHA-256 of certificates to trust, hex; none = public ones.
            tls_verify: False trusts anybody, for tests alone.

        Raises:
            VoiceError: NETWORK: nobody answers by QUIC; BAD_ARGUMENT: moq-rs is not installed.
        """
        moq = _moq()
        client = moq.Client(
            url,
            tls_fingerprints=list(fingerprints) or None,
            tls_verify=tls_verify,
            websocket_enabled=False,
            reconnect=False,
            publish=moq.OriginProducer(),
            subscribe=moq.OriginProducer(),
        )
        try:
            async with asyncio.timeout(CONNECT_S):
                await client.__aenter__()
        except (moq.Error, TimeoutError) as error:
            await client.__aexit__(None, None, None)
            place = url.split("?")[0]  # never the token
            why = "no answer" if isinstance(error, TimeoutError) else repr(error)
            raise VoiceError(f"no QUIC connection to {place}: {why}", code="NETWORK") from None
        return cls(moq, client)

    async def ended(self) -> LinkEnded:
        """Wait for the end; why it came."""
        try:
            await self._client.session.closed()
        except self._moq.Error as error:
            return self._why(error)
        return LinkEnded("the connection was closed", final=False)

    def _why(self, error: Exception) -> LinkEnded:
        details = self._moq.protocol_error(error)
        if details is None:
            return LinkEnded(f"the connection broke: {error!r}", final=False)
        code = 401 if self._moq.is_auth(error) else int(details.code)
        if _REJECTED + 400 <= code < 500:
            code -= _REJECTED
        words = {404: "there is no such call", 410: "the call has ended", 401: "the token is not taken"}
        final = 400 <= code < 500 and code not in _AGAIN
        return LinkEnded(words.get(code, f"the relay closed with {code}"), final=final)

    def publish(self, path: str, fmt: AudioFormat) -> Publication:
        """Announce sound at a path.

        Raises:
            VoiceError: NETWORK: the session is over, or the path is taken.
        """
        try:
            return Publication(self._moq, self._client.create_broadcast(path), fmt)
        except self._moq.Error as error:
            raise VoiceError(f"{path}: can't be published: {error!r}", code="NETWORK") from None

    async def frames(self, path: str, late_us: int = LATE_US) -> AsyncIterator[SoundFrame]:
        """Frames that are published at a path; waits for it, and ends with it. What is later is skipped."""
        moq = self._moq
        try:
            broadcast = await self._client.announced_broadcast(path)
            wanted = moq.Subscription(max_age_us=late_us)
            async with await broadcast.subscribe_track("audio", wanted) as track:
                async for group in track:
                    async for frame in group:
                        yield unpack(frame.payload)
        except ValueError as error:
            raise LinkEnded(f"{path}: {error}", final=False) from None
        except moq.Error as error:
            raise LinkEnded(f"{path}: {error!r}", final=False) from None

    async def announced(self, path: str) -> None:
        """Wait until somebody publishes at a path. Raises LinkEnded when the session ends before."""
        try:
            await self._client.announced_broadcast(path)
        except self._moq.Error as error:
            raise LinkEnded(f"{path}: {error!r}", final=False) from None

    async def sent(self) -> None:
        """Wait until next to nothing more goes out, :data:`FLUSH_S` at most. The package tells no better."""
        before = -SENT_BYTES
        for _ in range(int(FLUSH_S / _STATS_S)):
            await asyncio.sleep(_STATS_S)
            now = self._client.session.stats().bytes_sent or 0
            if now - before < SENT_BYTES:
                return
            before = now

    async def close(self) -> None:
        """End it, at once."""
        await self._client.__aexit__(None, None, None)


class Publication:
    """Sound on its way to whoever subscribes. Made by :meth:`MoqSession.publish`."""

    def __init__(self, moq: Any, broadcast: Any, fmt: AudioFormat) -> None:
        self._error = moq.Error
        self._broadcast = broadcast
        info = moq.TrackInfo(max_age_us=AHEAD_US)
        self._audio = broadcast.publish_track("audio", info)
        self._info = broadcast.publish_track("info", info)
        self._info.write_frame(json.dumps(fmt.info()).encode(), 0)
        self._group: Any = None
        self._count = 0
        self._closed = False
        broadcast.announce()

    def write(self, frame: SoundFrame) -> None:
        """Publish one frame. Raises LinkEnded when the session is over."""
        try:
            if self._count % GROUP_FRAMES == 0:
                if self._group is not None:
                    self._group.finish()
                self._group = self._audio.append_group()
            self._count += 1
            self._group.write_frame(pack(frame), frame.timestamp_us)
        except self._error as error:
            raise LinkEnded(f"published to nobody: {error!r}", final=False) from None

    def close(self) -> None:
        """End the tracks, at once."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(self._error):
            if self._group is not None:
                self._group.finish()
            self._broadcast.unannounce()  # a track that ends while announced is asked for again
            self._audio.finish()
            self._info.finish()
            self._broadcast.close()
