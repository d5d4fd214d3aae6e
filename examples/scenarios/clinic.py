"""A clinic's receptionist: what the scenarios beside it call. Its model answers as each scenario says.

voxtra eval examples/scenarios
"""

from __future__ import annotations

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, end_call

app = VoxtraApp(stt="local", tts="local", vad="local")


async def book(day: str, name: str, call: CallSession) -> str:
    """Book an appointment."""
    call.metadata["booked"] = f"{day} for {name}"
    return f"Booked: {day} for {name}."


async def take_number(number: str, call: CallSession) -> str:
    """Note the caller's telephone number."""
    call.metadata["number"] = number
    return "Noted."


agent = Agent(
    name="receptionist",
    instructions="You are the receptionist of a clinic.",
    greeting="Welcome to the clinic. How can I help you?",
    tools=[book, take_number, end_call()],
    speculate=False,  # replies written one for each request are used up by requests made ahead
    idle_s=6,
)


@app.default()
async def receptionist(call: CallSession) -> None:
    await call.answer()
    await call.converse(agent)
