"""What an agent is: its words, its tools, its patience. The conversation itself is in ``conversation``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from voxtra.agent.mcp import MCPTools
from voxtra.agent.tools import Tool, ToolLike, tools_of
from voxtra.errors import CallError, ConfigurationError, SessionError
from voxtra.speech.base import LLM, SpeechToSpeech
from voxtra.turns import TurnDetection

HOLD_TICK_S = 0.5
"""How often a held call is looked after."""


@dataclass(slots=True, frozen=True)
class Transfer:
    """Where a call goes when its agent has failed.

    Attributes:
        to: an alias of the agent's :func:`transfer` tool, or an endpoint: ``"PJSIP/desk"``, ``"+4420..."``.
        timeout: how long it may ring, s.
    """

    to: str
    timeout: float = 30.0

    def __post_init__(self) -> None:
        if not isinstance(self.to, str) or not self.to.strip():
            raise ConfigurationError(f"Transfer(to={self.to!r}): an alias or an endpoint, like 'PJSIP/desk'")
        if not self.timeout > 0:
            raise ConfigurationError(f"Transfer(timeout={self.timeout!r}): seconds, more than 0")


@dataclass(kw_only=True)
class Agent:
    """An agent for ``await call.converse(agent)``. One object serves any number of calls.

    Attributes:
        instructions: the system prompt.
        name: for logs, events and hand-offs.
        greeting: said first; "" lets the caller begin.
        tools: typed functions or :class:`Tool` objects.
        mcp: MCP servers whose tools it has too.
        voice: one of the TTS's voices, None = its own; or voices by language, ``{"en": "anna", "de": "karin"}``.
        language: BCP 47 of what is spoken from its turn on; None = as before. See ``call.agent.language``.
        llm: its model; None = the app's.
        realtime: a model that hears and speaks itself, in place of STT, ``llm`` and TTS; True = the app's; False =
            not, None = the app's where there is one and no ``llm`` is given.
        turn_detection: settings of turn-taking, or a preset's name; None = the app's.
        keys: whether keys that the caller presses are turns too, told to the model as ``[keys pressed: 1234]``. Keys
            that ``listen_dtmf`` waits for are its own. False: they only stop the agent, and are left for
            ``listen_dtmf`` and ``on_dtmf``.
        speculate: ask the model already when the caller has likely, not surely, said all. It answers sooner,
            and now and then a request is made in vain (``ConversationResult.discarded``).
        filler: said when a reply or a tool is late. Several are used in turn.
        filler_after_s: from when on it is late.
        idle_s: silence of the caller after which the next of ``idle_reprompts`` is said.
        idle_reprompts: said one by one; then ``goodbye``, and the conversation ends with ``silence``.
        goodbye: said before the conversation is ended for silence or for its length; "" says nothing.
        max_duration_s: the conversation's longest duration; None = without end.
        apology: said when the model or the voice failed.
        max_failures: after so many in a row the conversation ends with ``failed``.
        on_failure: what becomes of the call then: a :class:`Transfer`, ``"hangup"``, or None: ``converse`` returns.
        reply_s: longest wait for the first word of a reply, s.
        max_tool_rounds: how often in one turn results may go back to the model.
        max_tool_calls: budget of one conversation.
    """

    instructions: str = ""
    name: str = "agent"
    greeting: str = ""
    greeting_interruptible: bool = True
    tools: Sequence[ToolLike] = ()
    mcp: Sequence[MCPTools] = ()
    voice: str | Mapping[str, str] | None = None
    language: str | None = None
    llm: LLM | None = None
    realtime: SpeechToSpeech | bool | None = None
    turn_detection: TurnDetection | Mapping[str, Any] | str | None = None
    keys: bool = True
    speculate: bool = True
    filler: Sequence[str] = ("One moment, please.",)
    filler_after_s: float = 2.0
    idle_s: float = 10.0
    idle_reprompts: Sequence[str] = ("Are you still there?",)
    goodbye: str = "Goodbye."
    max_duration_s: float | None = None
    apology: str = "I am sorry, I did not catch that. Could you say it again?"
    max_failures: int = 2
    on_failure: Transfer | Literal["hangup"] | None = None
    reply_s: float = 15.0
    max_tool_rounds: int = 5
    max_tool_calls: int = 50
    by_name: dict[str, Tool] = field(init=False, repr=False)
    """The tools by name."""

    def __post_init__(self) -> None:
        if isinstance(self.filler, str):
            self.filler = (self.filler,)
        if isinstance(self.idle_reprompts, str):
            self.idle_reprompts = (self.idle_reprompts,)
        for name in ("filler_after_s", "idle_s", "reply_s"):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"Agent({name}={getattr(self, name)!r}): seconds, more than 0")
        if not isinstance(self.realtime, SpeechToSpeech | bool | None):
            raise ConfigurationError(
                f"Agent(realtime={self.realtime!r}): a SpeechToSpeech provider, True or False"
            )
        if not (self.on_failure in (None, "hangup") or isinstance(self.on_failure, Transfer)):
            raise ConfigurationError(
                f"Agent(on_failure={self.on_failure!r}): Transfer('...'), 'hangup' or None"
            )
        if self.turn_detection is not None:
            self.turn_detection = TurnDetection.of(self.turn_detection)
        self.by_name = tools_of(self.tools)

    def voice_in(self, language: str | None) -> str | None:
        """The voice for a language: of the tag itself, of its first part, or the TTS's own."""
        if self.voice is None or isinstance(self.voice, str):
            return self.voice
        tag = language or ""
        return self.voice.get(tag) or self.voice.get(tag.replace("_", "-").split("-")[0])

    def endpoint_of(self, to: str) -> str:
        """What an alias of its :func:`transfer` tools stands for; ``to`` itself when it is none."""
        return next((t.destinations[to] for t in self.by_name.values() if to in t.destinations), to)

    async def load_tools(self) -> None:
        """Have the tools of the MCP servers among its own.

        Raises:
            SessionError: a server can't be reached, or has a tool of a name that is taken; they are as before.
        """
        own: list[ToolLike] = list(self.tools)
        for server in self.mcp:
            own += await server.tools()
        try:
            self.by_name = tools_of(own)
        except ConfigurationError as error:
            raise SessionError(f"the tools of the MCP servers: {error}") from None


class _Call(Protocol):
    """What the built-in tools ask of a call."""

    async def hangup(self) -> None:
        """See CallSession."""

    async def transfer_to(self, endpoint: str, **options: Any) -> Any:
        """See CallSession."""

    async def hold(self, moh_class: str) -> None:
        """See CallSession."""

    async def unhold(self) -> None:
        """See CallSession."""

    async def send_dtmf(self, dtmf: str) -> None:
        """See CallSession."""


def end_call(description: str = "Hang up, once you have said goodbye.") -> Tool:
    """A tool that ends the call when the reply was heard."""

    async def end_call(call: Any) -> str:
        await call.hangup()
        return "The call has ended."

    return Tool(end_call, description=description, terminal=True)


def transfer(destinations: Mapping[str, str], *, timeout: float = 30) -> Tool:
    """A tool that transfers the call to one of some named destinations; the model never sees a number.

    Args:
        destinations: alias → endpoint: ``{"sales": "PJSIP/sales", "doctor": "+4420..."}``.
        timeout: how long it may ring, s.
    """
    if not destinations:
        raise ConfigurationError("transfer(): name at least one destination, like {'sales': 'PJSIP/sales'}")
    names = ", ".join(destinations)

    async def transfer_call(destination: str, call: Any) -> str:
        if destination not in destinations:
            raise CallError(f"there is no destination {destination!r}; there are {names}")
        result = await call.transfer_to(destinations[destination], timeout=timeout)
        return "The caller is connected." if result else f"Not connected: {result.reason}."

    return Tool(
        transfer_call,
        description=f"Connect the caller with somebody else. Destinations: {names}.",
        terminal=True,
        timeout_s=timeout + 15,
        destinations=destinations,
    )


def press_keys() -> Tool:
    """A tool that presses keys towards the far end, for menus of other systems."""

    async def press_keys(keys: str, call: Any) -> str:
        await call.send_dtmf(keys)
        return "Pressed."

    return Tool(press_keys, description="Press keys of the telephone: 0-9 * #, w is a pause.")


def hold(*, longest_s: int = 120, moh_class: str = "default") -> Tool:
    """A tool that puts the caller on hold, with music, for as many seconds as the model wants.

    Args:
        longest_s: the most it may want.
        moh_class: a class of musiconhold.conf.
    """
    if not longest_s >= 1:
        raise ConfigurationError(f"hold(longest_s={longest_s!r}): seconds, 1 or more")

    async def put_on_hold(seconds: int, call: Any) -> str:
        until = asyncio.get_running_loop().time() + min(max(seconds, 1), longest_s)
        await call.hold(moh_class)
        try:
            while call.is_active and (left := until - asyncio.get_running_loop().time()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(min(left, HOLD_TICK_S))
        finally:
            if call.is_active:
                await call.unhold()
        return "The caller was on hold, and is back."

    return Tool(
        put_on_hold,
        description=f"Put the caller on hold with music for some seconds, {longest_s} at most. Say so before.",
        terminal=True,
        timeout_s=longest_s + 15,
    )


def change_language(*languages: str) -> Tool:
    """A tool that goes on in another language: the caller is heard in it, and the voice speaks it.

    Args:
        languages: BCP 47, those among which the model may choose.
    """
    if not languages or not all(isinstance(each, str) and each for each in languages):
        raise ConfigurationError("change_language(): name the languages, like change_language('en', 'de')")
    names = ", ".join(languages)

    async def change_language(language: str, call: Any) -> str:
        if language not in languages:
            raise CallError(f"there is no language {language!r}; there are {names}")
        call.agent.language = language
        return f"The caller is heard in {language} from now on, and you are spoken in it: go on in it."

    return Tool(
        change_language,
        description=f"Go on in another language, when the caller speaks or wants one of: {names}.",
    )


def current_time(zone: str = "UTC") -> Tool:
    """A tool that tells date and time in ``zone`` (``"Europe/London"``)."""
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError(f"current_time({zone!r}): a zone like 'Europe/London' is wanted") from None

    async def current_time() -> str:
        return datetime.now(where).strftime("%A, %d %B %Y, %H:%M") + f" ({zone})"

    return Tool(current_time, description="Date and time now.")


@dataclass(slots=True, frozen=True)
class Handoff:
    """What a hand-off tool returns: who goes on, and whether with what was said so far."""

    agent: Agent
    with_history: bool = True

    def __str__(self) -> str:
        """What models and transcripts are told: nothing of the other agent's instructions."""
        return f"{self.agent.name} goes on with the conversation."


def handoff(agent: Agent, *, description: str = "", with_history: bool = True) -> Tool:
    """A tool that lets another agent go on with the conversation.

    Args:
        agent: who; its greeting is said.
        description: when to use it, for the model.
        with_history: whether it knows what was said so far.
    """

    async def hand_off() -> Handoff:
        return Handoff(agent, with_history)

    return Tool(
        hand_off,
        name=f"hand_off_to_{agent.name}".replace(" ", "_"),
        description=description or f"Let {agent.name} go on with the conversation.",
        terminal=True,
    )
