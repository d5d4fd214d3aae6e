"""The client for programs on an event loop: the same names as :class:`~voxtra.voice.Voice`, to be awaited."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable
from typing import Self

from voxtra.voice import snapshot
from voxtra.voice.arguments import Agent, checked
from voxtra.voice.bridging import Attaching, Hearer, OnFrame, check_callback, check_role
from voxtra.voice.delivery import EVENTS, FRAMES, TaskDelivery
from voxtra.voice.dialer import RELAY_HOST, check_relay_host
from voxtra.voice.events import Follower, Listener, check_listener, event_name
from voxtra.voice.http import TIMEOUT_S, Http
from voxtra.voice.link import Transport
from voxtra.voice.tap import Tap
from voxtra.wire import AudioFormat


class AsyncVoice:
    """Calls of one organisation, their sound and their agents, through the engine at ``base_url``.

    Use it as ``async with AsyncVoice(...) as v``, or await :meth:`close`. Of one event loop.

    Args:
        base_url: the engine's address, http or https; a trailing slash is stripped.
        api_key: a key made by ``voxtra keys create``.
        org_id: the organisation.
        relay_host: ``host`` or ``host:port`` of the relay, where it isn't where the engine says it is;
            the default is the documents', and means where the engine says.
        timeout_s: of one operation, tries included.

    Raises:
        VoiceError: one of them is empty, or can't be. Only VoiceError leaves the client.
    """

    @checked
    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        org_id: str,
        relay_host: str = RELAY_HOST,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        check_relay_host(relay_host)
        self._http = Http(base_url, api_key, org_id, timeout_s)
        self.relay_host = relay_host
        self.calls = AsyncCalls(self._http)
        self.audio_bridge = AsyncAudioBridges(self._http, relay_host)
        self.agents = AsyncAgents(self._http)

    @property
    def base_url(self) -> str:
        """The engine's address, with no trailing slash."""
        return self._http.base_url

    @property
    def org_id(self) -> str:
        """The organisation."""
        return self._http.org_id

    async def close(self) -> None:
        """Nothing can be asked any more. Close bridges first: they need the engine to connect again."""
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncCalls:
    """Places calls, and looks them up. :attr:`AsyncVoice.calls`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @checked
    async def originate(
        self,
        *,
        to: str,
        from_: str,
        trunk_id: str,
        agent: Agent | None = None,
        ring_timeout_sec: int = 30,
        idempotency_key: str | None = None,
    ) -> AsyncCall:
        """Place a call; see :meth:`voxtra.voice.Calls.originate`."""
        row = await snapshot.originate(
            self._http, idempotency_key or str(uuid.uuid4()), agent,
            to=to, from_=from_, trunk_id=trunk_id, ring_timeout_sec=ring_timeout_sec,
        )  # fmt: skip
        return AsyncCall(self._http, row)

    @checked
    async def get(self, *, sid: str) -> AsyncCall:
        """The call as it is now; see :meth:`voxtra.voice.Calls.get`."""
        return AsyncCall(self._http, await snapshot.get(self._http, sid))


class AsyncCall(snapshot.Snapshot):
    """One call, as it was when it was asked about."""

    def __init__(self, http: Http, row: object) -> None:
        self._http = http
        self._know(row)
        self._follower = Follower(http, self.sid, lambda: TaskDelivery(f"events of {self.sid}", EVENTS))

    async def refresh(self) -> Self:
        """Ask again; this call then has its status, agent ... of now."""
        self._know(await snapshot.get(self._http, self.sid))
        return self

    @checked
    async def transfer(self, to: str | None = None, *, agent: Agent | None = None) -> None:
        """Send the call to a number (E.164) or to another agent: exactly one. The sid stays."""
        await snapshot.transfer(self._http, self.sid, to, agent)

    async def hangup(self) -> None:
        """End the call and its sound. A call that has ended is as good."""
        await snapshot.hangup(self._http, self.sid)

    def on_status(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Tell the callback (a function or coroutine function) each status from the first to the last.

        Returns:
            a function that ends it.
        """
        check_listener(callback)
        return self.on("status", lambda event: callback(str(event.data.get("status"))))

    @checked
    def on(self, event: str, callback: Listener) -> Callable[[], None]:
        """Tell the callback each :class:`~voxtra.wire.CallEvent` of that name, from the call's start to its end.

        Returns:
            a function that ends it.

        Raises:
            VoiceError: there is no such event.
        """
        name = event_name(event)
        check_listener(callback)
        number = self._follower.add(name, callback)
        return lambda: self._follower.remove(number)


class AsyncAgents:
    """Puts agents on live calls. :attr:`AsyncVoice.agents`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @checked
    async def attach(self, call_sid: str, agent: Agent) -> None:
        """Put an agent on a call, or swap the one there; see :meth:`voxtra.voice.Agents.attach`."""
        await snapshot.attach_agent(self._http, call_sid, agent)

    @checked
    async def detach(self, call_sid: str) -> None:
        """Take the agent off; the call goes on."""
        await snapshot.detach_agent(self._http, call_sid)


class AsyncAudioBridges:
    """Opens audio bridges. :attr:`AsyncVoice.audio_bridge`."""

    def __init__(self, http: Http, relay_host: str) -> None:
        self._http = http
        self._relay_host = relay_host

    @checked
    async def attach(
        self,
        call_sid: str,
        *,
        on_uplink: OnFrame | None = None,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
        transport: Transport = "auto",
    ) -> AsyncAudioBridge:
        """Hear the caller and speak to them; see :meth:`voxtra.voice.AudioBridges.attach`.

        ``on_uplink`` may be a coroutine function.
        """
        attaching = Attaching(
            self._http, self._relay_host, "server", call_sid, on_uplink, codec, sample_rate, channels, frame_ms,
            transport,
        )  # fmt: skip
        return await AsyncAudioBridge._open(attaching)

    @checked
    async def attach_caller(
        self,
        call_sid: str,
        *,
        on_downlink: OnFrame | None = None,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
        transport: Transport = "auto",
    ) -> AsyncAudioBridge:
        """Take part in the call as one who calls; see :meth:`voxtra.voice.AudioBridges.attach_caller`."""
        attaching = Attaching(
            self._http, self._relay_host, "caller", call_sid, on_downlink, codec, sample_rate, channels, frame_ms,
            transport,
        )  # fmt: skip
        return await AsyncAudioBridge._open(attaching)


class AsyncAudioBridge:
    """The sound of one call, both ways. Dropping the last reference closes it at once.

    Made by ``audio_bridge.attach`` and ``attach_caller``.
    """

    def __init__(self, attaching: Attaching, tap: Tap, hearer: Hearer) -> None:
        self._attaching = attaching
        self._tap = tap
        self._hearer = hearer
        self._finalizer = weakref.finalize(self, tap.abort)
        self._finalizer.atexit = False  # the loop is gone by then

    @classmethod
    async def _open(cls, attaching: Attaching) -> Self:
        hearer = Hearer(attaching.callback, TaskDelivery(f"frames of {attaching.request.sid}", FRAMES))
        return cls(attaching, await attaching.open(hearer), hearer)

    @property
    def call_sid(self) -> str:
        """The call."""
        return self._attaching.request.sid

    @property
    def format(self) -> AudioFormat:
        """How frames are coded, both ways."""
        return self._tap.format

    @property
    def closed(self) -> bool:
        """Whether it is over: closed, or the call has ended."""
        return self._tap.over or self._tap.closed

    @property
    def dropped(self) -> int:
        """Frames lost here: published faster than they could be sent, or heard faster than the callback ran."""
        return self._tap.dropped + self._hearer.delivery.dropped

    @property
    def reconnected(self) -> int:
        """How often the connection broke and was made again."""
        return self._tap.reconnected

    def publish_downlink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Send sound to the caller; see :meth:`voxtra.voice.AudioBridge.publish_downlink`. It never waits."""
        check_role(self._attaching.role, "server", "publish_downlink")
        self._tap.publish(frame, timestamp_us)

    def publish_uplink(self, frame: bytes, *, timestamp_us: int | None = None) -> None:
        """Say something in the call, of a bridge made by ``attach_caller``. It never waits."""
        check_role(self._attaching.role, "caller", "publish_uplink")
        self._tap.publish(frame, timestamp_us)

    def on_uplink(self, callback: OnFrame | None) -> None:
        """Hear the caller with another callback from now on; None hears nothing."""
        check_role(self._attaching.role, "server", "on_uplink")
        check_callback(callback, "on_uplink")
        self._hearer.callback = callback

    def on_downlink(self, callback: OnFrame | None) -> None:
        """The same of a bridge made by ``attach_caller``."""
        check_role(self._attaching.role, "caller", "on_downlink")
        check_callback(callback, "on_downlink")
        self._hearer.callback = callback

    async def close(self) -> None:
        """End both tracks; what was published is sent first. The call and its agent go on."""
        self._finalizer.detach()
        await self._tap.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
