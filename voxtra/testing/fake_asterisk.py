"""An Asterisk of channels, bridges and playbacks in memory: what the fake ARI acts on.

It follows what was seen on Asterisk 22: the order of events, that a channel's end is told only to who
subscribed to it, that sound goes where a bridge lets it. It is no PBX: no dialplan, no codecs, no mixing (of
two who speak at once each 20 ms are heard one after the other).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from voxtra.ari import Event
from voxtra.ari.protocol import parse_message
from voxtra.testing.fake_errors import FakeCallError
from voxtra.testing.fake_line import FakeLine
from voxtra.testing.fake_playback import FakePlayback, Prompt

NOW = "2026-01-01T00:00:00.000+0000"
"""What every message is dated; who wants times has the clock."""
TALK_GAP_S = 1.0
"""Silence after which talk is told of anew."""
CAUSES = {
    0: "Unknown", 1: "Unallocated (unassigned) number", 16: "Normal Clearing", 17: "User busy",
    18: "No user responding", 19: "User alerting, no answer", 21: "Call Rejected",
    34: "Circuit/channel congestion", 58: "Bearer capability not available",
}  # fmt: skip
"""Asterisk's words for Q.850 causes."""


class Handset(Protocol):
    """Who is at the far end of a channel."""

    def hear(self, pcm: bytes) -> None:
        """20 ms of sound."""

    def prompted(self, prompt: Prompt) -> None:
        """Asterisk begins, or has ended, a prompt."""

    def answered_now(self) -> None:
        """The channel is up."""

    def keyed(self, digits: str) -> None:
        """The app sends keys."""

    def music(self, playing: bool) -> None:
        """Music on hold begins or ends."""

    def over(self, by: str, cause: int, reason: str) -> None:
        """The channel is gone; ``by`` is ``far end`` or ``app``."""


@dataclass(eq=False)
class FakeChannel:
    """A channel. ``handset`` is who is there, ``line`` the app's own sound; most have one of the two."""

    id: str
    name: str
    state: str = "Ring"
    number: str = ""
    caller_name: str = ""
    exten: str = ""
    context: str = "default"
    variables: dict[str, str] = field(default_factory=dict)
    handset: Handset | None = None
    line: FakeLine | None = None
    in_stasis: bool = False
    subscribed: bool = False
    muted: bool = False
    bridge: FakeBridge | None = None
    gone: bool = False
    spied: FakeChannel | None = None
    spy: str = "none"
    """``in``: its bridge hears the far end spied on, ``out``: what that hears, ``both``."""
    whisper: str = "none"
    """Of a channel that spies: ``out`` where what it is told goes to the far end spied on."""
    endpoint: FakeEndpoint | None = None
    """What a channel that the app made rings at."""
    caller_id: str = ""
    """What such a channel shows to the callee."""
    redirected: str = ""
    """Where the app sent the phone (REFER, 302)."""
    continued: bool = False
    """The app let it go on in the dialplan."""
    talked_at: float = float("-inf")


@dataclass(eq=False)
class FakeBridge:
    """A bridge and who is in it."""

    id: str
    type: str = "mixing"
    name: str = ""
    channels: list[FakeChannel] = field(default_factory=list)


@dataclass(frozen=True)
class FakeEndpoint:
    """What happens when the app dials an endpoint.

    Attributes:
        outcome: ``answers``, ``busy``, ``no_answer``, ``rejected``, ``failed``.
        rings: virtual seconds until then; ``no_answer`` rings until the caller gives up.
        script: the person there, once the call is answered; None = says nothing and stays.
    """

    outcome: str = "answers"
    rings: float = 2.0
    script: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise FakeCallError(f"FakeEndpoint({self.outcome!r}): one of {', '.join(OUTCOMES)}")

    @classmethod
    def of(cls, given: object) -> FakeEndpoint:
        """From itself, an outcome, or a script."""
        if isinstance(given, FakeEndpoint):
            return given
        if isinstance(given, str):
            return cls(given)
        if callable(given):
            return cls(script=given)
        raise FakeCallError(f"endpoint {given!r}: an outcome like 'busy', a script, or a FakeEndpoint")


@dataclass(frozen=True)
class Dialplan:
    """What becomes of a call that the app lets go on in the dialplan (a queue, AMD, anything).

    Attributes:
        after: virtual seconds until then.
        returns: it comes back into the application with these arguments, ``("queue", "TIMEOUT")``.
        connects: it is bridged there with the channel of this name.
        Neither: it is hung up.
    """

    after: float = 3.0
    returns: tuple[str, ...] = ()
    connects: str = ""


OUTCOMES = {"answers": 16, "busy": 17, "no_answer": 19, "rejected": 21, "failed": 34}
"""What may become of a call placed, and its Q.850 cause."""


class FakeAsterisk:
    """Channels and bridges, and the events that come of what is done to them.

    Args:
        app: name of the Stasis application.
        prompts: length of prompts in s, by name; None as a length: there is no such file.
        endpoints: what may be dialled.
        dialplan: what a context (``voxtra-queue``) or ``extension@context`` does with a call.

    Attributes:
        asked: every REST request, ``"POST /channels/fake-1/answer"``.
    """

    def __init__(
        self,
        app: str,
        *,
        prompts: Mapping[str, float | None] | None = None,
        endpoints: Mapping[str, object] | None = None,
        dialplan: Mapping[str, Dialplan] | None = None,
    ) -> None:
        self.app = app
        _check("prompts", prompts, (int, float, type(None)), "seconds, or None where there is no such file")
        _check("dialplan", dialplan, (Dialplan,), "a Dialplan")
        _check("endpoints", endpoints, (object,), "")
        self.dialplan = dict(dialplan or {})
        self.prompts = dict(prompts or {})
        self.endpoints = {name: FakeEndpoint.of(given) for name, given in (endpoints or {}).items()}
        self.channels: dict[str, FakeChannel] = {}
        self.bridges: dict[str, FakeBridge] = {}
        self.playbacks: dict[str, FakePlayback] = {}
        self.recordings: dict[str, Any] = {}
        self.asked: list[str] = []
        self.deliver: Callable[[Event], None] = lambda event: None
        self.open_line: Callable[[str, Callable[[bytes], None]], FakeLine] | None = None
        self.ring: Callable[[FakeChannel, FakeEndpoint, float], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)

    # ---- channels

    def endpoint(self, asked: str) -> FakeEndpoint | None:
        """What is dialled by ``PJSIP/alice@trunk``: known by that, or by its ``alice`` alone."""
        resource = asked.partition("/")[2].partition("@")[0]
        return self.endpoints.get(asked) or self.endpoints.get(resource)

    def add(self, channel: FakeChannel) -> FakeChannel:
        """A channel comes into being."""
        self.channels[channel.id] = channel
        return channel

    def new_name(self, kind: str) -> str:
        """``PJSIP/fake-00000001``."""
        return f"{kind}-{next(self._numbers):08x}"

    def enter_stasis(self, channel: FakeChannel, args: list[str] | None = None) -> None:
        """The channel reaches the application."""
        channel.in_stasis = True
        channel.continued = False
        self.emit("StasisStart", channel=self.describe(channel), args=args or [])

    def leave_stasis(self, channel: FakeChannel) -> None:
        """The channel leaves the application and lives on."""
        if channel.in_stasis:
            channel.in_stasis = False
            self.unbridge(channel)
            self.emit("StasisEnd", channel=self.describe(channel))

    def go_on(self, channel: FakeChannel, context: str, exten: str) -> None:
        """The channel leaves the application for the dialplan."""
        channel.context, channel.exten = context or channel.context, exten or channel.exten
        channel.continued = True
        self.leave_stasis(channel)
        plan = self.dialplan.get(f"{channel.exten}@{channel.context}") or self.dialplan.get(channel.context)
        if plan is not None:
            self._loop.call_later(plan.after, self._follow, channel, plan)

    def _follow(self, channel: FakeChannel, plan: Dialplan) -> None:
        if channel.gone or channel.in_stasis:
            return
        if plan.returns:
            self.enter_stasis(channel, list(plan.returns))
        elif plan.connects:
            about = {"channel": self.describe(channel), "variable": "BRIDGEPEER", "value": plan.connects}
            self.emit("ChannelVarset", **about)
        else:
            self.hang_up(channel, by="app")

    def set_state(self, channel: FakeChannel, state: str) -> None:
        """``Ring``, ``Ringing``, ``Up``."""
        if channel.state == state:
            return
        channel.state = state
        self.emit("ChannelStateChange", channel=self.describe(channel))
        if state == "Up" and channel.handset is not None:
            channel.handset.answered_now()

    def hang_up(self, channel: FakeChannel, *, by: str, cause: int = 16, reason: str = "") -> None:
        """The channel ends, ``by`` the ``far end`` or the ``app``."""
        if channel.gone:
            return
        channel.gone = True
        self.channels.pop(channel.id, None)
        told = channel.in_stasis or channel.subscribed
        if by == "far end" and told:
            self.emit("ChannelHangupRequest", channel=self.describe(channel), cause=cause)
        for playback in [p for p in self.playbacks.values() if channel in p.channels()]:
            playback.cut(channel)
        self.unbridge(channel)
        if channel.in_stasis:
            channel.in_stasis = False
            self.emit("StasisEnd", channel=self.describe(channel))
        if channel.subscribed:
            self.emit(
                "ChannelDestroyed",
                channel=self.describe(channel),
                cause=cause,
                cause_txt=CAUSES.get(cause, "Unknown"),
            )
        if channel.line is not None:
            channel.line.lose("its channel is gone")
        if channel.handset is not None:
            channel.handset.over(by, cause, reason)

    # ---- bridges and sound

    def bridge(self, bridge: FakeBridge, channel: FakeChannel) -> None:
        """The channel enters a bridge, and leaves the one it is in."""
        if channel.bridge is bridge:
            return
        self.unbridge(channel)
        channel.bridge = bridge
        bridge.channels.append(channel)
        about = {"bridge": self.describe_bridge(bridge), "channel": self.describe(channel)}
        self.emit("ChannelEnteredBridge", **about)

    def unbridge(self, channel: FakeChannel) -> None:
        """The channel leaves its bridge, if it is in one."""
        bridge, channel.bridge = channel.bridge, None
        if bridge is not None:
            bridge.channels.remove(channel)
            about = {"bridge": self.describe_bridge(bridge), "channel": self.describe(channel)}
            self.emit("ChannelLeftBridge", **about)

    def sound(self, channel: FakeChannel, pcm: bytes) -> None:
        """20 ms from a channel's far end (or the app's line) go to all others in its bridge."""
        self._detect_talk(channel, pcm)
        if not channel.muted:
            for other in _company_of(channel):
                _receive(other, pcm)
                self._overhear(other, "out", pcm)
        self._overhear(channel, "in", pcm)

    def _overhear(self, channel: FakeChannel, way: str, pcm: bytes) -> None:
        """What a channel's far end says (``in``) or hears (``out``), for those who spy on it."""
        for spy in self.channels.values():
            if spy.spied is channel and spy.spy in (way, "both"):
                for listener in _company_of(spy):
                    _receive(listener, pcm)

    def _detect_talk(self, channel: FakeChannel, pcm: bytes) -> None:
        """TALK_DETECT, as far as the begin of talk."""
        if "TALK_DETECT(set)" not in channel.variables or not any(pcm):
            return
        now, before = self._loop.time(), channel.talked_at
        channel.talked_at = now
        if now - before > TALK_GAP_S:
            self.emit("ChannelTalkingStarted", channel=self.describe(channel))

    # ---- events

    def emit(self, kind: str, **fields: Any) -> None:
        """Send an event to the app, after what is sent already."""
        raw = {"type": kind, "application": self.app, "timestamp": NOW, **fields}
        event = parse_message(json.dumps(raw))
        if not isinstance(event, Event):
            raise FakeCallError(f"the fake Asterisk made an event that is none: {raw}")
        self._loop.call_soon(lambda: self.deliver(event))

    def describe(self, channel: FakeChannel) -> dict[str, Any]:
        """A channel as ARI shows it."""
        shown: dict[str, Any] = {
            "id": channel.id,
            "name": channel.name,
            "state": channel.state,
            "caller": {"name": channel.caller_name, "number": channel.number},
            "connected": {"name": "", "number": ""},
            "accountcode": "",
            "dialplan": {
                "context": channel.context,
                "exten": channel.exten,
                "priority": 1,
                "app_name": "Stasis" if channel.in_stasis else "",
                "app_data": self.app if channel.in_stasis else "",
            },
            "creationtime": NOW,
            "language": "en",
        }
        if channel.line is not None:
            shown["channelvars"] = {}
        return shown

    def describe_bridge(self, bridge: FakeBridge) -> dict[str, Any]:
        """A bridge as ARI shows it."""
        return {
            "id": bridge.id,
            "technology": "simple_bridge",
            "bridge_type": "holding" if "holding" in bridge.type else "mixing",
            "bridge_class": "stasis",
            "creator": "Stasis",
            "name": bridge.name,
            "channels": [channel.id for channel in bridge.channels],
            "creationtime": NOW,
        }


def _check(name: str, given: object, kinds: tuple[type, ...], wanted: str) -> None:
    if given is not None and not isinstance(given, Mapping):
        raise FakeCallError(f"{name}={given!r}: a dict is wanted")
    for key, value in (given or {}).items():
        if not isinstance(value, kinds):
            raise FakeCallError(f"{name}[{key!r}]={value!r}: {wanted}")


def _company_of(channel: FakeChannel) -> list[FakeChannel]:
    """The others in its bridge."""
    return [c for c in channel.bridge.channels if c is not channel] if channel.bridge is not None else []


def _receive(channel: FakeChannel, pcm: bytes) -> None:
    """Whoever is at the channel's other end hears it; of one that whispers, the far end it spies on."""
    if channel.line is not None:
        channel.line.receive(pcm)
    if channel.handset is not None:
        channel.handset.hear(pcm)
    if channel.whisper == "out" and channel.spied is not None and channel.spied.handset is not None:
        channel.spied.handset.hear(pcm)
