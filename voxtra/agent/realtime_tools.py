"""Tools of a model that hears and speaks: run at once, side by side, and every call is answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from voxtra.agent.client import AgentClient
from voxtra.agent.realtime_reply import Reply
from voxtra.speech.base import SpeechStream, ToolCall
from voxtra.types import JSON

log = logging.getLogger("voxtra.agent")

OnTool: TypeAlias = Callable[[ToolCall], Awaitable[str | None]]
"""Runs a tool, within a time of its own; returns what the model is told. None: it is told "Done." and is not asked to
speak."""


class Unsaid(str):
    """What a model is told of a tool without being asked to speak of it."""


ENDING_S = 2.5
"""How long a tool may take to end when it is cancelled."""
DONE = "Done."
CANCELLED = "Cancelled: the conversation went on without it."


class ToolRuns:
    """Runs the tools of one conversation."""

    def __init__(self, agent: AgentClient, on_tool: OnTool | None) -> None:
        self._agent = agent
        self._on_tool = on_tool
        self.unsent: list[tuple[str, str]] = []
        """Results that came while there was no connection, as (id, text)."""
        self.of: dict[str, Reply] = {}
        """The replies whose tools are at work, by id of the call."""

    def was_cut(self, tool_id: str) -> bool:
        """Whether the caller cut in on the reply that asked for a tool."""
        reply = self.of.get(tool_id)
        return reply is not None and reply.cut

    async def cut_off(self, tool_id: str) -> None:
        """Wait until the caller cuts in on the reply that asked for a tool; that may be never."""
        reply = self.of.get(tool_id)
        if reply is not None:
            await reply.was_cut.wait()

    async def others(self, tool_id: str, which: Callable[[str], bool]) -> None:
        """Wait until the other tools that the same reply asked for are done, those of the names ``which`` tells."""
        reply = self.of.get(tool_id)
        tasks = (
            [task for call, task in reply.tools if call.id != tool_id and which(call.name)] if reply else []
        )
        if tasks:
            await asyncio.wait(tasks)

    def start(self, call: ToolCall, reply: Reply) -> None:
        """Run a tool that ``reply`` asks for."""
        self.of[call.id] = reply
        reply.tools.append((call, asyncio.ensure_future(self._run(call))))

    async def _run(self, call: ToolCall) -> str | None:
        """What the model is told of a call. Only cancellation leaves it."""
        if self._on_tool is None:
            return f"There is no tool {call.name!r}."
        try:
            return await self._on_tool(call)
        except Exception as error:
            log.exception("the tool %s failed", call.name)
            return f"{call.name} failed: {error}"

    def note(self, reply: Reply) -> None:
        """Put the calls of a reply into the history."""
        asked = chat_form([call for call, _ in reply.tools])
        history = self._agent.history
        if reply.message is not None and any(each is reply.message for each in history):
            reply.message["tool_calls"] = asked
        else:
            history.append({"role": "assistant", "content": "", "tool_calls": asked})

    async def finish(self, reply: Reply, stream: Callable[[], SpeechStream | None]) -> bool:
        """Wait for the tools of a reply and tell the model; False when it shall not speak of it.

        ``stream`` gives the connection of the moment. One that was made while a tool ran knows of its call
        by the history, so it takes the result as well; while there is none, :attr:`unsent` keeps it.
        """
        tasks = [task for _, task in reply.tools]
        try:
            await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            if any(not task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=ENDING_S)
            results = [self._told(task) for task in tasks]
            for (call, _), result in zip(reply.tools, results, strict=True):
                self._tell(call, DONE if result is None else result, stream())
                self.of.pop(call.id, None)
        return any(result is not None and not isinstance(result, Unsaid) for result in results)

    @staticmethod
    def _told(task: asyncio.Task[str | None]) -> str | None:
        return task.result() if task.done() and not task.cancelled() else Unsaid(CANCELLED)

    def _tell(self, call: ToolCall, text: str, stream: SpeechStream | None) -> None:
        self._agent.note_result(call.id, str(text))
        if stream is not None:
            stream.add_tool_result(call.id, str(text))
        else:
            self.unsent.append((call.id, str(text)))


def chat_form(calls: Sequence[ToolCall]) -> list[dict[str, JSON]]:
    """Tool calls as an assistant's message of the history holds them."""
    return [
        {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        for call in calls
    ]
