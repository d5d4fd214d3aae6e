"""An agent on STT, language model and TTS: it hears a turn, answers, uses its tools, and hears the next."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator

from voxtra.agent.agent import Agent, Handoff
from voxtra.agent.mouth import Patience, SayResult
from voxtra.agent.pipeline import VoicePipeline
from voxtra.agent.prefetch import Prefetch
from voxtra.agent.stage import Over, Stage
from voxtra.agent.tool_use import ToolBox, ToolUse
from voxtra.errors import CallEndedError, LLMError, PipelineError, ProviderError
from voxtra.events import AgentResponseEvent, UserTranscriptEvent
from voxtra.turns import TurnDetection

log = logging.getLogger("voxtra.agent")

LINE_BACK_S = 0.2
"""Wait before a line that was lost is opened again, s: the call may have ended with it."""
FILL_AGAIN_S = 8.0
"""How long nothing is said after a filler while tools are still at work."""


class Cascade:
    """One agent's part of a conversation.

    Args:
        owes: it begins by answering what was said before it came; else by its greeting.
    """

    def __init__(self, agent: Agent, stage: Stage, *, owes: bool = False) -> None:
        self._agent = agent
        self._stage = stage
        self._client = stage.client
        self._call = stage.call
        self._owes = owes
        self._tools: ToolBox
        self._fillers: Iterator[str] = itertools.cycle(agent.filler)
        self._in_a_row = 0

    async def run(self) -> Handoff:
        """Talk until another agent goes on. Raises Over when the conversation has ended."""
        agent = self._agent
        self._tools = await self._stage.enter(agent)
        pipeline = await self._stage.cascade()
        pipeline.use_turns(None if agent.turn_detection is None else TurnDetection.of(agent.turn_detection))
        if agent.greeting:
            self._client.history.append({"role": "assistant", "content": agent.greeting})
            await self._greet()
        handoff = await self._answer("") if self._owes and not agent.greeting else None
        while handoff is None:
            try:
                user = await self._hear()
            except ProviderError as error:  # not even a question whether somebody is there could be asked
                await self._failed(error)
                continue
            except PipelineError as error:
                self._stage.fail(error)
                raise Over("failed") from error
            self._stage.result.turns += 1
            handoff = await self._answer(user)
        return handoff

    async def end(self, work: asyncio.Task[Handoff], words: str) -> None:
        """End ``work``, which is its ``run``, with these words."""
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await self._last_words(words)

    async def _last_words(self, words: str) -> None:
        """Say ``words`` where nobody else speaks any more; should even they fail, the end comes without."""
        if words and self._call.is_active:
            try:
                await self._say(words)
            except (ProviderError, Over, CallEndedError) as error:
                log.warning("the last words were not said: %s", error)

    async def _greet(self) -> None:
        try:
            await self._say(self._agent.greeting, interruptible=self._agent.greeting_interruptible)
        except ProviderError as error:
            await self._failed(error)

    # ---- hearing

    async def _hear(self) -> UserTranscriptEvent:
        """The caller's next turn. Raises Over when there will be none."""
        reprompts = iter(self._agent.idle_reprompts)
        idle_s, now = self._agent.idle_s, asyncio.get_running_loop().time
        left = idle_s
        while True:
            if self._call.bridge_id is not None:
                await self._call.bridged()
                left = idle_s
            pipeline = await self._stage.cascade()
            until = now() + left
            heard, away = await self._listen(pipeline, left)
            if heard is not None and heard.text:
                return heard
            if not self._call.is_active:
                raise Over("hangup")
            if heard is not None:
                await self._resume(pipeline)
            elif pipeline.line.closed.done() and now() < until:
                await asyncio.sleep(LINE_BACK_S)  # the sound broke off, nobody is silent: it is opened again
                left = max(0.0, until - now())
                continue
            elif not away:
                words = next(reprompts, None)
                if words is None:
                    await self._last_words(self._agent.goodbye)
                    raise Over("silence")
                await self._say(words)
            left = idle_s

    async def _listen(
        self, pipeline: VoicePipeline, timeout: float
    ) -> tuple[UserTranscriptEvent | None, bool]:
        """What is heard within ``timeout`` s; and whether nothing was because the caller was away (on hold), and is
        back."""
        pipeline.foresee = self._foresee if self._agent.speculate else None
        self._stage.listening = True
        try:
            heard = await pipeline.listen(timeout, lost=True)
            away = heard is None and pipeline.deaf
            if away:
                await pipeline.hears_again()
            return heard, away
        finally:
            self._stage.listening = False
            pipeline.foresee = None

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
        said = pipeline.last_said.heard if pipeline.last_said is not None else ""
        message = next((m for m in reversed(self._client.history) if m["role"] == "assistant"), None)
        if message is not None and (message["content"] or "") != said:
            message = None
        if message is None and not said:  # nothing of it was heard, so the history has lost it
            message = {"role": "assistant", "content": ""}
            self._client.history.append(message)
        try:
            await self._say(rest)
        finally:
            if message is not None and pipeline.last_said is not None:
                message["content"] = f"{said} {pipeline.last_said.heard}".strip()
                if not (message["content"] or message.get("tool_calls")):
                    history = self._client.history
                    history[:] = [each for each in history if each is not message]

    # ---- answering

    async def _answer(self, user: UserTranscriptEvent | str) -> Handoff | None:
        """Answer, with all the tools it takes. Returns who goes on, None: the caller is next."""
        text: object = user
        for _ in range(self._agent.max_tool_rounds + 1):
            try:
                reply, said = await self._reply(text)
            except ProviderError as error:
                await self._failed(error)
                return None
            self._in_a_row = 0
            if reply is None or not reply.tool_calls:
                return None
            go_on = await self._use_tools(reply, said)
            if not isinstance(go_on, bool):
                return go_on
            if not go_on:
                return None
            waiting = (await self._stage.cascade()).take_turn()
            text = waiting if waiting is not None else ""
        log.warning(
            "%s: more than %d rounds of tools in one turn", self._agent.name, self._agent.max_tool_rounds
        )
        await self._last_words(self._agent.apology)
        return None

    async def _reply(self, text: object) -> tuple[AgentResponseEvent | None, SayResult]:
        """Ask the model, and speak its answer as it comes. The event is None when it was broken off."""
        client, result = self._client, self._stage.result
        before, known = client.last, len(client.history)
        try:
            async with Prefetch(client.stream(text)) as pieces:
                said = await self._say(pieces) if await self._has_the_floor(pieces) else None
        except asyncio.CancelledError:
            self._keep_question(text, known)
            raise
        if said is None:  # it may be complete, but nobody heard it
            client.history[known:] = [m for m in client.history[known:] if m["role"] != "assistant"]
            self._keep_question(text, known)
            return None, SayResult("interrupted", "", "")
        reply = client.last if client.last is not before else None
        if reply is not None:
            result.input_tokens += reply.data.get("input_tokens", 0)
            result.output_tokens += reply.data.get("output_tokens", 0)
        return reply, said

    def _keep_question(self, text: object, known: int) -> None:
        """Whoever goes on knows what was said, also when the request was never written."""
        if str(text) and len(self._client.history) == known:
            self._client.history.append({"role": "user", "content": str(text)})

    async def _has_the_floor(self, pieces: Prefetch[str]) -> bool:
        """Wait until the reply begins, and nobody speaks. False when the caller has gone on: nothing of it was
        heard yet, so that both turns get one answer. Raises LLMError when it is too late."""
        pipeline = await self._stage.cascade()
        pipeline.agent_thinks(True)
        try:
            return await self._begun(pieces, pipeline)
        finally:
            pipeline.agent_thinks(False)

    async def _begun(self, pieces: Prefetch[str], pipeline: VoicePipeline) -> bool:
        agent, now = self._agent, asyncio.get_running_loop().time
        began, filled = now(), False
        while not pipeline.has_turn:
            speaks = pipeline.caller_speaks and not pipeline.line.closed.done()
            if pieces.has_begun and not speaks:
                return True
            waited = now() - began
            left = None if speaks else (agent.reply_s if filled else agent.filler_after_s) - waited
            if left is None or left > 0:
                await _first(pipeline.changed(), None if speaks else pieces.begun(agent.reply_s), left)
            elif filled:
                raise LLMError(f"no word of a reply within {agent.reply_s:g} s")
            else:
                filled = True
                if await self._filler(""):
                    return False
        return False

    async def _say(self, words: str | AsyncIterator[str], *, interruptible: bool = True) -> SayResult:
        pipeline = await self._stage.cascade()
        agent = self._agent
        result = await pipeline.say(
            words,
            interruptible=interruptible,
            voice=agent.voice_in(self._client.language),
            patience=Patience(lambda: next(self._fillers, ""), agent.filler_after_s, agent.reply_s)
            if not isinstance(words, str)
            else None,
        )
        if result.reason == "interrupted":
            self._stage.result.interruptions += 1
        if result.reason == "hangup" and not self._call.is_active:
            raise Over("hangup")
        return result

    async def _filler(self, words: str) -> bool:
        """Say something while the caller waits; without a word where that fails. True when the caller cut in."""
        words = words or next(self._fillers, "")
        try:
            return bool(words) and (await self._say(words)).reason == "interrupted"
        except ProviderError as error:
            log.warning("the filler was not said: %s", error)
            return False

    async def _failed(self, error: ProviderError) -> None:
        self._stage.result.failures += 1
        self._in_a_row += 1
        self._stage.fail(error)
        await self._last_words(self._agent.apology)
        if self._in_a_row >= self._agent.max_failures:
            raise Over("failed")

    # ---- tools

    async def _use_tools(self, reply: AgentResponseEvent, said: SayResult) -> Handoff | bool:
        """Run what the model asked for. Returns who goes on; or whether the model is asked again.

        Every call gets a result, so that the model's view of the conversation stays whole.
        """
        interrupted = said.reason == "interrupted"
        uses = [self._tools.use(c["name"], c["id"], c["arguments"]) for c in reply.tool_calls]
        starting = [use for use in uses if not self._tools.refused(use, interrupted=interrupted)]
        last = [use for use in starting if use.tool.terminal]
        try:
            await self._run_all([use for use in starting if not use.tool.terminal])
            for use in last:
                await self._run_all([use])
        finally:
            for use in uses:
                self._client.note_result(use.call_id, use.told)
        if self._stage.handed_over:  # by whatever tool
            raise Over("transferred")
        for use in last:
            if (handoff := self._after_terminal(use)) is not None:
                return handoff
        return not interrupted

    async def _run_all(self, uses: list[ToolUse]) -> None:
        """Run tools side by side; a filler is said when they are late; the caller's word may cancel some."""
        if not uses:
            return
        tasks = [self._tools.start(use) for use in uses]
        try:
            await asyncio.wait(tasks, timeout=self._agent.filler_after_s)
            words = next((use.tool.filler for use in uses if use.tool.filler), "")
            while any(not task.done() for task in tasks):
                quiet_s: float | None = FILL_AGAIN_S
                if any(use.tool.terminal for use in uses):
                    quiet_s = None
                elif await self._filler(words):
                    self._cancel_some(uses)
                    quiet_s = None
                await asyncio.wait(tasks, timeout=quiet_s)
                words = ""
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for use in uses:
            use.settle()

    @staticmethod
    def _cancel_some(uses: list[ToolUse]) -> None:
        for use in uses:
            if use.task is not None and use.tool.on_interrupt == "cancel":
                use.task.cancel()

    def _after_terminal(self, use: ToolUse) -> Handoff | None:
        """What a terminal tool has changed: returns who goes on, raises Over when nobody does."""
        result = use.result
        if result is None or result.outcome != "done":
            return None
        if isinstance(result.value, Handoff):
            return result.value
        if not self._call.is_active:
            raise Over("ended")
        if self._call.bridge_id is not None:
            raise Over("transferred")
        return None


async def _first(one: Awaitable[object], other: Awaitable[object] | None, timeout: float | None) -> None:
    """Wait for the first of two, at most ``timeout`` s."""
    tasks = {asyncio.ensure_future(each) for each in (one, other) if each is not None}
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
