"""CallSession: one call, as a handler holds it."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import re
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from voxtra._checks import checked
from voxtra.agent.agent import Agent
from voxtra.agent.client import AgentClient
from voxtra.agent.conversation import Conversation, ConversationResult, Engines
from voxtra.agent.mouth import SayResult
from voxtra.agent.pipeline import VoicePipeline
from voxtra.agent.stage import Stage
from voxtra.ari import ARIClient, ChannelDtmfReceived, Event, StasisStart
from voxtra.ari.events import ChannelHold, ChannelTransfer, ChannelUnhold
from voxtra.bridging import Bridging
from voxtra.calls.audio import AudioOut, FrameEvents
from voxtra.calls.leg import HangupReason, Leg, LegEnd, first_of
from voxtra.calls.prompts import Prompts
from voxtra.errors import (
    CallEndedError,
    ConfigurationError,
    OriginateError,
    PipelineNotConfiguredError,
    SessionError,
    VoxtraError,
)
from voxtra.events import (
    CallEndedEvent,
    CallStartedEvent,
    DTMFEvent,
    ErrorEvent,
    EventType,
    UserTranscriptEvent,
    VoxtraEvent,
)
from voxtra.handover import Handover
from voxtra.live import LiveCall
from voxtra.metrics import CallMetrics
from voxtra.metrics.observer import CallMeter
from voxtra.recorded import Recorded
from voxtra.shared import Shared
from voxtra.sounds import Sounds
from voxtra.turns import Expect
from voxtra.types import CallDirection, CallState

if TYPE_CHECKING:
    from voxtra.recording.call import CallRecorder
    from voxtra.recording.sink import RecordingSink

log = logging.getLogger("voxtra.call")

MAX_EVENTS = 1000
"""Events that ``_event_queue`` keeps; the oldest go first."""
MAX_DIGITS_AHEAD = 64
"""Keys that may be pressed before somebody asks for them; the oldest go first."""
ASKED_AGAIN_S = 0.05
"""How long a verb takes to say once more that the call is over."""
APOLOGY_S = 20.0
LINE_BACK_S = 1.0
"""How long a lost line may be the first sign of a call's end."""

C = TypeVar("C", bound=Callable[..., Awaitable[Any]])


class CallSession(Sounds, Handover, Bridging, Recorded):
    """A call. Made by :class:`~voxtra.app.VoxtraApp` for every call that comes in and every ``originate``.

    When the far end hangs up, whatever is under way ends at once: ``say`` and ``play_file`` with the
    reason ``hangup``, ``listen`` and ``listen_dtmf`` with nothing; the next verb raises
    :class:`~voxtra.errors.CallEndedError`, which a handler may let pass.

    Attributes:
        id: Asterisk's channel id.
        caller_id: number of the calling party.
        called_number: dialled extension or DID; for an outbound call, the endpoint.
        direction: inbound or outbound.
        metadata: yours; begins with the route's metadata.
        app_name: name of the Stasis application.
        agent: the conversation with the language model.
    """

    def __init__(
        self, shared: Shared, leg: Leg, direction: CallDirection, *, caller_id: str, called_number: str
    ) -> None:
        self.id = leg.id
        self.caller_id = caller_id
        self.called_number = called_number
        self.direction = direction
        self.metadata: dict[str, Any] = {}
        self.app_name = shared.app_name
        self.agent = AgentClient(shared.llm, instructions=shared.instructions, emit=self._emit)
        self._shared = shared
        self._leg = leg
        self._loop = asyncio.get_running_loop()
        self._state = CallState.RINGING
        self._answered_at: float | None = None
        self._told_end = False
        self._event_queue: asyncio.Queue[VoxtraEvent] = asyncio.Queue(MAX_EVENTS)
        self._dtmf_queue: asyncio.Queue[str] = asyncio.Queue(MAX_DIGITS_AHEAD)
        self._keyed = asyncio.Event()
        self._collecting = 0
        self._default_recording_sink = shared.recording_sink
        self._observers: tuple[Callable[[VoxtraEvent], None], ...] = ()
        self._on_transfer: Callable[[str], Awaitable[Any]] | None = None
        self._on_hangup: list[Callable[[], Awaitable[Any]]] = []
        self._hung_up = False  # all of them were called
        self._on_dtmf: list[Callable[[str], Awaitable[Any]]] = []
        self._conversation: Conversation | None = None
        self._listeners = 0
        self._recorder: CallRecorder | None = None
        self._watch_recording: Callable[[RecordingSink | None], RecordingSink | None] = lambda sink: sink
        self._record_lock = asyncio.Lock()
        self._dialling: asyncio.Future[Leg] | None = None
        self._out: AudioOut | None = None
        self._prompts = Prompts(shared.ari, shared.switchboard, leg)
        self._stops: set[asyncio.Event] = set()
        self._live = LiveCall(shared, leg, agent=self.agent, emit=self._emit, on_end=self._ended)
        live = self._live
        self._meter = CallMeter(self.id, self._loop.time, lambda: live.media.line if live.media else None)
        self.observe(self._meter)  # before all others: what it adds to the last event is there for them
        leg.on_event(self._take)

    def __repr__(self) -> str:
        return f"<CallSession {self.id} {self.caller_id!r} -> {self.called_number!r} {self.state}>"

    # ---- what it is

    @property
    def state(self) -> CallState:
        """Where the call stands."""
        if not self._leg.is_over:
            return self._state
        never = self._answered_at is None and self.direction is CallDirection.OUTBOUND
        return CallState.FAILED if never else CallState.COMPLETED

    @property
    def is_active(self) -> bool:
        """True until the call has ended."""
        return not self._leg.is_over

    @property
    def duration(self) -> float:
        """Seconds since the answer; 0 before it, and no longer growing after the end."""
        if self._answered_at is None:
            return 0.0
        until = self._leg.ended_at
        return max(0.0, (self._loop.time() if until is None else until) - self._answered_at)

    @property
    def end(self) -> LegEnd | None:
        """How the call ended (``reason``, Q.850 ``cause``, ``text``); None while it lives."""
        return self._leg.ended.result() if self._leg.is_over else None

    @property
    def metrics(self) -> CallMetrics:
        """The call's figures so far: waits by owner, interruptions, tokens, tools, sound."""
        return self._meter.metrics

    @property
    def _ari(self) -> ARIClient:
        return self._shared.ari

    @property
    def _pipeline(self) -> VoicePipeline | None:
        return self._live.pipeline

    # ---- lifecycle

    async def answer(self) -> None:
        """Answer the call. Answered already is as good; a call that we placed is waited for.

        Raises:
            CallEndedError: the caller has gone, or who is called does not answer.
        """
        if self._dialling is not None and self._answered_at is None:
            try:
                await self.answered()
            except OriginateError as error:
                raise CallEndedError(str(error), reason="failed") from error
        await self._leg.answer()
        if self._answered_at is None:
            self._leg.check()  # the end may have been told before the answer: they come by different ways
        self._mark_answered()
        if self._live.media is not None:
            await self._live.sound()

    def _mark_answered(self) -> None:
        if self._answered_at is None:
            self._answered_at = self._loop.time()
            self._live.answered()
            self._state = CallState.IN_PROGRESS
            self._emit(VoxtraEvent(type=EventType.CALL_ANSWERED))

    async def answered(self, timeout: float | None = None, *, early: bool = False) -> None:
        """Wait until an outbound call is answered (``early``: until it is yours, ringing or not).

        Raises:
            OriginateError: it was not; ``outcome`` is busy, no_answer, rejected or failed.
            TimeoutError: not within ``timeout`` s; the call rings on.
        """
        dialling = self._dialling
        if dialling is None:
            return
        async with asyncio.timeout(timeout):
            if early:
                await first_of(self._leg.entered, dialling)
            if not early or dialling.done():
                await asyncio.shield(dialling)
                self._mark_answered()

    async def hangup(self, reason: HangupReason = "normal") -> None:
        """End the call. Ended already is as good. What ``send_audio`` queued is heard first.

        Args:
            reason: before the answer it decides what the caller is told: ``busy`` (SIP 486),
                ``rejected`` (403), ``no_answer`` (480), ``unallocated`` (404) ...
        """
        await self._sent_is_heard()
        await self._live.hangup(reason)

    async def _sent_is_heard(self) -> None:
        """Wait until what ``send_audio`` queued was heard, where the far end hears it at all."""
        if self._out is not None and self.is_active and self._live.on_line:
            await self._out.drained(self._leg.ended)

    async def _alive(self) -> None:
        """Raise CallEndedError when the call is over.

        A handler that swallows it and goes on asking would hold up all other calls: so it has to wait.
        """
        try:
            self._leg.check()
        except CallEndedError:
            await asyncio.sleep(ASKED_AGAIN_S if self._told_end else 0)
            self._told_end = True
            raise

    async def _ready(self) -> None:
        """A verb that makes sound answers first, when nobody did."""
        await self._alive()
        if self._answered_at is None:
            await self.answer()

    # ---- speech

    async def say(
        self, text: str | AsyncIterable[str], *, interruptible: bool = True, voice: str | None = None
    ) -> SayResult:
        """Speak; returns when it was heard, the caller interrupted, or the call ended.

        Args:
            text: words, or a stream of them as ``call.agent.stream(...)`` gives: the first clause is
                spoken as soon as it stands.
            interruptible: whether the caller may cut in, by voice or by a key.
            voice: one of the TTS's voices; None = its own.

        Returns:
            ``reason`` (``finished``, ``interrupted``, ``hangup``, ``failed``), ``heard``, ``text``.

        Raises:
            PipelineNotConfiguredError: (a RuntimeError) the app has no TTS.
            ConfigurationError: ``text`` is None: nothing that could be said.
            CallEndedError: the call was over already.
            TTSError: the provider failed.
        """
        if text is None:
            raise ConfigurationError("text=None: should be words to say")
        await self._alive()
        realtime = self._live.realtime
        if self._shared.speech.tts is None and realtime is None:
            raise PipelineNotConfiguredError("tts")
        words = text if isinstance(text, AsyncIterable) else str(text)
        try:
            await self._ready()
            if realtime is not None:
                return await realtime.say(await _whole(words), interruptible=interruptible)
            pipeline = await self._live.conversation()
        except CallEndedError:
            return SayResult("hangup", "", words if isinstance(words, str) else "")
        result = await pipeline.say(words, interruptible=interruptible, voice=voice)
        if result.reason == "hangup" and not await self._over():
            return SayResult("failed", result.heard, result.text)
        return result

    async def listen(
        self, timeout: float | None = None, *, expect: Expect | str | None = None
    ) -> UserTranscriptEvent | None:
        """What the caller says next; None when nobody began to speak within ``timeout`` s, or the call ended.

        The result reads as a string and has ``text`` and ``confidence``.

        Args:
            timeout: s, None for ever.
            expect: what kind of answer: ``"yes_no"``, ``"digits:8"``, ``"letters"``, ``"email"``; a turn ends
                sooner when it is complete, and later while it is not. None goes by what was asked last.

        Raises:
            PipelineNotConfiguredError: (a RuntimeError) the app has no STT.
            ConfigurationError: there is no such kind of answer, or ``timeout`` is no number of seconds.
            SessionError: an agent listens already.
            CallEndedError: the call was over already.
        """
        checked("timeout", timeout, (int, float, type(None)), "seconds, or None for ever")
        if timeout is not None and math.isnan(timeout):
            raise ConfigurationError(f"timeout={timeout}: should be seconds, or None for ever")
        await self._alive()
        if self.conversation is not None and self.conversation.listening:
            raise SessionError(
                f"{self.conversation.agent.name} listens already: call.conversation.stop() first"
            )
        if self._shared.speech.stt is None:
            raise PipelineNotConfiguredError("stt")
        self._may_listen()
        until = None if timeout is None else self._loop.time() + timeout
        self._listeners += 1
        try:
            return await self._listen(until, expect)
        finally:
            self._listeners -= 1

    async def _listen(self, until: float | None, expect: Expect | str | None) -> UserTranscriptEvent | None:
        while True:
            try:
                await self._ready()
                pipeline = await self._live.conversation()
            except CallEndedError:
                return None
            heard = await pipeline.listen(None if until is None else until - self._loop.time(), expect=expect)
            if heard is not None or not pipeline.line.closed.done() or await self._over():
                return heard
            log.info("%s: its sound broke off while the caller was listened to: opened again", self.id)

    async def converse(self, agent: Agent) -> ConversationResult:
        """Let an agent talk with the caller, until one of them ends it.

        It uses the same ears, mouth and history as ``say``, ``listen`` and ``agent``; so write one or the
        other, they never both answer. A call whose conversation has ended goes on: hang up, or transfer it.

        Returns:
            ``reason``: ``hangup``, ``ended`` (the agent hung up), ``transferred``, ``silence``,
            ``max_duration``, ``failed``, ``stopped`` (``conversation.stop()``).

        Raises:
            PipelineNotConfiguredError: (a RuntimeError) the app lacks what the agent needs: STT, TTS and LLM, or
                a speech-to-speech model.
            SessionError: an agent converses on this call already (``call.conversation.swap`` gives it another),
                or the handler listens.
            CallEndedError: the call was over already.
        """
        await self._alive()
        if self.conversation is not None:
            raise SessionError(
                f"{self.conversation.agent.name} converses already: conversation.swap() or .stop()"
            )
        if self._listeners:
            raise SessionError(
                "the handler listens already on this call: let it end before an agent converses"
            )
        shared, live = self._shared, self._live
        stage = Stage(
            call=self,
            client=self.agent,
            emit=self._emit,
            speech=shared.speech,
            turns=shared.turns,
            cascade=live.conversation,
            realtime=live.speech_to_speech,
            result=ConversationResult("hangup"),
        )
        engines = Engines(shared.llm, shared.realtime)
        self._conversation = conversation = Conversation(agent, stage, engines)
        try:
            if self._answered_at is None:
                await self._prepare(conversation, agent, engines)
            await self._ready()
            return await conversation.run()
        finally:
            conversation.close()
            await conversation.release()

    async def _prepare(self, conversation: Conversation, agent: Agent, engines: Engines) -> None:
        """What can be made ready while the call rings: the greeting's sound, or the model's connection."""
        live = self._live
        if engines.realtime_of(agent) is not None:
            await live.prepare()
            if live.media is not None:
                await live.until_end(conversation.prepare(live.media.line))
        elif agent.greeting:
            language = agent.language or self.agent.language or self._shared.speech.language
            await live.prepare_words(agent.greeting, agent.voice_in(language), language)

    @property
    def conversation(self) -> Conversation | None:
        """The conversation under way, which can be swapped to another agent, or stopped; None when there is none."""
        conversation = self._conversation
        return conversation if conversation is not None and not conversation.is_over else None

    async def _over(self) -> bool:
        """Whether a line that closed was the call's end, or only its own."""
        if not self._leg.is_over:
            await asyncio.wait({self._leg.ended}, timeout=LINE_BACK_S)
        return self._leg.is_over

    # ---- callbacks

    def on_hangup(self, callback: C) -> C:
        """Decorator: ``callback()`` is awaited once when the call has ended, whoever ended it, in order.

        Of a call that has ended before, it is begun at once.
        """
        if self._hung_up:
            self._shared.switchboard.chore(self._live.guard(_call(callback), "on_hangup"))
        else:
            self._on_hangup.append(callback)
        return callback

    def on_dtmf(self, callback: C) -> C:
        """Decorator: ``callback(digit)`` is awaited for every key the caller presses."""
        self._on_dtmf.append(callback)
        return callback

    def observe(self, callback: Callable[[VoxtraEvent], None]) -> Callable[[], None]:
        """Call ``callback`` with every event of this call, on the spot. Returns what ends it."""

        def each(event: VoxtraEvent) -> None:
            callback(event)

        self._observers = (*self._observers, each)

        def off() -> None:
            self._observers = tuple(o for o in self._observers if o is not each)

        return off

    # ---- inside

    def _tell_frames(self, tell: Callable[[VoxtraEvent], None]) -> None:
        """Give every frame to ``tell`` as an event; these never go through the call's queue."""

        def begin(event: VoxtraEvent) -> None:
            if event.type is EventType.MEDIA_STARTED and self._live.media is not None:
                FrameEvents(self._live.media.line, named)

        def named(event: VoxtraEvent) -> None:
            event.session_id = self.id
            if not self._live.private:
                tell(event)

        self.observe(begin)

    def _emit(self, event: VoxtraEvent) -> None:
        if self._withheld(event):
            return
        event.session_id = self.id
        if self._event_queue.full():
            self._event_queue.get_nowait()
        self._event_queue.put_nowait(event)
        for observer in self._observers:
            try:
                observer(event)
            except Exception:
                log.exception("an observer failed on %s; the others go on", event.type)

    def _take(self, event: Event) -> None:
        if isinstance(event, ChannelDtmfReceived):
            self._digit(event.digit, event.duration_ms)
        elif isinstance(event, ChannelTransfer):
            # those with a state are echoes of what we told of its progress
            if event.state is None and event.referred_by.source_channel.id == self.id:
                self._live.spawn(self._transfer_wanted(event), "transfer")
        elif isinstance(event, ChannelHold | ChannelUnhold) or (
            self._live.far_hold and isinstance(event, StasisStart)
        ):
            # the connection was lost, and with it perhaps the end of a hold: better heard in vain than never
            held = isinstance(event, ChannelHold)
            self._live.held_by_far_end(held)
            self._set_hold(held, by="far end")
        elif self._leg.up.is_set() and self._answered_at is None and self.is_active:
            self._mark_answered()

    def _digit(self, digit: str, duration_ms: int) -> None:
        self._emit(DTMFEvent(digit=digit, duration_ms=duration_ms))
        voice = self._live.voice
        if voice is not None and self._keys_are_turns and not voice.deaf:
            voice.key(digit)
        else:
            self._keep_key(digit)
            if voice is not None:
                voice.interrupt()
        for callback in self._on_dtmf:
            self._live.spawn(_call(callback, digit), "on_dtmf")

    def _keep_key(self, digit: str) -> None:
        if self._dtmf_queue.full():
            self._dtmf_queue.get_nowait()
        self._dtmf_queue.put_nowait(digit)
        self._keyed.set()

    @property
    def _keys_are_turns(self) -> bool:
        """Whether keys are for the agent that converses."""
        conversation = self.conversation
        return conversation is not None and conversation.agent.keys and not self._collecting

    async def _run(self, handler: Callable[[CallSession], Awaitable[None]] | None) -> None:
        """Live until the call is over. Called once, by the app."""
        data = {
            "caller_id": self.caller_id,
            "called_number": self.called_number,
            "direction": str(self.direction),
        }
        self._emit(VoxtraEvent(type=EventType.SESSION_CREATED))
        self._emit(CallStartedEvent(data=data))
        if self._leg.up.is_set():  # the dialplan answered
            self._mark_answered()
        else:
            self._emit(VoxtraEvent(type=EventType.CALL_RINGING))

        async def handle() -> None:
            assert handler is not None
            try:
                await handler(self)
                await self._sent_is_heard()
            except CallEndedError as error:
                log.debug("the handler ended with the call: %s", error)
            except Exception as error:
                log.exception("the handler failed; the call is hung up", extra={"call_id": self.id})
                self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))
                await self._apologise()

        try:
            await self._live.run(handle if handler is not None else None)
        finally:
            await self._record_end()
            self._emit(VoxtraEvent(type=EventType.SESSION_DESTROYED))
            self._observers = ()

    async def _apologise(self) -> None:
        """Tell the caller that something is wrong, when the app has words for it."""
        words = self._shared.apology
        if not words or not self.is_active or self._live.room is not None:
            return
        try:
            async with asyncio.timeout(APOLOGY_S):
                if re.match(r"(sound|recording|tone):", words):
                    await self.play_file(words)
                else:
                    await self.say(words, interruptible=False)
        except (VoxtraError, TimeoutError) as error:
            log.warning("the apology failed too: %s", error)

    async def _ended(self) -> None:
        end = self._leg.ended.result()
        if self.state is CallState.FAILED:
            self._emit(VoxtraEvent(type=EventType.CALL_FAILED, data={"cause": end.cause, "text": end.text}))
        self._emit(
            CallEndedEvent(reason=end.reason, duration_seconds=round(self.duration, 3), cause=end.cause)
        )
        await self._record_end()
        for callback in self._on_hangup:
            await self._live.guard(_call(callback), "on_hangup")
        self._hung_up = True

    async def _record_end(self) -> None:
        try:
            await self.record_stop()
        except Exception as error:
            log.exception("the recording could not be ended")
            self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))


async def _call(callback: Callable[..., Any], *args: object) -> None:
    result = callback(*args)
    if inspect.isawaitable(result):
        await result


async def _whole(words: str | AsyncIterable[str]) -> str:
    return words if isinstance(words, str) else "".join([piece async for piece in words])
