"""An agent talks with a caller until somebody ends it. Nothing is ever silent for ever."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from voxtra.agent.agent import Agent, Handoff
from voxtra.agent.client import AgentClient
from voxtra.agent.mouth import SayResult
from voxtra.agent.pipeline import VoicePipeline
from voxtra.agent.prefetch import Prefetch
from voxtra.agent.tools import Tool, ToolResult
from voxtra.errors import CallEndedError, LLMError, ProviderError, SessionError
from voxtra.events import AgentResponseEvent, ErrorEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.turns import TurnDetection

log = logging.getLogger("voxtra.agent")

ConversationEnd: TypeAlias = Literal["hangup", "ended", "transferred", "silence", "max_duration", "failed"]
"""``hangup``: the caller; ``ended``: the agent hung up; ``transferred``: somebody else has the caller;
``silence``: the caller said no more; ``failed``: model or voice failed too often."""


@dataclass(slots=True)
class ConversationResult:
    """How a conversation went.

    Attributes:
        reason: see :data:`ConversationEnd`.
        turns: the caller's turns.
        interruptions: how often the caller cut in.
        tool_calls: how many tools were run.
        speculations: replies begun before the caller's turn was decided.
        discarded: those of them that nobody heard, as the caller went on.
        agent: the name of the agent that had the last word.
    """

    reason: ConversationEnd
    turns: int = 0
    interruptions: int = 0
    tool_calls: int = 0
    failures: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    agent: str = ""
    speculations: int = 0
    discarded: int = 0


class Face(Protocol):
    """What a conversation asks of the call it is on."""

    @property
    def is_active(self) -> bool:
        """False once the call has ended."""

    @property
    def bridge_id(self) -> str | None:
        """The bridge it shares with others."""

    async def bridged(self) -> None:
        """Wait until it shares none."""


@dataclass(slots=True)
class _Over(Exception):
    reason: ConversationEnd


@dataclass(slots=True)
class _Running:
    tool: Tool
    call_id: str
    arguments: dict[str, Any]
    task: asyncio.Task[ToolResult] | None = None
    result: ToolResult | None = field(default=None)


class Conversation:
    """One agent (or several, one after another) on one call.

    Args:
        agent: who talks.
        pipeline: gives the call's pipeline; asked anew each time, as a line that was lost is replaced.
        client: the call's memory.
        call: handed to tools.
        emit: takes events.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        pipeline: Callable[[], Awaitable[VoicePipeline]],
        client: AgentClient,
        call: Face,
        emit: Callable[[VoxtraEvent], None],
    ) -> None:
        self._agent = agent
        self._pipeline = pipeline
        self._client = client
        self._call = call
        self._emit = emit
        self._fillers: Iterator[str] = iter(())
        self._in_a_row = 0
        self.result = ConversationResult("hangup")
        self._drafts_before = client.drafts.begun, client.drafts.discarded

    async def run(self) -> ConversationResult:
        """Talk until it is over. Raises nothing but on cancellation."""
        try:
            async with asyncio.timeout(self._agent.max_duration_s) as limit:
                await self._talk()
        except _Over as over:
            self.result.reason = over.reason
        except CallEndedError:
            self.result.reason = "hangup"
        except TimeoutError:
            if not limit.expired():
                raise
            self.result.reason = "max_duration"
            await self._say_last(self._agent.goodbye)
        finally:
            await self._client.drafts.close()
        self.result.agent = self._agent.name
        drafts, (begun, discarded) = self._client.drafts, self._drafts_before
        self.result.speculations = drafts.begun - begun
        self.result.discarded = drafts.discarded - discarded
        return self.result

    async def _talk(self) -> None:
        await self._take_over(self._agent)
        while True:
            user = await self._hear()
            self.result.turns += 1
            await self._answer(user)

    async def _take_over(self, agent: Agent) -> None:
        """``agent`` has the call from now on; it greets."""
        self._agent = agent
        try:
            await agent.load_tools()
        except SessionError as error:
            log.error("%s goes on without the tools of a server: %s", agent.name, error)
            self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))
        self._fillers = itertools.cycle(agent.filler)
        self._client.use(
            llm=agent.llm, instructions=agent.instructions, tools=[t.schema for t in agent.by_name.values()]
        )
        pipeline = await self._pipeline()
        pipeline.use_turns(None if agent.turn_detection is None else TurnDetection.of(agent.turn_detection))
        if agent.greeting:
            self._client.history.append({"role": "assistant", "content": agent.greeting})
            await self._say(agent.greeting, interruptible=agent.greeting_interruptible)

    # ---- hearing

    async def _hear(self) -> UserTranscriptEvent:
        """The caller's next turn. Raises _Over when there will be none."""
        reprompts = iter(self._agent.idle_reprompts)
        while True:
            if self._call.bridge_id is not None:
                await self._call.bridged()
            pipeline = await self._pipeline()
            pipeline.foresee = self._foresee if self._agent.speculate else None
            try:
                heard = await pipeline.listen(self._agent.idle_s, lost=True)
            finally:
                pipeline.foresee = None
            if heard is not None and heard.text:
                return heard
            if not self._call.is_active:
                raise _Over("hangup")
            if heard is not None:
                await self._resume(pipeline)
                continue
            words = next(reprompts, None)
            if words is None:
                await self._say_last(self._agent.goodbye)
                raise _Over("silence")
            await self._say(words)

    def _foresee(self, text: str | None) -> None:
        """Begin the reply to what the caller has likely said; None: there was more, or nothing, to it."""
        if text is None:
            self._client.drafts.discard()
        else:
            self._client.foresee(text)

    async def _resume(self, pipeline: VoicePipeline) -> None:
        """An interruption that was none (a cough, "mhm"): go on with what was not heard."""
        rest = pipeline.unheard()
        if not rest:
            return
        message = next((m for m in reversed(self._client.history) if m["role"] == "assistant"), None)
        said = message["content"] if message is not None else ""
        try:
            await self._say(rest)
        finally:
            if message is not None and pipeline.last_said is not None:
                message["content"] = f"{said} {pipeline.last_said.heard}".strip()

    # ---- answering

    async def _answer(self, user: UserTranscriptEvent) -> None:
        text: object = user
        for _ in range(self._agent.max_tool_rounds + 1):
            try:
                reply, said = await self._reply(text)
            except ProviderError as error:
                await self._failed(error)
                return
            self._in_a_row = 0
            if reply is None or not reply.tool_calls:
                return
            if not await self._use_tools(reply, said):
                return
            waiting = (await self._pipeline()).take_turn()
            text = waiting if waiting is not None else ""
        log.warning(
            "%s: more than %d rounds of tools in one turn", self._agent.name, self._agent.max_tool_rounds
        )
        await self._say(self._agent.apology)

    async def _reply(self, text: object) -> tuple[AgentResponseEvent | None, SayResult]:
        """Ask the model, and speak its answer as it comes. The event is None when it was broken off."""
        agent, client = self._agent, self._client
        before = client.last
        async with Prefetch(client.stream(text)) as pieces:
            if not await pieces.begun(agent.filler_after_s):
                if await self._filler(""):
                    return None, SayResult("interrupted", "", "")
                if not await pieces.begun(max(0.0, agent.reply_s - agent.filler_after_s)):
                    raise LLMError(f"no word of a reply within {agent.reply_s:g} s")
            said = await self._say(pieces)
        reply = client.last if client.last is not before else None
        if reply is not None:
            self.result.input_tokens += reply.data.get("input_tokens", 0)
            self.result.output_tokens += reply.data.get("output_tokens", 0)
        return reply, said

    async def _say(self, words: str | AsyncIterator[str], *, interruptible: bool = True) -> SayResult:
        pipeline = await self._pipeline()
        result = await pipeline.say(words, interruptible=interruptible, voice=self._agent.voice)
        if result.reason == "interrupted":
            self.result.interruptions += 1
        if result.reason == "hangup" and not self._call.is_active:
            raise _Over("hangup")
        return result

    async def _filler(self, words: str) -> bool:
        """Say something while the caller waits. True when the caller cut in."""
        words = words or next(self._fillers, "")
        return bool(words) and (await self._say(words)).reason == "interrupted"

    async def _say_last(self, words: str) -> None:
        """The last words before an end; should even they fail, the end comes without them."""
        if words and self._call.is_active:
            try:
                await self._say(words)
            except (ProviderError, _Over, CallEndedError) as error:
                log.warning("the last words were not said: %s", error)

    async def _failed(self, error: ProviderError) -> None:
        self.result.failures += 1
        self._in_a_row += 1
        log.error("%s: %s", self._agent.name, error)
        self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))
        await self._say_last(self._agent.apology)
        if self._in_a_row >= self._agent.max_failures:
            raise _Over("failed")

    # ---- tools

    async def _use_tools(self, reply: AgentResponseEvent, said: SayResult) -> bool:
        """Run what the model asked for. False when the turn is over (the caller cut in, or it was the last).

        Every call gets a result, so that the model's view of the conversation stays whole.
        """
        interrupted = said.reason == "interrupted"
        running = [_Running(self._tool(c["name"]), c["id"], c["arguments"]) for c in reply.tool_calls]
        for each in running:
            refused = self._refused(each.tool, interrupted)
            if refused:
                each.result = ToolResult(refused, "cancelled")
        starting = [each for each in running if each.result is None]
        last = [each for each in starting if each.tool.terminal]
        await self._run_all([each for each in starting if not each.tool.terminal])
        for each in last:
            await self._run_all([each])
        for each in running:
            assert each.result is not None
            await self._client.add_tool_result(each.call_id, each.result.text)
        handed_over = [await self._after_terminal(each) for each in last]
        return not interrupted and not any(handed_over)

    def _refused(self, tool: Tool, interrupted: bool) -> str:
        """Why a tool is not run, "" when it is."""
        if tool.function is _unknown:
            return f"There is no tool {tool.name!r}."
        if interrupted and (tool.terminal or tool.on_interrupt != "finish"):
            return "Not done: the caller interrupted."
        if self.result.tool_calls >= self._agent.max_tool_calls:
            return "Not done: too many tool calls in this conversation."
        self.result.tool_calls += 1
        return ""

    def _tool(self, name: str) -> Tool:
        known = self._agent.by_name.get(name)
        return known if known is not None else Tool(_unknown, name=name, description="unknown")

    async def _run_all(self, tools: list[_Running]) -> None:
        """Run tools side by side; a filler is said when they are late; the caller's word may cancel some."""
        if not tools:
            return
        for each in tools:
            each.task = asyncio.ensure_future(each.tool.run(each.arguments, self._call))
            self._tell_of(each, each.task)
        tasks = {each.task for each in tools if each.task is not None}
        try:
            await asyncio.wait(tasks, timeout=self._agent.filler_after_s)
            if any(not task.done() for task in tasks):
                words = next((t.tool.filler for t in tools if t.tool.filler), "")
                if not any(t.tool.terminal for t in tools) and await self._filler(words):
                    self._cancel_some(tools)
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for each in tools:
            assert each.task is not None
            cancelled = each.task.cancelled()
            each.result = (
                ToolResult("Cancelled: the caller interrupted.", "cancelled")
                if cancelled
                else each.task.result()
            )

    def _tell_of(self, running: _Running, task: asyncio.Task[ToolResult]) -> None:
        """Events of a tool's begin and end."""
        now = asyncio.get_running_loop().time
        began, data = now(), {"id": running.call_id, "name": running.tool.name}
        self._emit(VoxtraEvent(type=EventType.TOOL_STARTED, data=dict(data)))

        def done(task: asyncio.Task[ToolResult]) -> None:
            failed = task.cancelled() or task.exception() is not None
            outcome = "cancelled" if failed else task.result().outcome
            took = {"outcome": outcome, "ms": round((now() - began) * 1000, 1)}
            self._emit(VoxtraEvent(type=EventType.TOOL_ENDED, data=data | took))

        task.add_done_callback(done)

    @staticmethod
    def _cancel_some(tools: list[_Running]) -> None:
        for each in tools:
            if each.task is not None and each.tool.on_interrupt == "cancel":
                each.task.cancel()

    async def _after_terminal(self, each: _Running) -> bool:
        """What a terminal tool has changed. True when another agent has greeted: the caller is next."""
        result = each.result
        if result is None or result.outcome != "done":
            return False
        if isinstance(result.value, Handoff):
            if not result.value.with_history:
                self._client.reset()
            await self._take_over(result.value.agent)
            return bool(result.value.agent.greeting)
        if not self._call.is_active:
            raise _Over("ended")
        if self._call.bridge_id is not None:
            raise _Over("transferred")
        return False


async def _unknown() -> None:
    """Stands for a tool that the model made up."""
