import asyncio

import pytest

from voxtra.errors import TTSError
from voxtra.speech.base import TTS, Speech
from voxtra.speech.cache import OVERHEAD, CachedTTS


class CountingTTS(TTS):
    name = "counting"
    rate = 8000

    def __init__(self) -> None:
        self.said: list[tuple[str, str | None, str | None]] = []
        self.ended: list[str] = []

    async def synthesize(self, text, *, voice=None, language=None):
        self.said.append((text, voice, language))
        try:
            for word in text.split():
                if word == "fail":
                    raise TTSError("no voice")
                await asyncio.sleep(0)
                yield Speech(word.encode() * 2, self.rate)
        finally:
            self.ended.append(text)


async def hear(tts: TTS, text: str, **options) -> bytes:
    return b"".join([speech.pcm async for speech in tts.synthesize(text, **options)])


async def test_a_phrase_is_synthesised_once_for_each_voice_and_language():
    plain = CountingTTS()
    tts = CachedTTS(plain)
    assert await hear(tts, "one two") == await hear(tts, "one two") == b"oneonetwotwo"
    await hear(tts, "one two", voice="emma")
    await hear(tts, "one two", language="en-GB")
    await hear(tts, "one two", voice="emma")
    assert plain.said == [("one two", None, None), ("one two", "emma", None), ("one two", None, "en-GB")]
    assert (tts.hits, tts.misses, tts.rate) == (2, 3, 8000)


async def test_prepared_phrases_cost_nothing_later():
    plain = CountingTTS()
    tts = CachedTTS(plain)
    await tts.prepare(["hello", "bye", "hello"])
    assert [text for text, *_ in plain.said] == ["hello", "bye"]
    await hear(tts, "bye")
    assert len(plain.said) == 2


async def test_only_complete_syntheses_are_kept():
    plain = CountingTTS()
    tts = CachedTTS(plain)
    speech = tts.synthesize("one two three")
    assert (await anext(speech)).pcm == b"oneone"
    await speech.aclose()
    assert plain.ended == ["one two three"]  # and the one behind has been told
    with pytest.raises(TTSError):
        await hear(tts, "one fail")
    assert len(tts) == 0
    assert tts.bytes == 0


async def test_the_least_used_goes_when_it_is_full():
    plain = CountingTTS()
    size = OVERHEAD + 2 + 2
    tts = CachedTTS(plain, max_bytes=2 * size, max_entry_bytes=size)
    for text in ("a", "b", "a", "c", "a", "b"):
        await hear(tts, text)
    assert [text for text, *_ in plain.said] == ["a", "b", "c", "b"]
    assert tts.bytes <= tts.max_bytes
    await hear(tts, "toolongtobekept")
    assert len(tts) == 2
    await tts.close()
    assert tts.bytes == 0
