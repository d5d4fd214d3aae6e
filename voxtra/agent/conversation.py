"""A conversation: an agent, or several one after another, talk with a caller until somebody ends it.

Never do two of them talk at once: who is to go on comes when the one before is silent.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

from voxtra.agent.agent import Agent, Handoff, Transfer
from voxtra.agent.cascade import Cascade
from voxtra.agent.realtime_agent import RealtimeAgent
from voxtra.agent.realtime_early import Early
from voxtra.agent.stage import ConversationEnd, ConversationResult, Over, Stage
from voxtra.errors import CallEndedError, PipelineNotConfiguredError, SessionError, VoxtraError
from voxtra.media.line import Line
from voxtra.speech.base import LLM, SpeechToSpeech

__all__ = ["Conversation", "ConversationEnd", "ConversationResult", "Engines"]

log = logging.getLogger("voxtra.agent")

LAST_WORDS_S = 20.0
"""How long the words before an end may take."""


@dataclass(slots=True, frozen=True)
class Engines:
    """The app's models, for agents that bring none."""

    llm: LLM | None = None
    realtime: SpeechToSpeech | None = None

    def realtime_of(self, agent: Agent) -> SpeechToSpeech | None:
        """The speech-to-speech model ``agent`` runs on; None: it runs on STT, LLM and TTS.

        Raises:
            PipelineNotConfiguredError: it wants the app's, and there is none.
        """
        if isinstance(agent.realtime, SpeechToSpeech):
            return agent.realtime
        if agent.realtime is True and self.realtime is None:
            raise PipelineNotConfiguredError("realtime")
        if agent.realtime is False or (agent.realtime is None and agent.llm is not None):
            return None
        return self.realtime

    def check(self, agent: Agent, stage: Stage) -> None:
        """Raise PipelineNotConfiguredError when a part is missing that ``agent`` needs."""
        if self.realtime_of(agent) is not None:
            return
        speech = stage.speech
        for kind, part in (("stt", speech.stt), ("tts", speech.tts), ("llm", agent.llm or self.llm)):
            if part is None:
                raise PipelineNotConfiguredError(kind)


class _Part(Protocol):
    """An agent's part of the conversation."""

    async def run(self) -> Handoff:
        """Talk until another agent goes on. Raises Over when the conversation has ended."""

    async def end(self, work: asyncio.Task[Handoff], words: str) -> None:
        """End ``work``, which is its ``run``, with these words."""


@dataclass(slots=True)
class _Order:
    """Who is to go on, from outside; None: nobody."""

    agent: Agent | None
    keep_history: bool
    done: asyncio.Future[None]

    def refuse(self, why: str) -> None:
        """It comes to nothing."""
        if not self.done.done():
            self.done.set_exception(SessionError(why))
            self.done.exception()  # whoever gave the order may have gone


class Conversation:
    """A conversation under way: ``call.conversation``. Made by ``call.converse(agent)``.

    Attributes:
        result: how it goes so far; ``reason`` is known at the end.
    """

    def __init__(self, agent: Agent, stage: Stage, engines: Engines) -> None:
        engines.check(agent, stage)
        self._agent = agent
        self._stage = stage
        self._engines = engines
        self._loop = asyncio.get_running_loop()
        self._order: _Order | None = None
        self._ordered = asyncio.Event()
        self._finished: asyncio.Future[ConversationResult] = self._loop.create_future()
        self._until: float | None = None
        self._early: Early | None = None
        self.result = stage.result
        drafts = stage.client.drafts
        self._drafts_before = drafts.begun, drafts.discarded

    def __repr__(self) -> str:
        return f"<Conversation with {self._agent.name}{', over' if self.is_over else ''}>"

    @property
    def agent(self) -> Agent:
        """Who talks now, or did last."""
        return self._agent

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self._finished.done()

    @property
    def listening(self) -> bool:
        """True while the agent waits for what the caller says next."""
        return self._stage.listening

    # ---- from outside

    async def swap(self, agent: Agent, *, keep_history: bool = True) -> None:
        """Let another agent go on, at once: what the one before says is cut off, its tools are cancelled.

        Returns when the one before is silent and ``agent`` has the call. It greets; without a greeting it
        answers what the caller said last, if nobody did. Of two orders the newer counts.

        Args:
            keep_history: whether it knows what was said so far.

        Raises:
            PipelineNotConfiguredError: the app lacks what ``agent`` needs.
            SessionError: the conversation has ended, or was given to somebody else meanwhile.
        """
        self._engines.check(agent, self._stage)
        await self._give(_Order(agent, keep_history, self._loop.create_future()))

    async def stop(self) -> ConversationResult:
        """End it at once, without a word; the call goes on, and is its handler's. Idempotent.

        ``converse`` returns with ``stopped`` (or whatever ended it just before).
        """
        if not self.is_over:
            self._put(_Order(None, True, self._loop.create_future()))
        return await asyncio.shield(self._finished)

    async def finished(self) -> ConversationResult:
        """Wait for its end."""
        return await asyncio.shield(self._finished)

    async def _give(self, order: _Order) -> None:
        if self.is_over:
            raise SessionError(f"the conversation is over: {self.result.reason}")
        self._put(order)
        await asyncio.shield(order.done)

    def _put(self, order: _Order) -> None:
        before, self._order = self._order, order
        if before is not None:
            before.refuse("the conversation was given to somebody else meanwhile")
        self._ordered.set()

    # ---- running

    async def prepare(self, line: Line) -> None:
        """Connect to the agent's speech-to-speech model before the call is answered, on the line it will have."""
        provider = self._engines.realtime_of(self._agent)
        if provider is None:
            return
        self._early = Early(provider)
        try:
            await self._agent.load_tools()
        except SessionError:
            return  # which is told of when the agent begins
        client, agent = self._stage.client, self._agent
        await self._early.connect(
            rate=line.rate,
            codec=line.codec,
            instructions=agent.instructions or client.instructions,
            tools=[tool.schema for tool in agent.by_name.values()],
            history=client.history,
            language=agent.language or client.language or self._stage.speech.language,
        )

    async def release(self) -> None:
        """Close what was prepared and not used. Idempotent."""
        early, self._early = self._early, None
        if early is not None:
            await early.close()

    async def run(self) -> ConversationResult:
        """Talk until it is over. Called once. Raises nothing but on cancellation."""
        result = self.result
        try:
            await self._talk()
        except Over as over:
            if over.reason == "failed":
                over.reason = await self._way_out()
            result.reason = self._stage.verdict(over.reason)
        except CallEndedError:
            result.reason = self._stage.verdict("hangup")
        finally:
            drafts, (begun, discarded) = self._stage.client.drafts, self._drafts_before
            await drafts.close()
            result.speculations = drafts.begun - begun
            result.discarded = drafts.discarded - discarded
            self.close()
        return result

    async def _way_out(self) -> ConversationEnd:
        """What the agent has for a call that it failed on."""
        way, call = self._agent.on_failure, self._stage.call
        if way is None or not call.is_active:
            return "failed"
        try:
            if not isinstance(way, Transfer):
                await call.hangup()
            elif await call.transfer_to(self._agent.endpoint_of(way.to), timeout=way.timeout):
                return "transferred"
            else:
                log.warning("%s: nobody at %s either", self._agent.name, way.to)
        except CallEndedError:
            pass  # the caller was faster
        except VoxtraError as error:
            self._stage.fail(error)
        return "failed"

    def close(self) -> None:
        """It is over, also when it never began. Idempotent."""
        if not self._finished.done():
            self._finished.set_result(self.result)
        if self._order is not None:
            self._order.refuse(f"the conversation ended first: {self.result.reason}")

    async def _talk(self) -> None:
        longest = self._agent.max_duration_s
        self._until = None if longest is None else self._loop.time() + longest
        owes = False
        while True:
            owes = self._take_order(owes)
            part = self._part(self._agent, owes=owes)
            handoff = await self._run(part)
            if handoff is None:  # an order has come
                history = self._stage.client.history
                owes = bool(history) and history[-1]["role"] in ("user", "tool")
            else:
                owes = True
                self._hand_over(handoff)

    def _part(self, agent: Agent, *, owes: bool) -> _Part:
        provider = self._engines.realtime_of(agent)
        if provider is None:
            return Cascade(agent, self._stage, owes=owes)
        if self._early is not None and self._early.provider is provider:
            provider = self._early
        return RealtimeAgent(agent, self._stage, provider, owes=owes)

    def _take_order(self, owes: bool) -> bool:
        """Do as was told from outside. Returns whether an answer is still owed."""
        order, self._order = self._order, None
        self._ordered.clear()
        if order is None:
            return owes
        if order.agent is None:
            raise Over("stopped")
        self._go_on(order.agent, keep_history=order.keep_history)
        if not order.done.done():
            order.done.set_result(None)
        return owes and order.keep_history

    def _hand_over(self, handoff: Handoff) -> None:
        try:
            self._engines.check(handoff.agent, self._stage)
        except PipelineNotConfiguredError as error:
            self._stage.fail(error)
            raise Over("failed") from error
        self._go_on(handoff.agent, keep_history=handoff.with_history)

    def _go_on(self, agent: Agent, *, keep_history: bool) -> None:
        if not keep_history:
            self._stage.client.reset()
        self._agent = agent

    async def _run(self, part: _Part) -> Handoff | None:
        """One agent's part, to its end; None when it was ended by an order. Raises Over."""
        work = asyncio.ensure_future(part.run())
        ordered = asyncio.ensure_future(self._ordered.wait())
        try:
            left = None if self._until is None else max(0.0, self._until - self._loop.time())
            await asyncio.wait({work, ordered}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if self._order is not None:
                return None
            await self._end(part, work)
            raise Over("max_duration")
        finally:
            for task in (work, ordered):
                task.cancel()
            await asyncio.gather(work, ordered, return_exceptions=True)

    async def _end(self, part: _Part, work: asyncio.Task[Handoff]) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await part.end(work, self._agent.goodbye)
        except TimeoutError:
            log.warning("the last words took longer than %g s", LAST_WORDS_S)
