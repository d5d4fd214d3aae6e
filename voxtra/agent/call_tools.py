"""The tools of a call under the names that the ClutchCall documents give them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from voxtra.agent.agent import current_time, end_call, press_keys, transfer
from voxtra.agent.tools import Tool
from voxtra.errors import CallEndedError

TICK_S = 0.5
"""How soon a hold notices that its call has ended."""

_held: WeakKeyDictionary[Any, asyncio.Task[None]] = WeakKeyDictionary()
"""Who brings a caller back whom the model forgot on hold."""


def call_tools(
    destinations: Mapping[str, str] | None = None, *, zone: str = "UTC", longest_hold_s: float = 120
) -> list[Tool]:
    """``disconnect_call``, ``hold_call``, ``unhold_call``, ``send_dtmf``, ``get_current_time``, and
    ``transfer_call`` where there are destinations: for ``Agent(tools=[*call_tools()])``.

    Args:
        destinations: alias → endpoint; the model never sees a number.
        zone: of the time, like ``"Europe/London"``.
        longest_hold_s: after so many s on hold the caller comes back, should the model forget.

    Raises:
        ConfigurationError: there is no such zone.
    """
    tools = [
        _named("disconnect_call", end_call()),
        *_holding(longest_hold_s),
        _named("send_dtmf", press_keys()),
        _named("get_current_time", current_time(zone)),
    ]
    return [*tools, transfer(destinations)] if destinations else tools


def _named(name: str, made: Tool) -> Tool:
    made.name = name
    return made


def _holding(longest_s: float) -> tuple[Tool, Tool]:
    async def hold_call(call: Any) -> str:
        await call.hold()
        _forget(call)
        _held[call] = asyncio.create_task(_bring_back(call, longest_s), name=f"hold of {call.id}")
        return "The caller is on hold and hears nothing of you. Use unhold_call before you say anything."

    async def unhold_call(call: Any) -> str:
        _forget(call)
        await call.unhold()
        return "The caller is back."

    return (
        Tool(
            hold_call,
            description="Put the caller on hold, with music, while you do something. Say so before.",
        ),
        Tool(unhold_call, description="Take the caller off hold."),
    )


def _forget(call: Any) -> None:
    task = _held.pop(call, None)
    if task is not None:
        task.cancel()


async def _bring_back(call: Any, longest_s: float) -> None:
    until = asyncio.get_running_loop().time() + longest_s
    while call.is_active and (left := until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, TICK_S))
    with contextlib.suppress(CallEndedError):
        if call.is_active:
            await call.unhold()
