"""Agents by id or described in place, as work that can be done on a call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from voxtra.agent.agent import Agent
from voxtra.agent.conversation import Engines
from voxtra.control.gate import Denied
from voxtra.control.seat import Work
from voxtra.errors import PipelineNotConfiguredError
from voxtra.live import Shared
from voxtra.registrations import Registered
from voxtra.session import CallSession
from voxtra.turns import TurnDetection
from voxtra.wire import AgentRef, AgentSpec

INLINE = "inline"
"""What a call row has for an agent that was described in place."""


def name_of(ref: AgentRef) -> str:
    """What a row shows for an agent."""
    return ref if isinstance(ref, str) else INLINE


def turns_of(spec: AgentSpec) -> TurnDetection:
    """Settings of turn-taking of a spec, what it leaves out filled with the documents' defaults."""
    given = spec.turn_detection.model_dump(exclude={"type"}, exclude_none=True)
    return TurnDetection(**given)


def agent_of(spec: AgentSpec, instructions: str) -> Agent:
    """The agent that a spec describes. ``instructions``: the app's, where it has none."""
    return Agent(
        name=INLINE,
        instructions=spec.instructions or instructions,
        greeting=spec.greeting,
        voice=spec.voice,
        turn_detection=turns_of(spec),
    )


class Agents:
    """The agents of an app.

    Args:
        registered: the app's own mapping; what is added to it counts from then on.
    """

    def __init__(self, registered: Mapping[str, Registered]) -> None:
        self._registered = registered

    def ids(self) -> list[tuple[str, Registered]]:
        """All, by id."""
        return sorted(self._registered.items(), key=lambda each: each[0])

    def find(self, ref: AgentRef, instructions: str = "") -> Registered:
        """What ``ref`` is. Raises Denied (NOT_FOUND) for an unknown id.

        Args:
            instructions: the app's system prompt, for an agent described in place that has none.
        """
        if not isinstance(ref, str):
            return agent_of(ref, instructions)
        found = self._registered.get(ref)
        if found is None:
            raise Denied(f"agent = {ref!r}: there is no such agent", "NOT_FOUND", field="agent")
        return found


def work_of(agent: Registered, session: CallSession) -> Work:
    """What is to be done on a call for an agent to talk there."""
    if isinstance(agent, Agent):
        return lambda: session.converse(agent)

    async def handle() -> object:
        result = agent(session)
        return await result if inspect.isawaitable(result) else result

    return handle


def check_speech(agent: Registered, shared: Shared) -> None:
    """Whether the app has the speech that an agent needs. Raises PipelineNotConfiguredError."""
    if not isinstance(agent, Agent) or Engines(shared.llm, shared.realtime).realtime_of(agent) is not None:
        return
    speech = shared.speech
    for kind, part in (("stt", speech.stt), ("tts", speech.tts), ("llm", agent.llm or shared.llm)):
        if part is None:
            raise PipelineNotConfiguredError(kind)
