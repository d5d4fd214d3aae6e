"""Agents by id or described in place, as work that can be done on a call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from voxtra.agent.agent import Agent
from voxtra.agent.call_tools import call_tools
from voxtra.agent.conversation import Engines
from voxtra.control.gate import Denied
from voxtra.control.seat import Work
from voxtra.errors import NotConnectedError, PipelineNotConfiguredError
from voxtra.registrations import Registered
from voxtra.session import CallSession
from voxtra.shared import Shared
from voxtra.turns import TurnDetection
from voxtra.wire import AgentRef, AgentSpec

INLINE_TOOLS = frozenset({"disconnect_call", "get_current_time"})
"""What an agent described in place can do, beside talking: nothing that costs or reaches further."""
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
        tools=[each for each in call_tools() if each.name in INLINE_TOOLS],
    )


class Agents:
    """The agents of an app.

    Args:
        registered: the app's own mapping; what is added to it counts from then on.
        shared: what all calls of the app share, None while it is not started.
    """

    def __init__(self, registered: Mapping[str, Registered], shared: Callable[[], Shared | None]) -> None:
        self._registered = registered
        self._shared = shared

    def ids(self) -> list[tuple[str, Registered]]:
        """All, by id."""
        return sorted(self._registered.items(), key=lambda each: each[0])

    def find(self, ref: AgentRef) -> Registered:
        """What ``ref`` is.

        Raises:
            Denied: NOT_FOUND for an unknown id; UNPROCESSABLE for a model that the app does not run.
            PipelineNotConfiguredError: the app lacks the speech that the agent needs.
        """
        shared = self._shared()
        if shared is None:
            raise NotConnectedError("the app is not started")
        found = self._registered.get(ref) if isinstance(ref, str) else agent_of(ref, shared.instructions)
        if found is None:
            raise Denied(f"agent = {ref!r}: there is no such agent", "NOT_FOUND", field="agent")
        if isinstance(ref, AgentSpec):
            _check_model(ref, shared)
        _check_speech(found, shared)
        return found


def _check_model(spec: AgentSpec, shared: Shared) -> None:
    providers = (shared.llm, shared.realtime)
    models = {getattr(getattr(each, "settings", None), "model", None) for each in providers} - {None}
    if spec.model is not None and spec.model not in models:
        runs = ", ".join(sorted(map(str, models))) or "none by name"
        raise Denied(
            f"agent.model = {spec.model[:60]!r}: this app runs {runs}", "UNPROCESSABLE", field="agent.model"
        )


def work_of(agent: Registered, session: CallSession) -> Work:
    """What is to be done on a call for an agent to talk there."""
    if isinstance(agent, Agent):
        return lambda: session.converse(agent)

    async def handle() -> object:
        result = agent(session)
        return await result if inspect.isawaitable(result) else result

    return handle


def _check_speech(agent: Registered, shared: Shared) -> None:
    if not isinstance(agent, Agent) or Engines(shared.llm, shared.realtime).realtime_of(agent) is not None:
        return
    speech = shared.speech
    for kind, part in (("stt", speech.stt), ("tts", speech.tts), ("llm", agent.llm or shared.llm)):
        if part is None:
            raise PipelineNotConfiguredError(kind)
