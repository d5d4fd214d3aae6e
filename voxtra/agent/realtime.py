"""A conversation with a model that hears and speaks itself, on one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Literal

from voxtra.agent.changes import Changes, until_any
from voxtra.agent.client import AgentClient
from voxtra.agent.mouth import SayResult
from voxtra.agent.realtime_asking import Asking, Unanswered
from voxtra.agent.realtime_caller import Caller, told_of
from voxtra.agent.realtime_cut import Cut
from voxtra.agent.realtime_ears import CallerWords
from voxtra.agent.realtime_link import Link
from voxtra.agent.realtime_playing import OWN, Playing
from voxtra.agent.realtime_replies import Replies, response_event
from voxtra.agent.realtime_reply import GO_ON, SAY, Reply
from voxtra.agent.realtime_tools import OnTool, ToolRuns
from voxtra.agent.times import TurnTimes
from voxtra.errors import LLMError
from voxtra.events import ErrorEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.media.line import FRAME_MS, Line
from voxtra.speech.base import (
    VAD,
    CallerSpeech,
    CallerText,
    CallerTurn,
    EndOfTurnModel,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    Speech,
    SpeechEvent,
    SpeechToSpeech,
    StreamLost,
    StreamProblem,
)
from voxtra.turns import TurnDetection, TurnEnded
from voxtra.types import EndReason

log = logging.getLogger("voxtra.agent")

MAX_FAILURES = 2
"""So many replies may fail in a row before the conversation does."""
PAUSE_S = 1.0
"""Wait between two connections that fail, s."""


class RealtimePipeline:
    """The conversation. ``run`` it; it ends when the line closes, or by ``stop``.

    Who interrupts is decided here, by the same turn machine as everywhere: the model's sound is paused at the
    first sign of speech, thrown away when it is confirmed, and the model is told to the millisecond how much
    of it was heard. History holds what was heard, and nothing else.

    Attributes:
        tools: those at work.

    Args:
        line: the call's sound; it stays the call's own.
        provider: the model, shared by all calls.
        agent: the conversation's memory.
        turns: settings of turn-taking. Where the provider ends turns they are for interruptions alone.
        emit: takes the events of the conversation.
        instructions: the system prompt; "" = that of ``agent``.
        tools: OpenAI function schemas.
        on_tool: runs the tools.
        vad: the detector; None = WebRTC's, which costs next to nothing.
        end_of_turn: hears whether the caller has finished; None = silence tells.
        language: BCP 47, of what the caller speaks.
        max_failures: so many replies may fail in a row before the conversation does.
        unanswered: a turn of the caller that is to be answered first.
    """

    def __init__(
        self,
        line: Line,
        provider: SpeechToSpeech,
        agent: AgentClient,
        turns: TurnDetection,
        emit: Callable[[VoxtraEvent], None],
        instructions: str = "",
        tools: Sequence[dict[str, Any]] = (),
        on_tool: OnTool | None = None,
        *,
        vad: VAD | None = None,
        end_of_turn: EndOfTurnModel | None = None,
        language: str | None = None,
        max_failures: int = MAX_FAILURES,
        unanswered: Unanswered | None = None,
    ) -> None:
        self.line = line
        self.agent = agent
        self._provider = provider
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._changes = Changes()
        self.tools = ToolRuns(agent, on_tool)
        self._playing = Playing(line, agent, on_audible=self._audible, on_heard=self._settle)
        self._link = Link(
            line,
            provider,
            instructions=instructions or agent.instructions,
            tools=tools or agent.tools,
            language=agent.language or language,
            on_event=self._event,
        )
        whole = provider.ends_turns
        self._caller = Caller(
            line, turns, self, push=self._link.push, whole=whole, vad=vad, emit=emit, end_of_turn=end_of_turn
        )
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        self._replies = Replies(agent, self._playing, self.tools)
        self._cutting = Cut(self._playing, self._replies, handle=self._event, done=self._cut_over)
        self._unfollow = agent.follow_language(self._link.use_language)
        self._words = CallerWords(agent, lambda text: emit(UserTranscriptEvent(text=text)))
        self._asking = Asking(
            self._link,
            agent,
            self._words,
            emit=emit,
            thinks=lambda: self._caller.agent_thinks(not self.speaking),
            cutting=lambda: self._cutting.under_way,
            unanswered=unanswered,
        )
        self._failures = 0
        self._max_failures = max_failures
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- what others may ask

    @property
    def speaking(self) -> bool:
        """True while the model is heard."""
        return self._playing.audible

    @property
    def busy(self) -> bool:
        """True while a reply is wanted, made or heard."""
        return bool(self._asking.asked or self._replies.live or self._playing)

    @property
    def owes(self) -> bool:
        """True while the caller waits for words and hears none, nor speaks."""
        asking = self._asking
        wanted = self.busy or asking.owed or asking.unanswered is not None or bool(self._replies.unsaid)
        dry = self.line.queued - self.line.heard <= self.line.samples(FRAME_MS)
        return wanted and dry and not (self.caller_speaks or self.deaf or self.line.closed.done())

    @property
    def filled_in(self) -> bool:
        """True while words of another voice are heard in this one's place."""
        return bool(self._playing.of(OWN))

    async def quiet(self, timeout: float = 30.0) -> bool:
        """Wait until everything was said and heard; False when that takes longer than ``timeout`` s, or the
        line closes first. A tool that ends the call waits for this."""
        await self._changes.until(lambda: self._over() or not self.busy, timeout)
        return not self.busy and not self._over()

    async def say(self, text: str, *, interruptible: bool = True) -> SayResult:
        """Let the model say these words: a greeting, a filler. It follows what is being said.

        The model is told to say exactly that; models mostly do. Returns when it was heard, the caller
        interrupted, or the call ended.
        """
        tag, say = self._replies.say(text, interruptible=interruptible)
        if self._over():
            say.settle("hangup" if self.line.closed.done() else "interrupted")
        elif self._link.stream is not None:
            self._asking.ask(SAY.format(text=text), tag)
        return await self._replies.said(tag)

    def play(self, text: str, speech: Sequence[Speech]) -> None:
        """Words of another voice, in this one's place: they follow what is being said, and are heard alike."""
        if not self._cutting.under_way and not self._over():
            self._playing.own(text, speech)

    def answer(self) -> None:
        """Ask the model to go on with what was said so far, as soon as there is a connection."""
        if self._asking.unanswered is None:
            self._asking.ask()

    @property
    def caller_speaks(self) -> bool:
        """True while a turn of the caller is under way."""
        return self._caller.speaking

    @property
    def unanswered(self) -> Unanswered | None:
        """The caller's last turn, while the model has not begun to answer it."""
        return self._asking.unanswered

    async def heard_out(self, tool_id: str) -> bool:
        """Wait until the reply that asked for a tool was heard; False when the caller cut in, or all is over."""
        reply = self.tools.of.get(tool_id)
        if reply is None:
            return False

        def heard() -> bool:
            return reply.ended and not self._playing.of(reply.name)

        await self._changes.until(lambda: self._over() or reply.cut or heard())
        return heard() and not reply.cut and not self._over()

    async def tools_told(self, timeout: float) -> bool:
        """Wait until the results of all tools are known to model and history; False after ``timeout`` s."""
        return await self._changes.until(lambda: not self.tools.of, timeout)

    def fail(self, error: LLMError, *, for_good: bool) -> None:
        """The connection is of no use: another is made, or (``for_good``) ``run`` raises ``error``."""
        if for_good:
            self._link.give_up(error)
        else:
            self._link.lose(error)

    def interrupt(self, *, anyway: bool = False) -> None:
        """Cut in on what is being said, if it may be interrupted (or ``anyway``): silence within a frame."""
        if not self.busy or not (anyway or self._interruptible):
            return
        audible = self._playing.audible
        if self._cut() and audible:
            self._emit(VoxtraEvent(type=EventType.BARGE_IN))

    def key(self, key: str) -> None:
        """The caller pressed a key: it is (part of) a turn, and cuts in on what is being said."""
        if self._caller.trailing(key):
            return
        if not self.speaking:
            self.interrupt()  # of what is heard the turn machine decides
        self._caller.key(key)

    def give_up_keys(self) -> str:
        """The keys of the turn under way, for somebody who asks for keys: they are no turn then."""
        keys = self._caller.give_up_keys()
        if not (self.caller_speaks or self.deaf):
            self._asking.pay()
        return keys

    @property
    def deaf(self) -> bool:
        """True while what comes from the line is not the caller speaking to us (on hold, bridged away)."""
        return self._caller.deaf

    @deaf.setter
    def deaf(self, deaf: bool) -> None:
        self._caller.deaf = deaf
        if not deaf:
            self._asking.pay()

    def stop(self) -> None:
        """End the conversation; what was not heard yet is not said."""
        if not self._stopped.done():
            self._stopped.set_result(None)
        self._changes.tell()

    # ---- running

    async def run(self) -> Literal["hangup", "stopped"]:
        """Converse until the line closes (``hangup``) or ``stop`` is called.

        A connection that is lost is made again, with what was said so far; the caller's last turn is sent
        again when it was not answered.

        Raises:
            LLMError: the provider can't be reached, or failed too often.
        """
        try:
            while not self._over():
                try:
                    await self._connect()
                except LLMError as error:
                    if not self._link.losses:
                        raise
                    self._count(error)
                    await until_any(asyncio.sleep(PAUSE_S), self.line.closed, self._stopped)
                    continue
                ends: set[asyncio.Future[Any]] = {self._link.lost, self.line.closed, self._stopped}
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if self._link.lost.done() and not self._over():
                    self._count(self._link.lost.result())
                    await self._disconnect()
            return "hangup" if self.line.closed.done() else "stopped"
        finally:
            await self._end()

    def _over(self) -> bool:
        return self.line.closed.done() or self._stopped.done()

    async def _connect(self) -> None:
        again = bool(self._link.losses)
        self.tools.unsent.clear()  # the history has them
        history = self._asking.history()
        stream = await until_any(self._link.open(history), self.line.closed, self._stopped)
        if stream is None:
            return
        for tool_id, result in self.tools.unsent:
            stream.add_tool_result(tool_id, result)
        self._asking.connected(again=again)
        for pcm in self._caller.sound:
            self._link.push(pcm)
        for tag, say in self._replies.unsaid:
            self._asking.ask(SAY.format(text=say.text), tag)

    def _count(self, error: LLMError) -> None:
        self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))
        self._link.count(error)

    async def _disconnect(self) -> None:
        """The connection is lost: what it had begun to say is heard to its end, the rest is asked for again."""
        await self._link.close()
        lost = self._replies.lose()
        self._asking.lost(lost, says=bool(self._replies.says))
        for reply in lost:
            if reply.tools:
                self._spawn(self._use_tools(reply))
        self._cutting.forget()
        self._settle()

    async def _end(self) -> None:
        self._unfollow()
        await self._caller.close()
        await self._link.close()
        self._replies.close()
        await self._cutting.over()
        await self._playing.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        reason: EndReason = "interrupted" if self._stopped.done() else "failed"
        self._replies.settle_all("hangup" if self.line.closed.done() else reason)
        self._asking.close()
        self.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- the caller

    def caller_lost(self, error: Exception) -> None:
        """A detector with a flaw hears nobody any more: then there is no conversation."""
        self._link.give_up(LLMError(str(error)))

    def caller_cut_in(self) -> bool:
        """A barge-in. True when the line is being silenced."""
        self.interrupt()
        return self._cutting.under_way

    def caller_was_none(self, interrupted: bool) -> None:
        """A cough. If the model was cut off for it, it takes the floor again."""
        if not self._provider.ends_turns:
            self._link.clear()
        if self._caller.deaf:
            self._asking.owed = self._asking.owed or interrupted  # until it hears again
        elif interrupted or self._asking.owed:
            self._asking.ask(GO_ON if interrupted else "")

    @property
    def _interruptible(self) -> bool:
        return self._playing.interruptible and self._replies.interruptible

    def caller_done(self, turn: TurnEnded, sound: list[bytes]) -> None:
        """A turn of the caller; where the provider ends turns it is told by it, and only timed here."""
        ours = bool(turn.text) and not self._provider.ends_turns  # to be handed over
        waits = (
            self.busy and not self._interruptible
        )  # what is said into that is not heard; keys are pressed ahead
        if ours and waits:
            self._link.clear()
            if not turn.keys:
                self._asking.pay()
                return
        self._emit(VoxtraEvent(type=EventType.TURN_ENDED, data=told_of(turn, self._loop.time() * 1000)))
        self.agent.times = TurnTimes.after(turn)
        if not (ours or turn.keys):
            return
        if self.busy and not waits:
            self._cut()  # a reply to what was said before, and the caller has gone on
        if ours and not waits:
            self._asking.commit(sound, turn.keys)
        else:
            self._asking.note(turn.keys)
            self._asking.ask()

    # ---- the model

    def _event(self, event: SpeechEvent) -> None:
        """What the provider says; held back while a flush is under way, as positions are in flux."""
        if self._cutting.under_way:
            self._cutting.hold(event)
            return
        match event:
            case ReplyStarted(reply=name, tag=tag):
                self._asking.asked = False
                reply = self._replies.start(name, tag)
                times = self.agent.times
                if reply.say is None and self._provider.ends_turns:
                    self._asking.owed = False  # whoever began it knows all that was said
                if reply.say is None and self._provider.ends_turns and not times.llm_started_at:
                    self._emit(VoxtraEvent(type=EventType.AGENT_THINKING))
                    times.llm_started()
            case ReplyAudio() | ReplyText() | ReplyAudioEnded() | ReplyToolCall():
                stream = self._link.stream
                # of a connection that was closed while it was held back nothing more is said
                known = stream is not None and self._replies.part(event, stream.rate)
                if known and isinstance(event, ReplyAudio | ReplyToolCall):
                    self._asking.unanswered = None
            case ReplyEnded():
                self._reply_ended(event)
            case CallerTurn(item=item):
                self._words.taken(item)
            case CallerText(item=item, text=text, is_final=True):
                self._words.known(item, text)
            case CallerText(text=text):
                partial = EventType.USER_TRANSCRIPT_PARTIAL
                self._emit(UserTranscriptEvent(type=partial, text=text, is_final=False))
            case StreamProblem(detail=detail):
                log.warning("%s: %s", self._provider.name, detail)
            case StreamLost(error=error):
                self._link.lose(error)
            case CallerSpeech():
                pass  # the turn machine has its own opinion
        self._tell()

    def _reply_ended(self, event: ReplyEnded) -> None:
        if not event.reply:
            self._asking.asked = False
        reply, problem = self._replies.end(event)
        if problem:
            self._reply_failed(problem, reply)
        elif event.reason == "finished":
            self._failures = 0
            self.agent.times.llm_done()
            self._emit(response_event(reply, event))
        if reply.tools:
            self._spawn(self._use_tools(reply))
        self._settle()

    def _reply_failed(self, detail: str, reply: Reply) -> None:
        error = LLMError(f"{self._provider.name}: a reply failed: {detail}")
        log.warning("%s", error)
        self._failures += 1
        if reply.say is None and self._failures >= self._max_failures:
            self._link.give_up(error)  # which is told of
            return
        self._emit(ErrorEvent(error_type="LLMError", message=str(error)))
        if reply.say is not None:
            reply.say.settle("failed")
        else:
            self._spawn(self._asking.again(lambda: self._caller.speaking))

    async def _use_tools(self, reply: Reply) -> None:
        speak = await self.tools.finish(reply, lambda: self._link.stream)
        self._changes.tell()
        if reply.cut or not speak:
            return  # the caller has the floor, or nothing more is to be said
        if self._caller.speaking:
            self._asking.owed = True
        else:
            self._asking.ask()

    # ---- what was heard

    def _cut(self) -> bool:
        """Silence, and no more of the reply under way. False when that is under way already."""
        if self._cutting.under_way:
            return False
        self._asking.asked = False
        self._asking.unanswered = None
        self._cutting.begin(self._link.stream)
        return True

    def _cut_over(self) -> None:
        self._asking.cut_over()
        self._tell()

    def _audible(self, audible: bool) -> None:
        playing = self._playing
        self._caller.agent_thinks(self.busy and not audible)
        self._caller.agent_audible(audible, interruptible=playing.interruptible)
        if not audible:
            self._emit(VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED, data=playing.report()))
            return
        times = self.agent.times
        fresh = not times.played_at
        times.played()
        data = {"text": playing.report()["text"], "latency": times.split() if fresh else {}}
        self._emit(VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data=data))

    def _settle(self) -> None:
        """Whoever waits for words to be heard."""
        self._replies.settle()
        self._tell()

    def _tell(self) -> None:
        self._caller.agent_thinks(self.busy and not self.speaking)
        self._changes.tell()
