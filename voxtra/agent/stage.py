"""What all agents of one conversation share: the call, its memory, its engines, and how it goes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from voxtra.agent.agent import Agent
from voxtra.agent.client import AgentClient
from voxtra.agent.pipeline import SpeechSetup, VoicePipeline
from voxtra.agent.realtime import RealtimePipeline
from voxtra.agent.realtime_asking import Unanswered
from voxtra.agent.tool_use import ToolBox
from voxtra.errors import ConfigurationError, SessionError, VoxtraError
from voxtra.events import ErrorEvent, VoxtraEvent
from voxtra.media.line import Line
from voxtra.turns import TurnDetection

if TYPE_CHECKING:
    from voxtra.calls.leg import LegEnd
    from voxtra.calls.transfer import TransferResult

log = logging.getLogger("voxtra.agent")

ConversationEnd: TypeAlias = Literal[
    "hangup", "ended", "transferred", "silence", "max_duration", "failed", "stopped"
]
"""``hangup``: the caller; ``ended``: the agent hung up; ``transferred``: somebody else has the caller;
``silence``: the caller said no more; ``failed``: model or voice failed too often; ``stopped``: from outside."""


@dataclass(slots=True)
class ConversationResult:
    """How a conversation went.

    Attributes:
        reason: see :data:`ConversationEnd`.
        turns: the caller's turns.
        interruptions: how often the caller cut in.
        tool_calls: how many tools were run.
        failures: how often model or voice failed.
        speculations: replies begun before the caller's turn was decided.
        discarded: those of them that nobody heard, as the caller went on.
        agent: the name of the agent that had the last word.
        transfer: how the last transfer went that a tool tried, None where there was none.
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
    transfer: TransferResult | None = None


class Face(Protocol):
    """What a conversation asks of the call it is on."""

    @property
    def is_active(self) -> bool:
        """False once the call has ended."""

    @property
    def end(self) -> LegEnd | None:
        """How it ended."""

    @property
    def bridge_id(self) -> str | None:
        """The bridge it shares with others."""

    @property
    def last_transfer(self) -> TransferResult | None:
        """How the last transfer went."""

    async def bridged(self) -> None:
        """Wait until it shares none."""

    async def hangup(self) -> None:
        """End it."""

    async def transfer_to(self, endpoint: str, *, timeout: float = 30) -> object:
        """Hand it to somebody else; what it returns is true when that succeeded."""


@dataclass(slots=True)
class Over(Exception):
    """The conversation has ended."""

    reason: ConversationEnd


OpenRealtime: TypeAlias = Callable[
    [Callable[[Line], RealtimePipeline]], AbstractAsyncContextManager[RealtimePipeline]
]
"""Gives the call's line to a pipeline as long as the context lasts."""


@dataclass(slots=True)
class Stage:
    """What all agents of one conversation share.

    Attributes:
        call: handed to tools.
        client: the call's memory.
        emit: takes events.
        speech: the app's providers, for what an agent does not bring.
        turns: the app's settings of turn-taking.
        cascade: gives the call's pipeline of STT, LLM and TTS; asked anew each time, as a line that was lost
            is replaced.
        realtime: opens a pipeline of a speech-to-speech model on the call's line.
    """

    call: Face
    client: AgentClient
    emit: Callable[[VoxtraEvent], None]
    speech: SpeechSetup
    turns: TurnDetection
    cascade: Callable[[], Awaitable[VoicePipeline]]
    realtime: OpenRealtime
    result: ConversationResult
    listening: bool = False
    """True while an agent waits for the caller's next turn: nobody else may take it then."""
    unanswered: Unanswered | None = None
    """A turn that was spoken to a speech-to-speech model, and not answered: whoever goes on is sent it."""
    before: TransferResult | None = None
    """The call's last transfer before the conversation."""

    def __post_init__(self) -> None:
        self.before = self.call.last_transfer

    @property
    def handed_over(self) -> bool:
        """Whether the call was transferred since the conversation began."""
        last = self.call.last_transfer
        return last is not self.before and bool(last)

    def verdict(self, reason: ConversationEnd) -> ConversationEnd:
        """Why the conversation has really ended: a call that is gone was hung up by one side, or handed over."""
        last, end = self.call.last_transfer, self.call.end
        self.result.transfer = last if last is not self.before else None
        if self.handed_over:
            return "transferred"
        if reason in ("ended", "hangup") and end is not None:
            if end.reason == "left":
                return "transferred"
            if end.reason in ("hangup", "lost"):
                return "hangup"
        return reason

    def turns_of(self, agent: Agent) -> TurnDetection:
        """The settings of turn-taking while ``agent`` has the call."""
        own = agent.turn_detection
        return self.turns if own is None else TurnDetection.of(own)

    def fail(self, error: VoxtraError) -> None:
        """Something failed, and the conversation goes on where it can."""
        log.error("%s: %s", self.result.agent, error)
        self.emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))

    async def enter(self, agent: Agent) -> ToolBox:
        """``agent`` has the call from now on: its instructions, its tools. Returns the latter."""
        self.result.agent = agent.name
        try:
            await agent.load_tools()
        except SessionError as error:
            log.error("%s goes on without the tools of a server", agent.name)
            self.fail(error)
        if agent.language is not None:
            try:
                self.client.language = agent.language
            except ConfigurationError as error:
                self.fail(error)  # and it goes on in the language there is
        schemas = [tool.schema for tool in agent.by_name.values()]
        self.client.use(llm=agent.llm, instructions=agent.instructions, tools=schemas)

        def spend() -> bool:
            if self.result.tool_calls >= agent.max_tool_calls:
                return False
            self.result.tool_calls += 1
            return True

        return ToolBox(agent.by_name, call=self.call, emit=self.emit, spend=spend)
