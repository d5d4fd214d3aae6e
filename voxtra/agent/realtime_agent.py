"""An agent on a model that hears and speaks itself: its tools, its patience, and how its part ends."""

from __future__ import annotations

import asyncio
import itertools
import logging

from voxtra.agent.agent import Agent, Handoff
from voxtra.agent.cascade import FILL_AGAIN_S
from voxtra.agent.realtime import RealtimePipeline
from voxtra.agent.realtime_tools import Unsaid
from voxtra.agent.stage import Over, Stage
from voxtra.agent.streams import closing
from voxtra.agent.tool_use import INTERRUPTED, ToolBox, ToolUse
from voxtra.agent.tools import ToolResult
from voxtra.errors import CallEndedError, LLMError, ProviderError
from voxtra.events import AgentResponseEvent, ErrorEvent, EventType, VoxtraEvent
from voxtra.media.line import Line
from voxtra.speech.base import SpeechToSpeech, ToolCall

log = logging.getLogger("voxtra.agent")

TICK_S = 0.1
"""How often it is looked whether somebody is silent for too long."""
FILL_S = 5.0
"""How long a filler may take to be synthesised."""
TELL_S = 2.0
"""How long results of tools may take to reach the history when another agent goes on."""


class RealtimeAgent:
    """One agent's part of a conversation.

    Args:
        owes: it begins by answering what was said before it came; else by its greeting.
    """

    def __init__(self, agent: Agent, stage: Stage, provider: SpeechToSpeech, *, owes: bool = False) -> None:
        self._agent = agent
        self._stage = stage
        self._provider = provider
        self._call = stage.call
        self._owes = owes
        self._tools: ToolBox
        self._pipeline: RealtimePipeline
        self._next: asyncio.Future[Handoff] = asyncio.get_running_loop().create_future()
        self._goodbye: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._terminal = asyncio.Lock()
        self._ending = False  # a tool is at work that may end the call
        self._fillers = itertools.cycle(agent.filler)
        self._rounds = 0
        self._turns = self._reprompts = self._late = 0
        self._filled = False
        self._quiet_since = 0.0
        self._told_of = ""

    async def run(self) -> Handoff:
        """Talk until another agent goes on. Raises Over when the conversation has ended."""
        self._tools = await self._stage.enter(self._agent)
        begun = False
        try:
            while True:
                async with self._stage.realtime(self._open) as self._pipeline:
                    self._stage.listening = True  # the model hears all
                    handoff = await self._on_line(begun)
                if handoff is not None:
                    return handoff
                if not self._call.is_active:
                    raise Over("ended" if self._ending else "hangup")
                begun = True
        finally:
            self._stage.listening = False
            if self._next.done() and not self._next.cancelled():
                self._next.exception()

    async def end(self, work: asyncio.Task[Handoff], words: str) -> None:
        """End ``work``, which is its ``run``, with these words."""
        if not self._goodbye.done():
            self._goodbye.set_result(words)
        await asyncio.wait({work})

    def _open(self, line: Line) -> RealtimePipeline:
        stage, agent = self._stage, self._agent
        unanswered, stage.unanswered = stage.unanswered, None
        return RealtimePipeline(
            line,
            self._provider,
            stage.client,
            stage.turns_of(agent),
            self._emit,
            on_tool=self._on_tool,
            vad=stage.speech.vad,
            end_of_turn=stage.speech.end_of_turn,
            language=stage.speech.language,
            max_failures=agent.max_failures,
            unanswered=unanswered,
        )

    def _emit(self, event: VoxtraEvent) -> None:
        result = self._stage.result
        if event.type is EventType.TURN_ENDED:
            result.turns += 1
            self._rounds = 0
        elif event.type is EventType.BARGE_IN:
            result.interruptions += 1
        elif isinstance(event, AgentResponseEvent):
            self._late = 0
            self._rounds += bool(event.tool_calls)
            result.input_tokens += event.data.get("input_tokens", 0)
            result.output_tokens += event.data.get("output_tokens", 0)
        elif isinstance(event, ErrorEvent):
            result.failures += 1
            self._told_of = event.message
        self._stage.emit(event)

    # ---- on one line

    async def _on_line(self, begun: bool) -> Handoff | None:
        """Talk on the line there is; None when it is gone. Raises Over."""
        pipeline = self._pipeline
        work = asyncio.ensure_future(pipeline.run())
        beside = [asyncio.ensure_future(self._begin(begun)), asyncio.ensure_future(self._watch())]
        ends: set[asyncio.Future[object]] = {work, beside[1], self._next}  # type: ignore[arg-type]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if self._next.done():
                await pipeline.tools_told(TELL_S)
                return self._next.result()
            if beside[1].done():
                await beside[1]  # raises
            await work
            return self._next.result() if self._next.done() else None
        except LLMError as error:
            await self._failed(error)
            raise Over("failed") from error
        finally:
            for task in beside:
                task.cancel()
            pipeline.stop()
            await asyncio.gather(work, *beside, return_exceptions=True)
            self._stage.unanswered = pipeline.unanswered

    async def _begin(self, begun: bool) -> None:
        agent, pipeline = self._agent, self._pipeline
        if begun:
            return
        if agent.greeting:
            await pipeline.say(agent.greeting, interruptible=agent.greeting_interruptible)
        elif self._owes:
            pipeline.answer()

    async def _failed(self, error: LLMError) -> None:
        """The model is of no use any more: an apology by the app's own voice, if it has one."""
        if str(error) != self._told_of:
            self._stage.result.failures += 1
            self._stage.fail(error)
        words = self._agent.apology
        if not words or self._stage.speech.tts is None or not self._call.is_active:
            return
        try:
            await (await self._stage.cascade()).say(words)
        except (ProviderError, CallEndedError) as problem:
            log.warning("the apology was not said: %s", problem)

    # ---- patience

    async def _watch(self) -> None:
        """Nothing is silent for ever: neither model nor caller. Only raises: Over."""
        pipeline, now = self._pipeline, asyncio.get_running_loop().time
        self._quiet_since = now()
        owes_since: float | None = None
        while True:
            if self._goodbye.done():
                pipeline.interrupt(anyway=True)
                await self._last_words(self._goodbye.result())
                raise Over("max_duration")
            await asyncio.sleep(TICK_S)
            if not pipeline.owes:
                if not pipeline.filled_in:  # a filler ends no wait: else it would be filled in for ever
                    owes_since = None
                    self._filled = False
            elif owes_since is None:
                owes_since = now()
            elif await self._overdue(now() - owes_since):
                owes_since = None
            await self._silent_caller()

    async def _overdue(self, waited: float) -> bool:
        """The caller waits for words. True when the wait is ended: there is another connection."""
        agent = self._agent
        if waited >= agent.reply_s:
            self._late += 1
            error = LLMError(f"{self._provider.name}: no word of a reply within {agent.reply_s:g} s")
            self._pipeline.fail(error, for_good=self._late >= agent.max_failures)
            return True
        if waited >= agent.filler_after_s and not self._filled:
            self._filled = True
            await self._fill_in()
        return False

    async def _fill_in(self) -> None:
        """A filler by the app's own voice, if it has one: the model itself is late."""
        tts, words = self._stage.speech.tts, next(self._fillers, "")
        if tts is None or not words:
            return
        language = self._stage.client.language or self._stage.speech.language
        try:
            async with (
                asyncio.timeout(FILL_S),
                closing(
                    tts.synthesize(words, voice=self._agent.voice_in(language), language=language)
                ) as pieces,
            ):
                speech = [piece async for piece in pieces]
        except (ProviderError, TimeoutError) as error:
            log.warning("the filler was not said: %s", error)
            return
        if self._pipeline.owes:
            self._pipeline.play(words, speech)

    async def _silent_caller(self) -> None:
        """Ask whether somebody is there, and end it when nobody is."""
        agent, pipeline, result = self._agent, self._pipeline, self._stage.result
        now = asyncio.get_running_loop().time
        if result.turns != self._turns:
            self._turns, self._reprompts = result.turns, 0
        heard = pipeline.busy or pipeline.owes or pipeline.tools.of or pipeline.caller_speaks
        if heard or pipeline.deaf or self._call.bridge_id is not None:
            self._quiet_since = now()
        if now() - self._quiet_since < agent.idle_s:
            return
        self._emit(VoxtraEvent(type=EventType.SILENCE_DETECTED, data={"seconds": agent.idle_s}))
        if self._reprompts == len(agent.idle_reprompts):
            await self._last_words(agent.goodbye)
            raise Over("silence")
        words = agent.idle_reprompts[self._reprompts]
        self._reprompts += 1
        await self._said(words)
        self._quiet_since = now()

    async def _last_words(self, words: str) -> None:
        if words and self._call.is_active:
            await self._said(words, interruptible=False)

    async def _said(self, words: str, *, interruptible: bool = True) -> None:
        """Let the model say these words; a model that can't is not waited for."""
        try:
            async with asyncio.timeout(self._agent.reply_s):
                await self._pipeline.say(words, interruptible=interruptible)
        except TimeoutError:
            log.warning("the model did not say %r", words)

    # ---- tools

    async def _on_tool(self, call: ToolCall) -> str | None:
        """Run a tool; returns what the model is told."""
        use = self._tools.use(call.name, call.id, call.arguments)
        if self._rounds >= self._agent.max_tool_rounds:
            return "Not done: too many rounds of tools in one turn."
        if self._tools.refused(use, interrupted=self._pipeline.tools.was_cut(call.id)):
            return use.told
        tool = use.tool
        if (tool.terminal or tool.on_interrupt == "if_spoken") and not await self._pipeline.heard_out(
            call.id
        ):
            return INTERRUPTED
        if not tool.terminal:
            await self._run_tool(use)
            if self._stage.handed_over:
                return self._after_terminal(use.settle())
            return use.told
        # it would cut off those beside it, which are to be done
        await self._pipeline.tools.others(call.id, lambda name: not self._tools.ends(name))
        async with self._terminal:  # one after another
            self._ending = True
            await self._run_tool(use)
            self._ending = False
            return self._after_terminal(use.settle())

    async def _run_tool(self, use: ToolUse) -> None:
        """Run it to its end; a filler is said when it is late; the caller's word may cancel it."""
        task = self._tools.start(use)
        cut = asyncio.ensure_future(self._pipeline.tools.cut_off(use.call_id))
        watched = {task, cut} if use.tool.on_interrupt == "cancel" and not use.tool.terminal else {task}
        filler: asyncio.Task[None] | None = None
        try:
            await asyncio.wait(
                watched, timeout=self._agent.filler_after_s, return_when=asyncio.FIRST_COMPLETED
            )
            if not task.done() and not cut.done() and not use.tool.terminal:
                filler = asyncio.ensure_future(self._fill(use.tool.filler))
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not (use.tool.terminal and self._pipeline.line.closed.done()):
                raise
            await asyncio.wait({task}, timeout=TELL_S)  # it may have ended the line itself
            if not task.done():
                raise
        finally:
            for each in (task, cut, *([filler] if filler is not None else [])):
                each.cancel()
            await asyncio.gather(task, cut, *([filler] if filler is not None else []), return_exceptions=True)
        use.settle()

    async def _fill(self, words: str) -> None:
        """Say something while a tool is at work, once nothing else is said, and again after a while."""
        while words := words or next(self._fillers, ""):
            if await self._pipeline.quiet() and not self._pipeline.caller_speaks:
                await self._pipeline.say(words)
            words = ""
            await asyncio.sleep(FILL_AGAIN_S)

    def _after_terminal(self, result: ToolResult) -> str:
        """What a terminal tool has changed; returns what the model is told."""
        if result.outcome != "done" and not self._stage.handed_over:
            return result.text
        over: Over | None = None
        if self._stage.handed_over:
            over = Over("transferred")
        elif isinstance(result.value, Handoff):
            if not self._next.done():
                self._next.set_result(result.value)
        elif not self._call.is_active:
            over = Over("ended")
        elif self._call.bridge_id is not None:
            over = Over("transferred")
        else:
            return result.text
        if over is not None and not self._next.done():
            self._next.set_exception(over)
        return Unsaid(result.text)
