"""Apps and scenarios for the tests of voxtra.evaluation."""

from __future__ import annotations

from typing import Any

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, end_call
from voxtra.evaluation import Scenario

HOURS = "We are open from Monday to Friday, from nine in the morning until five in the afternoon."


def app_of(handler: Any) -> VoxtraApp:
    app = VoxtraApp(stt="local", tts="local")
    app.default()(handler)
    return app


async def note(number: str, call: CallSession) -> str:
    """Note a number."""
    call.metadata["number"] = number
    return "Noted."


async def shop(call: CallSession) -> None:
    await call.answer()
    await call.converse(Agent(greeting="Hello.", tools=[note, end_call()], speculate=False, idle_s=5))


def scenario(**given: Any) -> Scenario:
    return Scenario.model_validate({"name": "a scenario", "llm": [HOURS], **given})
