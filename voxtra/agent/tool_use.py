"""The tools of one conversation at work: refused, run, told of, and each of them with a result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from voxtra.agent.tools import Tool, ToolResult
from voxtra.events import EventType, VoxtraEvent

INTERRUPTED = "Not done: the caller interrupted."
CANCELLED = ToolResult("Cancelled: the caller interrupted.", "cancelled")
ENDED = ToolResult("Cancelled: the conversation went on without it.", "cancelled")


@dataclass(slots=True)
class ToolUse:
    """What a model asked for.

    Attributes:
        task: the tool at work; None while it is not.
        result: None while there is none.
    """

    tool: Tool
    call_id: str
    arguments: dict[str, Any]
    task: asyncio.Task[ToolResult] | None = None
    result: ToolResult | None = None

    def settle(self) -> ToolResult:
        """The result of a task that is done, or was cancelled."""
        if self.result is None:
            assert self.task is not None
            self.result = CANCELLED if self.task.cancelled() else self.task.result()
        return self.result

    @property
    def told(self) -> str:
        """What the model is told: every call gets a result, also one that was cut short."""
        if self.result is None and self.task is not None and self.task.done() and not self.task.cancelled():
            self.settle()
        return (self.result or ENDED).text


class ToolBox:
    """Runs an agent's tools, within the conversation's budget.

    Args:
        tools: by name.
        call: given to tools that want it.
        emit: takes the events of a tool's begin and end.
        spend: False when the conversation has no tool call left; counts one else.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        *,
        call: object,
        emit: Callable[[VoxtraEvent], None],
        spend: Callable[[], bool],
    ) -> None:
        self._tools = tools
        self._call = call
        self._emit = emit
        self._spend = spend

    def use(self, name: str, call_id: str, arguments: dict[str, Any]) -> ToolUse:
        """What the model asked for, the tool it made up included."""
        known = self._tools.get(name)
        made = known if known is not None else Tool(_unknown, name=name, description="unknown")
        return ToolUse(made, call_id, arguments)

    def ends(self, name: str) -> bool:
        """Whether it is a tool that ends the conversation."""
        return name in self._tools and self._tools[name].terminal

    def refused(self, use: ToolUse, *, interrupted: bool) -> bool:
        """Whether it is not run; its result then says why."""
        why = self._refusal(use.tool, interrupted)
        if why:
            use.result = ToolResult(why, "cancelled")
        return bool(why)

    def _refusal(self, tool: Tool, interrupted: bool) -> str:
        if tool.function is _unknown:
            return f"There is no tool {tool.name!r}."
        if interrupted and (tool.terminal or tool.on_interrupt != "finish"):
            return INTERRUPTED
        if not self._spend():
            return "Not done: too many tool calls in this conversation."
        return ""

    def start(self, use: ToolUse) -> asyncio.Task[ToolResult]:
        """Run it. The task never raises but on cancellation."""
        use.task = asyncio.ensure_future(use.tool.run(use.arguments, self._call))
        now = asyncio.get_running_loop().time
        began, data = now(), {"id": use.call_id, "name": use.tool.name}
        self._emit(VoxtraEvent(type=EventType.TOOL_STARTED, data=dict(data)))

        def done(task: asyncio.Task[ToolResult]) -> None:
            failed = task.cancelled() or task.exception() is not None
            outcome = "cancelled" if failed else task.result().outcome
            took = {"outcome": outcome, "ms": round((now() - began) * 1000, 1)}
            self._emit(VoxtraEvent(type=EventType.TOOL_ENDED, data=data | took))

        use.task.add_done_callback(done)
        return use.task


async def _unknown() -> None:
    """Stands for a tool that the model made up."""
