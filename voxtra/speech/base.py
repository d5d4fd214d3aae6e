"""What speech providers are: STT, TTS, LLM, VAD, and speech to speech.

The lifetime rule: **a provider is shared by all calls, a stream belongs to one call.** Whatever keeps
state (a recogniser, a detector) is opened per call with ``open`` and closed with it.
Sound is 16-bit signed little-endian mono PCM everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from voxtra.errors import LLMError
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

    def keep_before(self, ms: int) -> None:  # noqa: B027 - who hears all of the call has nothing to keep
        """How much sound from before ``speech_started`` belongs to the turn, ms."""

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


class EndOfTurnModel(Provider, ABC):
    """Hears whether somebody who paused has finished speaking. It keeps nothing between two questions."""

    window_s: float = 8.0
    """So much of an utterance it wants to hear, s: the last, with the pause it ends in."""
    unfinished: float = 0.5
    """Up to this probability the caller is taken to go on, and waited for longer."""
    shorten_from: float | None = None
    """From this probability on the wait is shorter than is set; None = it never is."""

    @abstractmethod
    async def finished(self, pcm: bytes, rate: int) -> float:
        """The probability, 0..1, that the speaker has said all.

        Asked at each pause of a caller, and only of use within some tenths of a second: who asks waits no longer, and
        cancels. Must not block the event loop.

        Args:
            pcm: one utterance so far, up to ``window_s`` of it, and about 200 ms of silence.
            rate: its Hz.

        Raises:
            ProviderError: it can't tell.
        """


@dataclass(slots=True, frozen=True)
class ReplyStarted:
    """The model begins to answer.

    Attributes:
        reply: names the reply.
        tag: what :meth:`SpeechStream.respond` was given; "" when the provider began of itself.
    """

    reply: str
    tag: str = ""


@dataclass(slots=True, frozen=True)
class ReplyAudio:
    """The next sound of a reply, at the stream's rate; it comes faster than it is heard.

    Attributes:
        reply: the reply.
        item: the utterance within it, for :meth:`SpeechStream.truncate`. A reply may have several.
    """

    reply: str
    item: str
    pcm: bytes


@dataclass(slots=True, frozen=True)
class ReplyText:
    """The next words of an utterance. They come about when its sound does, not exactly."""

    reply: str
    item: str
    text: str


@dataclass(slots=True, frozen=True)
class ReplyAudioEnded:
    """All sound of an utterance has come."""

    reply: str
    item: str


@dataclass(slots=True, frozen=True)
class ReplyToolCall:
    """The model wants a tool called; answer with :meth:`SpeechStream.add_tool_result`."""

    reply: str
    call: ToolCall


@dataclass(slots=True, frozen=True)
class ReplyEnded:
    """The reply is complete, or there will be no more of it.

    Attributes:
        reply: "" when the request for one was refused.
        reason: ``finished``, ``cancelled``, ``failed``.
        detail: the provider's words when it failed.
    """

    reply: str
    reason: Literal["finished", "cancelled", "failed"]
    usage: Usage = Usage()
    detail: str = ""
    tag: str = ""


@dataclass(slots=True, frozen=True)
class CallerSpeech:
    """The provider hears the caller begin (``started``) or stop. Only where it ends turns itself."""

    started: bool


@dataclass(slots=True, frozen=True)
class CallerTurn:
    """The caller's turn is part of the conversation. ``item`` is "" when it was refused as empty."""

    item: str


@dataclass(slots=True, frozen=True)
class CallerText:
    """What the caller said in a turn; the newest replaces those before. "" and final: it is not known."""

    item: str
    text: str
    is_final: bool


@dataclass(slots=True, frozen=True)
class StreamProblem:
    """The provider complains of something; the stream goes on."""

    detail: str


@dataclass(slots=True, frozen=True)
class StreamLost:
    """The stream has ended by a failure; the last event there is."""

    error: LLMError


SpeechEvent: TypeAlias = (
    ReplyStarted
    | ReplyAudio
    | ReplyText
    | ReplyAudioEnded
    | ReplyToolCall
    | ReplyEnded
    | CallerSpeech
    | CallerTurn
    | CallerText
    | StreamProblem
    | StreamLost
)


class SpeechToSpeech(Provider, ABC):
    """A model that hears and speaks itself: no STT, LLM and TTS apart."""

    ends_turns: bool = False
    """True when the provider decides where a turn of the caller ends. It is sent every frame then; else it
    is sent the caller's turns, and told by ``commit`` where each ends."""

    @abstractmethod
    async def open(
        self,
        *,
        rate: int,
        codec: str,
        on_event: Callable[[SpeechEvent], None],
        instructions: str = "",
        tools: Sequence[dict[str, Any]] = (),
        history: Sequence[Message] = (),
        language: str | None = None,
    ) -> SpeechStream:
        """A conversation for one call.

        Args:
            rate: Hz of the line.
            codec: what goes over the line's wire (``ulaw``, ``slin16`` ...): the nearest is taken.
            on_event: called on the event loop with everything that comes.
            instructions: the system prompt.
            tools: OpenAI function schemas.
            history: what was said before, OpenAI chat form.
            language: BCP 47, of what the caller speaks; None when not known.

        Raises:
            LLMError: the provider can't be reached, or refuses.
        """


class SpeechStream(ABC):
    """One call's conversation with a model that hears and speaks. Only ``close`` waits for anything."""

    rate: int
    """Hz of the sound that goes in and comes out here."""

    @abstractmethod
    def push(self, pcm: bytes) -> None:
        """The caller's next sound. When the provider can't be sent it fast enough, the oldest is dropped."""

    @abstractmethod
    def commit(self) -> None:
        """What was pushed since the last time is a turn of the caller (:class:`CallerTurn` follows)."""

    @abstractmethod
    def clear(self) -> None:
        """What was pushed since the last time is none: forget it."""

    @abstractmethod
    def respond(self, instructions: str = "", *, tag: str = "") -> None:
        """Ask for a reply, once the one under way has ended.

        Args:
            instructions: for this reply alone, beside the conversation's.
            tag: comes back in :class:`ReplyStarted` and :class:`ReplyEnded`.
        """

    @abstractmethod
    def add_tool_result(self, tool_id: str, content: str) -> None:
        """What a tool call came to."""

    @abstractmethod
    def add_text(self, text: str) -> None:
        """What the caller told by other means than speech: a message of theirs."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop making the reply under way, and forget those asked for; no more of it comes."""

    @abstractmethod
    def truncate(self, item: str, heard_ms: int) -> None:
        """The caller heard ``heard_ms`` of an utterance: the model forgets the rest."""

    @abstractmethod
    async def close(self) -> None:
        """End the conversation. No event comes afterwards. Idempotent."""
