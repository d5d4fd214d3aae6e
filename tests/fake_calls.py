"""An Asterisk in memory, as far as a call sees it: channels, bridges, playbacks, and the events of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from voxtra.ari import (
    Application,
    Bridge,
    Channel,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelHangupRequest,
    ChannelStateChange,
    Event,
    Playback,
    PlaybackFinished,
    Snapshot,
    StasisEnd,
    StasisStart,
)
from voxtra.ari.state import ConnectionState
from voxtra.errors import ARINotFoundError
from voxtra.media.clock import Clock
from voxtra.media.codecs import make_codec
from voxtra.media.line import Line, Offer, Transport
from voxtra.media.paced_line import PacedLine

APP = "test"


async def breathe(turns: int = 20) -> None:
    """Let the loop go round."""
    for _ in range(turns):
        await asyncio.sleep(0)


def missing(path: str) -> ARINotFoundError:
    return ARINotFoundError("POST", path, 404, "Channel not found")


class Operations:
    """``await ari.channels.anything(...)``: recorded, then answered by what the test put there."""

    def __init__(self, ari: FakeAri, resource: str) -> None:
        self._ari = ari
        self._resource = resource

    def __getattr__(self, operation: str) -> Any:
        name = f"{self._resource}.{operation}"

        async def call(**arguments: Any) -> Any:
            return await self._ari.carry_out(name, arguments)

        return call


class FakeAri:
    """The client and the Asterisk behind it.

    Attributes:
        asked: (operation, arguments) of every request, in order.
        answers: operation → what it gives: a value, an exception, or a function of the arguments.
        gates: operation → an event that has to be set before the request is answered.
        channels_there, bridges_there: what exists.
    """

    def __init__(self, app: str = APP) -> None:
        self.app = app
        self.url = "http://fake/ari"
        self.ready = True
        self.has_http = True
        self.deaf = False
        """The connection is down, and events are lost."""
        self.last_error: Exception | None = None
        self.attempts = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, Any] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.channels_there: dict[str, Channel] = {}
        self.bridges_there: dict[str, Bridge] = {}
        self._listeners: dict[str, list[Callable[[Any], None]]] = {"event": [], "resync": [], "state": []}
        for resource in (
            "applications",
            "asterisk",
            "bridges",
            "channels",
            "events",
            "playbacks",
            "recordings",
        ):
            setattr(self, resource, Operations(self, resource))

    def _on(self, kind: str, callback: Callable[[Any], None]) -> Callable[[], None]:
        self._listeners[kind].append(callback)
        return lambda: self._listeners[kind].remove(callback)

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        return self._on("event", callback)

    def on_resync(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        return self._on("resync", callback)

    def on_state(self, callback: Callable[[ConnectionState], None]) -> Callable[[], None]:
        return self._on("state", callback)

    async def connect(self) -> None:
        await self.carry_out("connect", {})
        self.resync()

    async def leave(self) -> None:
        await self.carry_out("leave", {})

    def _channels_list(self) -> list[Channel]:
        return list(self.channels_there.values())

    async def close(self) -> None:
        self.ready = False
        await self.carry_out("close", {})

    async def wait_ready(self, timeout: float | None = None) -> None:
        await self.carry_out("wait_ready", {"timeout": timeout})

    def tell(self, event: Event) -> None:
        """Something happened on Asterisk."""
        if self.deaf:
            return
        for callback in list(self._listeners["event"]):
            callback(event)

    def resync(self) -> None:
        """The connection is back."""
        snapshot = Snapshot(
            Application(name=self.app),
            tuple(self.channels_there.values()),
            tuple(self.bridges_there.values()),
        )
        for callback in list(self._listeners["resync"]):
            callback(snapshot)

    def names(self) -> list[str]:
        """The operations asked for, in order."""
        return [name for name, _ in self.asked]

    # ---- what Asterisk does

    async def carry_out(self, name: str, arguments: dict[str, Any]) -> Any:
        self.asked.append((name, arguments))
        if name in self.gates:
            await self.gates[name].wait()
        answer = self.answers.get(name)
        if callable(answer):
            answer = answer(**arguments)
        if isinstance(answer, BaseException):
            raise answer
        if answer is not None:
            return answer
        known = getattr(self, "_" + name.replace(".", "_"), None)
        await asyncio.sleep(0)
        return known(**arguments) if known is not None else None

    def _there(self, channel_id: str, path: str) -> Channel:
        if channel_id not in self.channels_there:
            raise missing(f"/channels/{channel_id}/{path}")
        return self.channels_there[channel_id]

    def _channels_answer(self, channel_id: str, request_timeout_s: float | None = None) -> None:
        channel = self._there(channel_id, "answer")
        channel.state = "Up"
        self.tell(ChannelStateChange(channel=channel))

    def _channels_hangup(self, channel_id: str, reason: str = "normal") -> None:
        self._there(channel_id, "")
        self.gone(channel_id)

    def _channels_continue_in_dialplan(self, channel_id: str, **_: Any) -> None:
        self.tell(StasisEnd(channel=self._there(channel_id, "continue")))
        del self.channels_there[channel_id]

    def _channels_external_media(self, app: str, channel_id: str, **_: Any) -> Channel:
        return self.arrive(channel_id, name=f"WebSocket/{channel_id}")

    def _bridges_create_with_id(self, bridge_id: str, name: str, **_: Any) -> Bridge:
        self.bridges_there[bridge_id] = bridge = Bridge(id=bridge_id, name=name)
        return bridge

    def _bridges_destroy(self, bridge_id: str) -> None:
        if self.bridges_there.pop(bridge_id, None) is None:
            raise missing(f"/bridges/{bridge_id}")

    def _bridges_add_channel(self, bridge_id: str, channel: list[str]) -> None:
        for each in channel:
            self._there(each, "addChannel")

    def _channels_play_with_id(self, channel_id: str, playback_id: str, **_: Any) -> Playback:
        self._there(channel_id, "play")
        return Playback(id=playback_id, state="queued", target_uri=f"channel:{channel_id}")

    def _playbacks_stop(self, playback_id: str) -> None:
        self.played(playback_id)

    # ---- what callers and prompts do

    def arrive(self, channel_id: str, *, name: str = "", state: str = "Ring", args: str = "") -> Channel:
        """A channel enters the application."""
        channel = Channel(
            id=channel_id,
            name=name or f"PJSIP/{channel_id}",
            state=state,
            dialplan={"app_name": "Stasis", "app_data": self.app, "exten": "100"},  # type: ignore[arg-type]
            caller={"number": "4711"},  # type: ignore[arg-type]
        )
        self.channels_there[channel_id] = channel
        self.tell(StasisStart(application=self.app, args=args.split(), channel=channel))
        return channel

    def hang_up(self, channel_id: str, cause: int = 16) -> None:
        """The far end hangs up."""
        channel = self.channels_there[channel_id]
        self.tell(ChannelHangupRequest(channel=channel, cause=cause))
        self.gone(channel_id, cause)

    def gone(self, channel_id: str, cause: int = 16) -> None:
        channel = self.channels_there.pop(channel_id)
        self.tell(StasisEnd(channel=channel))
        self.tell(ChannelDestroyed(channel=channel, cause=cause, cause_txt="Normal Clearing"))

    def press(self, channel_id: str, digits: str) -> None:
        for digit in digits:
            self.tell(
                ChannelDtmfReceived(channel=self.channels_there[channel_id], digit=digit, duration_ms=100)
            )

    def played(self, playback_id: str, state: str = "done") -> None:
        """A prompt has come to its end."""
        self.tell(PlaybackFinished(playback=Playback(id=playback_id, state=state)))

    def asked_for(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.asked if name == operation]


class FakeLine(PacedLine):
    """A line whose time is driven by hand: ``tick`` plays 20 ms into ``wire``; ``hear`` is the caller."""

    transport = "fake"

    def __init__(self, codec: str = "ulaw") -> None:
        super().__init__(make_codec(codec), Clock(), max_queue_ms=600_000)
        self.wire: list[bytes] = []

    def _can_send(self) -> bool:
        return not self._closed.done()

    def _send_frame(self, data: bytes) -> None:
        self.wire.append(bytes(data))

    async def close(self) -> None:
        self._finish("closed here")

    def lose(self) -> None:
        """The socket breaks."""
        self._finish("lost")

    def tick(self, frames: int = 1) -> None:
        for _ in range(frames):
            self._tick()

    def hear(self, frames: int = 1, level: int = 0) -> None:
        """The caller's sound, in the wire's codec."""
        for _ in range(frames):
            self._receive(bytes([level]) * self._frame_bytes)


class FakeOffer(Offer):
    def __init__(self, transport: FakeTransport) -> None:
        self.params: Mapping[str, str] = {"external_host": "INCOMING", "format": "ulaw"}
        self.cancelled = False
        self._transport = transport

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        await asyncio.sleep(0)
        if self._transport.error is not None:
            raise self._transport.error
        line = FakeLine()
        self._transport.lines.append(line)
        return line

    async def cancel(self) -> None:
        self.cancelled = True


class FakeTransport(Transport):
    """Makes fake lines, or fails with ``error``."""

    name = "fake"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.lines: list[FakeLine] = []
        self.offers: list[FakeOffer] = []
        self.log: list[str] = []

    async def start(self) -> None:
        self.log.append("start")

    def offer(self) -> Offer:
        self.offers.append(FakeOffer(self))
        return self.offers[-1]

    async def close(self) -> None:
        self.log.append("close")
        for line in self.lines:
            await line.close()
