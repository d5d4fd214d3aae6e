"""Several providers as one: when one fails, the next takes over what was asked.

>>> tts = Fallback(CartesiaTTS(), ElevenLabsTTS(), load_as(TTS, "local"))  # doctest: +SKIP
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar, cast, overload

from voxtra.errors import ConfigurationError, LLMError, ProviderError, TTSError, VoxtraError
from voxtra.speech.base import LLM, STT, TTS, LLMEvent, Provider, Speech, SpeechToSpeech
from voxtra.speech.fallback_realtime import FallbackRealtime
from voxtra.speech.fallback_stt import FallbackSTT
from voxtra.speech.standbys import Several, Standby, all_failed
from voxtra.types import Message

P = TypeVar("P")

FIRST_RESULT_S: dict[type[Provider], float] = {STT: 2.0, TTS: 2.0, LLM: 4.0, SpeechToSpeech: 5.0}
"""Longest wait for a provider's first result before the next is asked, in s."""


@overload
def Fallback(
    *providers: STT, first_result_s: float | None = ..., retry_s: float = ..., longest_retry_s: float = ...
) -> FallbackSTT: ...
@overload
def Fallback(
    *providers: TTS, first_result_s: float | None = ..., retry_s: float = ..., longest_retry_s: float = ...
) -> FallbackTTS: ...
@overload
def Fallback(
    *providers: LLM, first_result_s: float | None = ..., retry_s: float = ..., longest_retry_s: float = ...
) -> FallbackLLM: ...
@overload
def Fallback(
    *providers: SpeechToSpeech,
    first_result_s: float | None = ...,
    retry_s: float = ...,
    longest_retry_s: float = ...,
) -> FallbackRealtime: ...
def Fallback(
    *providers: Provider,
    first_result_s: float | None = None,
    retry_s: float = 5.0,
    longest_retry_s: float = 300.0,
) -> FallbackSTT | FallbackTTS | FallbackLLM | FallbackRealtime:
    """Providers of one kind as one: the first is asked; the next when it fails or is too slow.

    One that failed is left alone for ``retry_s``, then for longer and longer, and tried again in the
    background. Each failure is logged, and counted in ``failures``.

    Args:
        providers: STT, TTS, LLM or SpeechToSpeech, all of one kind, in the order in which they are wanted.
        first_result_s: longest wait for a provider's first result (the final transcript after a pause, the
            first sound, the first token; the connection and the first of a reply), in s; None: 2 for STT and TTS, 4 for
            LLM, 5 for SpeechToSpeech.
        retry_s: how long a provider that failed is left alone at first, in s.
        longest_retry_s: how long at most, in s.

    Raises:
        ConfigurationError: there is no provider, or they are of several kinds, or can't follow each other.
    """
    kinds: tuple[tuple[type[Provider], Any], ...] = (
        (STT, FallbackSTT),
        (TTS, FallbackTTS),
        (LLM, FallbackLLM),
        (SpeechToSpeech, FallbackRealtime),
    )
    for kind, make in kinds:
        if providers and all(isinstance(provider, kind) for provider in providers):
            limit = FIRST_RESULT_S[kind] if first_result_s is None else first_result_s
            if limit <= 0:
                raise ConfigurationError(f"Fallback: first_result_s = {limit}: it must be above 0")
            made: FallbackSTT | FallbackTTS | FallbackLLM | FallbackRealtime = make(
                providers, first_result_s=limit, retry_s=retry_s, longest_retry_s=longest_retry_s
            )
            return made
    given = ", ".join(type(provider).__name__ for provider in providers) or "none"
    raise ConfigurationError(
        f"Fallback takes providers of one kind, STT, TTS, LLM or SpeechToSpeech; it was given {given}"
    )


async def first_in_time(
    source: AsyncGenerator[P, None], limit: float, kind: type[ProviderError], name: str
) -> P | None:
    """The first of ``source``, None when it is empty. Raises ``kind`` when it takes over ``limit`` s."""
    try:
        async with asyncio.timeout(limit):
            return await anext(source, None)
    except TimeoutError:
        raise kind(f"{name}: nothing within {limit:g} s") from None


class FallbackTTS(Several[TTS], TTS):
    """Several voices as one; made by :func:`Fallback`.

    A provider that fails before any of its sound was given: the next speaks the whole text. One that fails in
    the middle: where it told the words' times, the next goes on with the word that was reached; else TTSError
    is raised, for half a sentence must not be heard twice. A voice asked for is the first provider's; the
    others speak with theirs.

    Attributes:
        failures: how often each provider failed, by name.
    """

    def __init__(
        self, providers: Sequence[TTS], *, first_result_s: float, retry_s: float, longest_retry_s: float
    ) -> None:
        super().__init__(
            providers, first_result_s=first_result_s, retry_s=retry_s, longest_retry_s=longest_retry_s
        )
        self.rate = providers[0].rate

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """Speak ``text``; see :meth:`voxtra.speech.base.TTS.synthesize`.

        Raises:
            TTSError: nobody could, or a voice broke off where the next can't go on.
        """
        if not text.strip():
            return
        problems: list[tuple[str, Exception]] = []
        said_ms = 0.0
        for standby in self.standbys.order():
            given = _Given(said_ms)
            own_voice = voice if standby is self.standbys.all[0] else None
            try:
                async with aclosing(self._speak(standby, text, own_voice, language)) as chunks:
                    async for speech in chunks:
                        yield given.take(speech)
            except VoxtraError as problem:
                self.standbys.failed(standby, problem)
                problems.append((standby.name, problem))
                if not given.ms:
                    continue
                rest = given.rest_of(text)
                if rest is None:
                    raise _as_tts(problem) from problem
                text, said_ms = rest, said_ms + given.ms
            else:
                self.standbys.worked(standby)
                return
        raise all_failed(TTSError, problems)

    async def _speak(
        self, standby: Standby[TTS], text: str, voice: str | None, language: str | None
    ) -> AsyncGenerator[Speech, None]:
        # the protocol says async generator; aclosing passes our own end on to it
        source = cast(
            "AsyncGenerator[Speech, None]",
            standby.provider.synthesize(text, voice=voice, language=language),
        )
        async with aclosing(source) as chunks:
            first = await first_in_time(chunks, self.first_result_s, TTSError, standby.name)
            if first is None:
                raise TTSError(f"{standby.name} sent no sound")
            yield first
            async for speech in chunks:
                yield speech

    async def _probe(self, provider: TTS) -> None:
        source = cast("AsyncGenerator[Speech, None]", provider.synthesize("Yes."))
        async with aclosing(source) as chunks:
            await first_in_time(chunks, self.first_result_s, TTSError, provider.name)


class _Given:
    """What of a text was given to the caller as sound."""

    def __init__(self, offset_ms: float) -> None:
        self._offset = round(offset_ms)
        self._words: list[tuple[str, int]] = []
        self.ms = 0.0

    def take(self, speech: Speech) -> Speech:
        """Count a piece; its words' times become those of the whole utterance."""
        self.ms += len(speech.pcm) * 500 / speech.rate
        self._words += speech.words
        if not self._offset:
            return speech
        words = tuple((word, start + self._offset) for word, start in speech.words)
        return Speech(speech.pcm, speech.rate, words)

    def rest_of(self, text: str) -> str | None:
        """The text from the word on that the sound had reached; None when that can't be told."""
        at, reached = 0, None
        for word, start in self._words:
            found = text.find(word, at)
            if found < 0:
                return None
            if start < self.ms:
                reached = found
            at = found + len(word)
        return None if reached is None else text[reached:]


def _as_tts(problem: VoxtraError) -> TTSError:
    return problem if isinstance(problem, TTSError) else TTSError(str(problem))


class FallbackLLM(Several[LLM], LLM):
    """Several models as one; made by :func:`Fallback`. After its first token a model is stayed with.

    Attributes:
        failures: how often each provider failed, by name.
    """

    async def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """Answer the conversation; see :meth:`voxtra.speech.base.LLM.stream`.

        Raises:
            LLMError: nobody could, or a model broke off after its first token.
        """
        problems: list[tuple[str, Exception]] = []
        for standby in self.standbys.order():
            began = False
            source = cast("AsyncGenerator[LLMEvent, None]", standby.provider.stream(messages, tools=tools))
            try:
                async with aclosing(source) as events:
                    event = await first_in_time(events, self.first_result_s, LLMError, standby.name)
                    while event is not None:
                        began = True
                        yield event
                        event = await anext(events, None)
            except VoxtraError as problem:
                self.standbys.failed(standby, problem)
                if began:
                    raise problem if isinstance(problem, LLMError) else LLMError(str(problem)) from problem
                problems.append((standby.name, problem))
            else:
                self.standbys.worked(standby)
                return
        raise all_failed(LLMError, problems)

    async def _probe(self, provider: LLM) -> None:
        question: list[Message] = [{"role": "user", "content": "Say yes."}]
        source = cast("AsyncGenerator[LLMEvent, None]", provider.stream(question))
        async with aclosing(source) as events:
            await first_in_time(events, self.first_result_s, LLMError, provider.name)
