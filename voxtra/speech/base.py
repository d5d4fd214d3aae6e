"""What speech providers are: STT, TTS, LLM and VAD.

The lifetime rule: **a provider is shared by all calls, a stream belongs to one call.** Whatever keeps
state (a recogniser, a detector) is opened per call with ``open`` and closed with it.
Sound is 16-bit signed little-endian mono PCM everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from voxtra.types import Message


class Provider:
    """What all providers have in common."""

    name: str = ""
    """Short name for logs and metrics, e.g. ``"whisper-tiny.en"``."""

    async def warm_up(self) -> None:
        """Load models and make the first, slow request, so that no caller waits for it. Idempotent."""

    async def close(self) -> None:
        """Free what the provider holds. Idempotent."""


@dataclass(slots=True, frozen=True)
class Transcript:
    """What was said in the current turn, all of it so far: the newest replaces those before it.

    Attributes:
        text: words of the whole turn so far; "" when nothing was said.
        is_final: True for the answer to ``STTStream.speech_stopped``.
        confidence: 0..1.
    """

    text: str
    is_final: bool = False
    confidence: float = 1.0


class STT(Provider, ABC):
    """Speech to text."""

    @abstractmethod
    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """A recogniser for one call.

        Args:
            rate: Hz of the PCM that will be pushed.
            on_transcript: called on the event loop with partials and finals.
            on_error: called on the event loop with an STTError; the stream stays usable where it can.
            language: BCP 47, None for the provider's default.
            hints: words or phrases likely to be said.
        """


class STTStream(ABC):
    """One call's recogniser. Calls come on the event loop and never block."""

    @abstractmethod
    def push(self, pcm: bytes) -> None:
        """The next 20 ms (every frame of the call, speech or not)."""

    @abstractmethod
    def speech_started(self) -> None:
        """The caller began to speak (a few frames ago: the stream keeps its own pre-roll), or goes on
        after a short pause that had been reported by ``speech_stopped``."""

    @abstractmethod
    def speech_stopped(self) -> None:
        """The caller paused, and may be done: answer with a final transcript of the turn soon.

        Speech may go on afterwards (``speech_started`` again); a later final then replaces this one.
        """

    @abstractmethod
    def next_turn(self) -> None:
        """The turn is over: forget its words and start the next one empty."""

    @abstractmethod
    async def close(self) -> None:
        """End the stream. No callback comes afterwards. Idempotent."""


@dataclass(slots=True, frozen=True)
class Speech:
    """A piece of synthesised speech, in order.

    Attributes:
        pcm: samples at ``rate``.
        rate: Hz.
        words: (word, start in ms from the begin of this utterance) where the provider tells them.
    """

    pcm: bytes
    rate: int
    words: tuple[tuple[str, int], ...] = ()


class TTS(Provider, ABC):
    """Text to speech."""

    rate: int
    """Hz of what it gives by default."""

    @abstractmethod
    def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """Speak ``text``: an async generator of chunks, the first as soon as it can be.

        Closing the generator cancels the request. Raises TTSError.
        """


@dataclass(slots=True, frozen=True)
class TextDelta:
    """The next words of the model's reply."""

    text: str


@dataclass(slots=True, frozen=True)
class ToolCall:
    """The model wants a tool called.

    Attributes:
        id: names the call in the ``tool`` message that answers it.
        name: the tool.
        arguments: decoded JSON object.
    """

    id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Usage:
    """What a reply cost, in tokens. Comes last, where the provider tells it."""

    input_tokens: int = 0
    output_tokens: int = 0


LLMEvent: TypeAlias = TextDelta | ToolCall | Usage


class LLM(Provider, ABC):
    """A language model, or what stands in for one."""

    @abstractmethod
    def stream(
        self, messages: Sequence[Message], *, tools: Sequence[dict[str, Any]] = ()
    ) -> AsyncIterator[LLMEvent]:
        """Answer the conversation: an async generator of text deltas, tool calls, usage.

        Args:
            messages: OpenAI chat form: ``{"role": "system"|"user"|"assistant"|"tool", "content": ...}``.
            tools: OpenAI function schemas.

        Closing the generator cancels the request. Raises LLMError.
        """


class VAD(Provider, ABC):
    """Voice activity detection."""

    @abstractmethod
    def open(self, *, rate: int) -> VADStream:
        """A detector for one call, for PCM at ``rate`` Hz."""


class VADStream(ABC):
    """One call's detector; costs microseconds and runs on the event loop."""

    @abstractmethod
    def push(self, pcm: bytes) -> float:
        """The next 20 ms. Returns the probability, 0..1, that there is speech now."""
