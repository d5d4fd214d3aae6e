"""Sound from URLs of others: what a server may answer, what is kept, and what of it costs too much."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from voxtra.calls import fetch as fetching
from voxtra.calls.fetch import SoundFetcher, decode_sound
from voxtra.errors import CodecError, ConfigurationError, PlaybackError
from voxtra.media.resample import _phases
from voxtra.media.wav import write_wav

PCM = bytes(range(1, 101)) * 4
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def wav(tmp_path: Any, pcm: bytes = PCM) -> bytes:
    write_wav(tmp_path / "a.wav", 8000, pcm)
    return bytes((tmp_path / "a.wav").read_bytes())


class Site:
    """A server of which a test says how it answers each path."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[web.Request] = []
        self.answers: dict[str, Answer] = {}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        return await self.answers[request.path](request)

    def gives(self, path: str, body: bytes = b"", **headers: str) -> None:
        """``path`` answers with this, and with 304 to who shows the ETag or date that is among the headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}

        async def answer(request: web.Request) -> web.Response:
            shown = {request.headers.get("If-None-Match"), request.headers.get("If-Modified-Since")} - {None}
            if shown & {named.get("ETag"), named.get("Last-Modified")}:
                return web.Response(status=304)
            if "Location" in named:
                return web.Response(status=302, headers=named)
            return web.Response(body=body, headers=named)

        self.answers[path] = answer


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{any:.*}", site.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield site
    await runner.cleanup()


@pytest.fixture
async def sounds() -> AsyncIterator[SoundFetcher]:
    sounds = SoundFetcher(private=True)
    yield sounds
    await sounds.close()


@pytest.mark.parametrize(
    "known",
    [{"ETag": '"v1"'}, {"Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, {"ETag": '"v1"', "Vary": "*"}],
)
async def test_what_is_known_is_not_sent_twice(
    site: Site, sounds: SoundFetcher, tmp_path: Any, known: dict[str, str]
) -> None:
    site.gives("/a.wav", wav(tmp_path), **known)
    assert await sounds.fetch(f"{site.url}/a.wav", 8000) == PCM
    site.gives("/a.wav", b"no sound", **known)
    assert await sounds.fetch(f"{site.url}/a.wav", 8000) == PCM


@pytest.mark.parametrize("headers", [{}, {"ETag": '"v1"', "Cache_Control": "private, No-Store"}])
async def test_what_can_not_be_asked_for_again_is_not_kept(
    site: Site, sounds: SoundFetcher, tmp_path: Any, headers: dict[str, str]
) -> None:
    site.gives("/a.wav", wav(tmp_path), **headers)
    await sounds.fetch(f"{site.url}/a.wav", 8000)
    assert not sounds._cache
    site.gives("/a.wav", wav(tmp_path, PCM[:100]), **headers)
    assert await sounds.fetch(f"{site.url}/a.wav", 8000) == PCM[:100]


async def test_a_redirect_that_leads_elsewhere_by_now(
    site: Site, sounds: SoundFetcher, tmp_path: Any
) -> None:
    """A validator is of one address: another's may be the same and mean another sound."""
    site.gives("/one.wav", wav(tmp_path), ETag='"v1"')
    site.gives("/two.wav", wav(tmp_path, PCM[:100]), ETag='"v1"')
    site.gives("/moved", Location="/one.wav")
    assert await sounds.fetch(f"{site.url}/moved", 8000) == PCM
    site.gives("/moved", Location="/two.wav")
    assert await sounds.fetch(f"{site.url}/moved", 8000) == PCM[:100]


async def test_a_sound_that_is_forgotten_while_it_is_asked_for(
    site: Site, sounds: SoundFetcher, tmp_path: Any
) -> None:
    site.gives("/a.wav", wav(tmp_path), ETag='"v1"')
    await sounds.fetch(f"{site.url}/a.wav", 8000)
    there = site.answers["/a.wav"]

    async def forgotten(request: web.Request) -> web.StreamResponse:
        sounds._forget(next(iter(sounds._cache)))  # another call's sound took its room
        return await there(request)

    site.answers["/a.wav"] = forgotten
    assert await sounds.fetch(f"{site.url}/a.wav", 8000) == PCM


async def test_the_cache_has_a_bound_whatever_is_in_it(
    site: Site, sounds: SoundFetcher, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "CACHE_BYTES", 20_000)
    empty = wav(tmp_path, b"")
    for number in range(60):
        site.gives(f"/{number}.wav", empty, ETag='"v1"')
        await sounds.fetch(f"{site.url}/{number}.wav", 8000)
    assert 5 < len(sounds._cache) < 40
    for location in list(sounds._cache):
        sounds._forget(location)
    assert sounds._size == 0


async def test_a_server_gets_nothing_back_of_what_it_sent_to_another_call(
    site: Site, sounds: SoundFetcher, tmp_path: Any
) -> None:
    site.gives("/a.wav", wav(tmp_path), Set_Cookie="caller=4711")
    await sounds.fetch(f"{site.url}/a.wav", 8000)
    await sounds.fetch(f"{site.url}/a.wav", 8000)
    assert "Cookie" not in site.asked[1].headers


@pytest.mark.parametrize("location", ["http://[::1", "http://a..b/x", f"http://{'a' * 64}.example/"])
async def test_a_redirect_to_nowhere(site: Site, sounds: SoundFetcher, location: str) -> None:
    site.gives("/moved", Location=location)
    with pytest.raises((PlaybackError, ConfigurationError)) as error:
        await sounds.fetch(f"{site.url}/moved", 8000)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
@pytest.mark.parametrize("private", [True, False])
async def test_a_name_that_is_none(host: str, private: bool) -> None:
    sounds = SoundFetcher(private=private)
    try:
        with pytest.raises((PlaybackError, ConfigurationError)):
            await sounds.fetch(f"http://{host}/a.wav", 8000)
    finally:
        await sounds.close()


async def test_a_redirect_into_a_private_network(site: Site) -> None:
    sounds = SoundFetcher()
    for wrong in (site.url, site.url.replace("127.0.0.1", "localhost"), "http://[::ffff:7f00:1]/"):
        with pytest.raises(ConfigurationError, match="public internet"):
            await sounds.fetch(wrong, 8000)
    await sounds.close()
    assert not site.asked


async def test_small_on_the_wire_and_huge_in_memory(
    site: Site, sounds: SoundFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is never unpacked, so it costs what was sent."""
    unpacked: list[int] = []
    monkeypatch.setattr(fetching, "decode_sound", lambda data: unpacked.append(len(data)) or (b"", 8000))
    bomb = gzip.compress(bytes(30 * 1024 * 1024))
    site.gives("/a.wav", bomb, Content_Encoding="gzip")
    with pytest.raises(PlaybackError, match="gzip"):
        await sounds.fetch(f"{site.url}/a.wav", 8000)
    assert unpacked == []
    assert site.asked[0].headers["Accept-Encoding"] == "identity"


async def test_too_large_and_too_slow(
    site: Site, sounds: SoundFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_BYTES", 100_000)
    monkeypatch.setattr(fetching, "FETCH_S", 0.3)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(bytes(1000))
        await asyncio.sleep(1)
        return answer

    site.gives("/large.wav", bytes(200_000))
    site.answers["/slow.wav"] = endless
    with pytest.raises(PlaybackError, match="larger than"):
        await sounds.fetch(f"{site.url}/large.wav", 8000)
    with pytest.raises(PlaybackError, match=r"not fetched within 0\.3 s"):
        await sounds.fetch(f"{site.url}/slow.wav", 8000)


async def test_a_slow_server_holds_up_its_own_sounds_alone(
    site: Site, sounds: SoundFetcher, tmp_path: Any
) -> None:
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response(body=wav(tmp_path))

    site.answers["/slow.wav"] = slow
    site.gives("/a.wav", wav(tmp_path))
    other = site.url.replace("127.0.0.1", "localhost")
    waiting = [asyncio.ensure_future(sounds.fetch(f"{site.url}/slow.wav", 8000)) for _ in range(30)]
    try:
        async with asyncio.timeout(3):
            while len(site.asked) < fetching.PER_HOST:
                await asyncio.sleep(0.01)
            assert await sounds.fetch(f"{other}/a.wav", 8000) == PCM
        assert len(site.asked) == fetching.PER_HOST + 1, "nor is a server overrun"
    finally:
        release.set()
    assert await asyncio.gather(*waiting) == [PCM] * 30


async def test_an_error_does_not_tell_the_password_nor_the_signature(
    site: Site, sounds: SoundFetcher
) -> None:
    site.gives("/a.wav", b"no sound")
    url = site.url.replace("//", "//me:secret@") + "/a.wav?Signature=abcdef"
    with pytest.raises(PlaybackError, match=r"/a\.wav") as error:
        await sounds.fetch(url, 8000)
    assert "secret" not in str(error.value)
    assert "abcdef" not in str(error.value)


# ---- what is in the file


def flac(samples: np.ndarray[Any, Any], rate: int) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def test_channels_are_mixed() -> None:
    samples = np.array([[100, 300]] * 20_000, dtype="<i2")
    pcm, rate = decode_sound(flac(samples, 16000))
    assert rate == 16000
    assert len(pcm) == 40_000
    assert set(np.frombuffer(pcm, "<i2")) == {200}


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_sound_longer_than_a_line_takes(kind: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compressed silence is a thousandth of what it becomes."""
    monkeypatch.setattr(fetching, "MAX_S", 2.0)
    for seconds, fits in ((2.0, True), (2.1, False)):
        samples = np.zeros(int(8000 * seconds), dtype="<i2")
        data = flac(samples, 8000) if kind == "flac" else wav(tmp_path, samples.tobytes())
        if fits:
            assert decode_sound(data) == (samples.tobytes(), 8000)
        else:
            with pytest.raises(CodecError, match="longer than 2 s"):
                decode_sound(data)


@pytest.mark.parametrize("rate", [1, 7999, 200_000])
def test_a_rate_that_no_sound_has(rate: int) -> None:
    """From 1 Hz to the line's is eight thousand times as much."""
    with pytest.raises(CodecError, match="samples a second"):
        decode_sound(flac(np.zeros(1000, dtype="<i2"), rate))


async def test_a_rate_next_to_a_usual_one(site: Site, sounds: SoundFetcher, tmp_path: Any) -> None:
    """A filter is kept for each rate; that from 44,101 to 8,000 Hz would take 10 MB."""
    lengths = []
    for rate in (44_100, 44_101, 44_099):
        write_wav(tmp_path / "odd.wav", rate, bytes(2 * rate))
        site.gives("/odd.wav", (tmp_path / "odd.wav").read_bytes())
        lengths.append(len(await sounds.fetch(f"{site.url}/odd.wav", 8000)))
        if rate == 44_100:
            filters = _phases.cache_info().currsize
    assert all(abs(length - 16_000) < 200 for length in lengths)
    assert _phases.cache_info().currsize == filters
