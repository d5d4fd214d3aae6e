"""Fetches sound from URLs that somebody else may have written: guarded, bounded, cached."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any
from urllib.parse import urljoin

import aiohttp

from voxtra._public_net import PublicOnly, check_url
from voxtra.errors import CodecError, ConfigurationError, PlaybackError
from voxtra.media.resample import resample
from voxtra.media.wav import decode_wav

MAX_BYTES = 20 * 1024 * 1024
"""Largest file that is fetched."""
CACHE_BYTES = 64 * 1024 * 1024
"""Decoded sound that is kept for the next time."""
FETCH_S = 15.0
"""How long a fetch may take in all."""
MAX_REDIRECTS = 3


class SoundFetcher:
    """Gets sound by URL, as PCM. Shared by all calls of an app.

    Args:
        private: allow addresses of private networks and of this machine.
    """

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._session: aiohttp.ClientSession | None = None
        self._cache: OrderedDict[str, tuple[str, bytes, int]] = OrderedDict()
        self._size = 0

    async def fetch(self, url: str, rate: int) -> bytes:
        """The sound at ``url`` as 16-bit mono PCM at ``rate`` Hz.

        What was fetched before is asked for again by its ETag, and not sent twice.

        Raises:
            ConfigurationError: the URL is none, or leads into a private network.
            PlaybackError: it could not be fetched, is too large, or is no sound that can be read.
        """
        try:
            async with asyncio.timeout(FETCH_S):
                pcm, original = await self._get(url)
        except TimeoutError:
            raise PlaybackError(f"{url}: not fetched within {FETCH_S:g} s") from None
        except ConfigurationError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, ConfigurationError) else None
            raise cause or PlaybackError(f"{url}: {error}") from error
        return await asyncio.to_thread(resample, pcm, original, rate) if original != rate else pcm

    async def _get(self, url: str) -> tuple[bytes, int]:
        known = self._cache.get(url)
        headers = {"If-None-Match": known[0]} if known and known[0] else {}
        location = url
        for _ in range(MAX_REDIRECTS + 1):
            check_url(location, private=self._private)
            async with self._client().get(location, headers=headers, allow_redirects=False) as response:
                if response.status == 304 and known is not None:
                    self._cache.move_to_end(url)
                    return known[1], known[2]
                if response.status in (301, 302, 303, 307, 308):
                    location = urljoin(location, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise PlaybackError(f"{url}: the server says {response.status} {response.reason}")
                body = await self._body(url, response)
                return await self._decoded(url, response.headers.get("ETag", ""), body)
        raise PlaybackError(f"{url}: more than {MAX_REDIRECTS} redirects")

    @staticmethod
    async def _body(url: str, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_chunked(65536):
            body += piece
            if len(body) > MAX_BYTES:
                raise PlaybackError(f"{url}: larger than {MAX_BYTES // 1048576} MB")
        return bytes(body)

    async def _decoded(self, url: str, etag: str, body: bytes) -> tuple[bytes, int]:
        try:
            pcm, rate = await asyncio.to_thread(decode_sound, body)
        except CodecError as error:
            raise PlaybackError(f"{url}: {error}") from error
        if len(pcm) <= CACHE_BYTES // 4:
            self._forget(url)
            self._cache[url] = (etag, pcm, rate)
            self._size += len(pcm)
            while self._size > CACHE_BYTES:
                self._forget(next(iter(self._cache)))
        return pcm, rate

    def _forget(self, url: str) -> None:
        entry = self._cache.pop(url, None)
        if entry is not None:
            self._size -= len(entry[1])

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver: Any = None if self._private else PublicOnly()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=20), trust_env=False
            )
        return self._session

    async def close(self) -> None:
        """Close connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def decode_sound(data: bytes) -> tuple[bytes, int]:
    """A sound file as 16-bit mono PCM and its rate: WAV; MP3, Ogg and FLAC with ``voxtra[sounds]``.

    Raises:
        CodecError: it is none of these; names the extra where that would help.
    """
    if data[:4] == b"RIFF":
        return decode_wav(data)
    try:
        import soundfile
    except ImportError:
        raise CodecError("no WAV file; for MP3, Ogg and FLAC run  pip install 'voxtra[sounds]'") from None
    import io

    import numpy as np

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="int16", always_2d=True)
    except (soundfile.SoundFileError, ValueError) as error:
        raise CodecError(f"no sound that can be read: {error}") from None
    mono = samples.mean(axis=1).astype("<i2") if samples.shape[1] > 1 else samples[:, 0]
    pcm: bytes = np.ascontiguousarray(mono, dtype="<i2").tobytes()
    return pcm, int(rate)
