"""Preview: an agent on a call, its turn-taking and a tap of its sound behind one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from voxtra.voice.arguments import Agent, Turns, agent_of, checked, turns_of
from voxtra.voice.async_voice import AsyncAudioBridge, AsyncVoice
from voxtra.voice.bridge import AudioBridge
from voxtra.voice.bridging import OnFrame
from voxtra.voice.errors import bad_argument
from voxtra.voice.events import Listener
from voxtra.voice.voice import Call, Voice
from voxtra.wire import AgentSpec, CascadeTurns, TurnSettings


class Leg:
    """Which agent is on the call, as this object put it there: what both faces share. Sends nothing."""

    def __init__(self, call_sid: str) -> None:
        self.call_sid = call_sid
        self.agent: str | AgentSpec | None = None

    def with_agent(self, agent: Agent | None, turns: Turns | None) -> str | AgentSpec:
        """The agent to attach.

        Raises:
            VoiceError: BAD_ARGUMENT: turn settings with the id of an agent, which has its own.
        """
        found = AgentSpec() if agent is None else agent_of(agent)
        if turns is None:
            return found
        if isinstance(found, str):
            raise bad_argument(
                f"turn_detection: the agent {found!r} is registered with its own; give an inline agent to set it",
                "turn_detection",
            )
        return found.model_copy(update={"turn_detection": turns_of(turns, found.turn_detection)})

    def with_turns(self, turns: Turns) -> AgentSpec:
        """The same agent with some other turn settings.

        Raises:
            VoiceError: BAD_ARGUMENT: there is none, or it is a registered one.
        """
        if self.agent is None:
            raise bad_argument("attach an agent first")
        found = self.with_agent(self.agent, turns)
        assert isinstance(found, AgentSpec)
        return found

    @property
    def turn_detection(self) -> TurnSettings | CascadeTurns | None:
        """Its turn settings; None for a registered agent, which has its own, and for none."""
        return self.agent.turn_detection if isinstance(self.agent, AgentSpec) else None


class Inference:
    """Preview, may change: one call's agent, commit gate and sound.

    ::

        with Inference(v, call.sid) as inference:
            inference.attach({"modelCodec": "pcm16"}, turn_detection={"silenceThresholdMs": 300})
            inference.on("turn_committed", print)
            inference.configure({"bargeConfirmMs": 0})

    Leaving the block (or :meth:`close`) closes the tap; the agent stays.

    Args:
        voice: the client.
        call_sid: the call.

    Raises:
        VoiceError: BAD_ARGUMENT.
    """

    @checked
    def __init__(self, voice: Voice, call_sid: str) -> None:
        self._voice = voice
        self._leg = Leg(call_sid)
        self._call: Call | None = None
        self._bridge: AudioBridge | None = None

    @property
    def call_sid(self) -> str:
        """The call."""
        return self._leg.call_sid

    @property
    def agent(self) -> str | AgentSpec | None:
        """The agent that was attached here: its id, or what it is with defaults filled in."""
        return self._leg.agent

    @property
    def turn_detection(self) -> TurnSettings | CascadeTurns | None:
        """Its turn settings; None for a registered agent, which has its own."""
        return self._leg.turn_detection

    @checked
    def attach(self, agent: Agent | None = None, *, turn_detection: Turns | None = None) -> None:
        """Put an agent on the call, or swap it; None is the app's own model with the defaults.

        Raises:
            VoiceError: as of :meth:`voxtra.voice.Agents.attach`; BAD_ARGUMENT for turn settings with an id.
        """
        found = self._leg.with_agent(agent, turn_detection)
        self._voice.agents.attach(self.call_sid, found)
        self._leg.agent = found

    @checked
    def configure(self, turn_detection: Turns) -> None:
        """Change turn settings of the agent that is on; what is left out stays.

        Raises:
            VoiceError: BAD_ARGUMENT: no agent was attached here, or a registered one.
        """
        found = self._leg.with_turns(turn_detection)
        self._voice.agents.attach(self.call_sid, found)
        self._leg.agent = found

    def detach(self) -> None:
        """Take the agent off; the call goes on."""
        self._voice.agents.detach(self.call_sid)
        self._leg.agent = None

    def tap(self, on_uplink: OnFrame | None = None, **options: Any) -> AudioBridge:
        """Hear the caller, and be able to speak beside the agent; a tap opened before is closed.

        Args:
            on_uplink: gets frames.
            options: of :meth:`voxtra.voice.AudioBridges.attach`: ``codec``, ``sample_rate`` ...
        """
        bridge = self._voice.audio_bridge.attach(self.call_sid, on_uplink=on_uplink, **options)
        self.close()
        self._bridge = bridge
        return bridge

    def publish_downlink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Speak to the caller through the tap. Raises VoiceError when none is open."""
        if self._bridge is None:
            raise bad_argument("publish_downlink: open a tap first")
        self._bridge.publish_downlink(frame, timestamp_us=timestamp_us)

    def on(self, event: str, callback: Listener) -> Callable[[], None]:
        """Tell the callback of turns, barge-ins, backchannels or statuses; see :meth:`voxtra.voice.Call.on`."""
        if self._call is None:
            self._call = self._voice.calls.get(sid=self.call_sid)
        return self._call.on(event, callback)

    def close(self) -> None:
        """Close the tap, where one is open. The agent stays."""
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncInference:
    """:class:`Inference` for programs on an event loop."""

    @checked
    def __init__(self, voice: AsyncVoice, call_sid: str) -> None:
        self._voice = voice
        self._leg = Leg(call_sid)
        self._bridge: AsyncAudioBridge | None = None

    @property
    def call_sid(self) -> str:
        """The call."""
        return self._leg.call_sid

    @property
    def agent(self) -> str | AgentSpec | None:
        """The agent that was attached here: its id, or what it is with defaults filled in."""
        return self._leg.agent

    @property
    def turn_detection(self) -> TurnSettings | CascadeTurns | None:
        """Its turn settings; None for a registered agent, which has its own."""
        return self._leg.turn_detection

    @checked
    async def attach(self, agent: Agent | None = None, *, turn_detection: Turns | None = None) -> None:
        """Put an agent on the call, or swap it."""
        found = self._leg.with_agent(agent, turn_detection)
        await self._voice.agents.attach(self.call_sid, found)
        self._leg.agent = found

    @checked
    async def configure(self, turn_detection: Turns) -> None:
        """Change turn settings of the agent that is on; what is left out stays."""
        found = self._leg.with_turns(turn_detection)
        await self._voice.agents.attach(self.call_sid, found)
        self._leg.agent = found

    async def detach(self) -> None:
        """Take the agent off; the call goes on."""
        await self._voice.agents.detach(self.call_sid)
        self._leg.agent = None

    async def tap(self, on_uplink: OnFrame | None = None, **options: Any) -> AsyncAudioBridge:
        """Hear the caller, and be able to speak beside the agent; a tap opened before is closed."""
        bridge = await self._voice.audio_bridge.attach(self.call_sid, on_uplink=on_uplink, **options)
        await self.close()
        self._bridge = bridge
        return bridge

    def publish_downlink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Speak to the caller through the tap. Raises VoiceError when none is open."""
        if self._bridge is None:
            raise bad_argument("publish_downlink: open a tap first")
        self._bridge.publish_downlink(frame, timestamp_us=timestamp_us)

    async def on(self, event: str, callback: Listener) -> Callable[[], None]:
        """Tell the callback of turns, barge-ins, backchannels or statuses."""
        return (await self._voice.calls.get(sid=self.call_sid)).on(event, callback)

    async def close(self) -> None:
        """Close the tap, where one is open. The agent stays."""
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            await bridge.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
