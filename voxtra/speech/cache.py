"""What has been said once need not be synthesised again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import cast

from voxtra.errors import ConfigurationError
from voxtra.speech.base import TTS, Speech

OVERHEAD = 512
"""Bytes an entry costs besides its sound, roughly."""


class CachedTTS(TTS):
    """A TTS in front of another one that remembers what was said, in memory.

    Only complete syntheses are kept. Policy when full: the entry not used for longest goes.

    Args:
        tts: what speaks when the cache doesn't know the text.
        max_bytes: of sound kept; 32 MiB are 12 minutes at 24 kHz.
        max_entry_bytes: a longer utterance is not kept; None = an eighth of ``max_bytes``.
    """

    def __init__(
        self, tts: TTS, *, max_bytes: int = 32 * 1024 * 1024, max_entry_bytes: int | None = None
    ) -> None:
        if max_bytes < 0:
            raise ConfigurationError(f"CachedTTS: max_bytes = {max_bytes}: it must not be negative")
        self.tts = tts
        self.name = f"{tts.name} (cached)"
        self.rate = tts.rate
        self.max_bytes = max_bytes
        self.max_entry_bytes = max_bytes // 8 if max_entry_bytes is None else max_entry_bytes
        self.hits = 0
        self.misses = 0
        self._bytes = 0
        self._known: OrderedDict[tuple[str, str | None, str | None], tuple[Speech, ...]] = OrderedDict()

    def __len__(self) -> int:
        """Utterances kept."""
        return len(self._known)

    @property
    def bytes(self) -> int:
        """What the cache holds, in bytes."""
        return self._bytes

    async def warm_up(self) -> None:
        """Warm up the TTS behind."""
        await self.tts.warm_up()

    async def close(self) -> None:
        """Forget everything and close the TTS behind."""
        self.clear()
        await self.tts.close()

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()
        self._bytes = 0

    async def prepare(
        self, texts: Iterable[str], *, voice: str | None = None, language: str | None = None
    ) -> None:
        """Synthesise fixed phrases ahead, so that saying them costs nothing. Raises TTSError.

        What is longer than ``max_entry_bytes`` is not kept.
        """
        for text in [texts] if isinstance(texts, str) else texts:
            if (text, voice, language) not in self._known:
                async for _ in self.synthesize(text, voice=voice, language=language):
                    pass

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """Speak ``text``: from memory at once, else as the TTS behind does it."""
        key = (text, voice, language)
        known = self._known.get(key)
        if known is not None:
            self.hits += 1
            self._known.move_to_end(key)
            for speech in known:
                yield speech
            return
        self.misses += 1
        kept: list[Speech] | None = []
        size = OVERHEAD + 2 * len(text)
        # the protocol says async generator; aclosing passes our own end on to it
        source = cast(
            "AsyncGenerator[Speech, None]", self.tts.synthesize(text, voice=voice, language=language)
        )
        async with aclosing(source) as chunks:
            async for speech in chunks:
                size += len(speech.pcm)
                if kept is not None:
                    kept.append(speech)
                    if size > self.max_entry_bytes:
                        kept = None
                yield speech
        if kept:
            self._keep(key, tuple(kept), size)

    def _keep(self, key: tuple[str, str | None, str | None], speech: tuple[Speech, ...], size: int) -> None:
        self._forget(key)
        self._known[key] = speech
        self._bytes += size
        while self._bytes > self.max_bytes and self._known:
            self._forget(next(iter(self._known)))

    def _forget(self, key: tuple[str, str | None, str | None]) -> None:
        old = self._known.pop(key, None)
        if old is not None:
            self._bytes -= OVERHEAD + 2 * len(key[0]) + sum(len(speech.pcm) for speech in old)
