"""Fetches sound from URLs that somebody else may have written: guarded, bounded, cached."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp

from voxtra._public_net import PublicOnly, check_url
from voxtra.errors import CodecError, ConfigurationError, PlaybackError
from voxtra.media.resample import resample
from voxtra.media.wav import decode_wav

MAX_BYTES = 20 * 1024 * 1024
"""Largest file that is fetched."""
MAX_S = 600.0
"""Longest sound: what a line takes. Compressed, silence of days is small."""
CACHE_BYTES = 64 * 1024 * 1024
"""Decoded sound that is kept for the next time."""
ENTRY_BYTES = 500
"""What a sound in the cache costs beside its own bytes."""
DECODING = 2
"""Files that are decoded at once; each may take some hundred MB meanwhile."""
RATE_STEP = 25
"""Rates are taken as multiples of this, as all usual ones are: a filter for 44,101 Hz would take 10 MB."""
FETCH_S = 15.0
"""How long a fetch may take in all."""
PER_HOST = 20
"""Connections to one server. There is no bound for all: a slow one would hold up the others' sounds."""
MAX_REDIRECTS = 3
_VALIDATORS = (("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"))


@dataclass(slots=True, frozen=True)
class _Kept:
    """A sound, and the headers by which its server is asked whether it is still the same."""

    conditions: dict[str, str]
    pcm: bytes
    rate: int
    cost: int


class SoundFetcher:
    """Gets sound by URL, as PCM. Shared by all calls of an app.

    Args:
        private: allow addresses of private networks and of this machine.
    """

    def __init__(self, *, private: bool = False) -> None:
        self._private = private
        self._session: aiohttp.ClientSession | None = None
        self._resolver: PublicOnly | None = None
        self._cache: OrderedDict[str, _Kept] = OrderedDict()
        self._size = 0
        self._decoding = asyncio.Semaphore(DECODING)

    async def fetch(self, url: str, rate: int) -> bytes:
        """The sound at ``url`` as 16-bit mono PCM at ``rate`` Hz.

        What was fetched before is asked for again by its ETag or Last-Modified, and not sent twice.

        Raises:
            ConfigurationError: the URL is none, or leads into a private network.
            PlaybackError: it could not be fetched, is too large, or is no sound that can be read.
        """
        try:
            async with asyncio.timeout(FETCH_S):
                pcm, original = await self._get(url)
        except TimeoutError:
            raise PlaybackError(f"{_shown(url)}: not fetched within {FETCH_S:g} s") from None
        except ConfigurationError:
            raise
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # the last: a host name that can't be
            cause = error.__cause__ if isinstance(error.__cause__, ConfigurationError) else None
            raise cause or PlaybackError(f"{_shown(url)}: {error}") from error
        return await asyncio.to_thread(resample, pcm, original, rate) if original != rate else pcm

    async def _get(self, url: str) -> tuple[bytes, int]:
        shown = _shown(url)
        location = url
        for _ in range(MAX_REDIRECTS + 1):
            check_url(location, private=self._private)
            known = self._cache.get(location)  # not by the first: a validator is of one address
            headers = known.conditions if known is not None else {}
            async with self._client().get(location, headers=headers, allow_redirects=False) as response:
                if response.status == 304 and known is not None:
                    if location in self._cache:  # another call's sound may have taken its room by now
                        self._cache.move_to_end(location)
                    return known.pcm, known.rate
                if response.status in (301, 302, 303, 307, 308):
                    location = _redirected(location, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise PlaybackError(f"{shown}: the server says {response.status} {response.reason}")
                body = await self._body(shown, response)
                pcm, rate = await self._decoded(shown, body)
                self._keep(location, response, pcm, rate)
                return pcm, rate
        raise PlaybackError(f"{shown}: more than {MAX_REDIRECTS} redirects")

    @staticmethod
    async def _body(shown: str, response: aiohttp.ClientResponse) -> bytes:
        coding = response.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":  # which may unpack to a thousand times its size
            raise PlaybackError(f"{shown}: sent as {coding}, which was not asked for")
        body = bytearray()
        async for piece in response.content.iter_chunked(65536):
            body += piece
            if len(body) > MAX_BYTES:
                raise PlaybackError(f"{shown}: larger than {MAX_BYTES // 1048576} MB")
        return bytes(body)

    async def _decoded(self, shown: str, body: bytes) -> tuple[bytes, int]:
        try:
            async with self._decoding:
                pcm, rate = await asyncio.to_thread(decode_sound, body)
        except CodecError as error:
            raise PlaybackError(f"{shown}: {error}") from error
        return pcm, RATE_STEP * round(rate / RATE_STEP)

    def _keep(self, location: str, response: aiohttp.ClientResponse, pcm: bytes, rate: int) -> None:
        """Keep what can be asked for again, as long as there is room: the least used goes first."""
        self._forget(location)
        headers = response.headers
        conditions = {ask: headers[name] for name, ask in _VALIDATORS if name in headers}
        if not conditions or "no-store" in headers.get("Cache-Control", "").lower():
            return
        cost = len(pcm) + len(location) + sum(map(len, conditions.values())) + ENTRY_BYTES
        if cost > CACHE_BYTES // 4:
            return
        self._cache[location] = _Kept(conditions, pcm, rate, cost)
        self._size += cost
        while self._size > CACHE_BYTES:
            self._forget(next(iter(self._cache)))

    def _forget(self, location: str) -> None:
        entry = self._cache.pop(location, None)
        if entry is not None:
            self._size -= entry.cost

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = None if self._private else PublicOnly()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=self._resolver, limit=0, limit_per_host=PER_HOST),
                cookie_jar=aiohttp.DummyCookieJar(),  # one call's server tells nothing to another's
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def close(self) -> None:
        """Close connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None


def _shown(url: str) -> str:
    """``url`` without what may be a secret in it: a password, a signature."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "this URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _redirected(location: str, to: str) -> str:
    try:
        return urljoin(location, to)
    except ValueError:
        return to  # no URL: check_url says so


def decode_sound(data: bytes) -> tuple[bytes, int]:
    """A sound file as 16-bit mono PCM and its rate: WAV; MP3, Ogg and FLAC with ``voxtra[sounds]``.

    Raises:
        CodecError: it is none of these (names the extra where that would help), or longer than ``MAX_S``.
    """
    if data[:4] == b"RIFF":
        return decode_wav(data, max_s=MAX_S)
    try:
        import soundfile
    except ImportError:
        raise CodecError("no WAV file; for MP3, Ogg and FLAC run  pip install 'voxtra[sounds]'") from None
    import io

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not (8000 <= file.samplerate <= 192_000 and file.channels <= 32):
                raise CodecError(
                    f"it says it has {file.samplerate} samples a second, {file.channels} channels"
                )
            return _read(file), int(file.samplerate)
    except (soundfile.SoundFileError, ValueError) as error:
        raise CodecError(f"no sound that can be read: {error}") from None


def _read(file: Any) -> bytes:
    """All of an open SoundFile, a second at a time: its header may say anything of its length."""
    pcm = bytearray()
    while len(block := file.read(file.samplerate, dtype="int16", always_2d=True)):
        pcm += block.mean(axis=1).astype("<i2").tobytes()
        if len(pcm) > 2 * MAX_S * file.samplerate:
            raise CodecError(f"it is longer than {MAX_S:g} s")
    return bytes(pcm)
