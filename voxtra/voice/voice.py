"""The client as documented: plain functions that return when it is done, callbacks on background threads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Self

from voxtra.voice import snapshot
from voxtra.voice.arguments import Agent, checked
from voxtra.voice.bridge import AudioBridge
from voxtra.voice.bridging import Attaching, OnFrame
from voxtra.voice.delivery import EVENTS, ThreadDelivery
from voxtra.voice.dialer import RELAY_HOST, check_relay_host
from voxtra.voice.events import Follower, Listener, check_listener, event_name
from voxtra.voice.http import TIMEOUT_S, Http
from voxtra.voice.link import Transport
from voxtra.voice.runner import Runner


class Voice:
    """Calls of one organisation, their sound and their agents, through the engine at ``base_url``.

    One background thread does the network's work. It starts when first needed and ends with :meth:`close` (also
    ``with Voice(...) as v``), or when the Voice and all its calls and bridges have been dropped, or with the
    program. Any thread may use it. In a program with an event loop use :class:`~voxtra.voice.AsyncVoice`.

    Args:
        base_url: the engine's address, http or https; a trailing slash is stripped.
        api_key: a key made by ``voxtra keys create``, with ``voice:*`` scopes.
        org_id: the organisation.
        relay_host: ``host`` or ``host:port`` of the relay, where it isn't where the engine says it is;
            the default is the documents', and means where the engine says.
        timeout_s: of one operation, tries included.

    Attributes:
        calls: places calls, and looks them up.
        audio_bridge: opens audio bridges.
        agents: puts agents on live calls.

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
        self._runner = Runner(self._http.close)
        self.relay_host = relay_host
        self.calls = Calls(self._http, self._runner)
        self.audio_bridge = AudioBridges(self._http, self._runner, relay_host)
        self.agents = Agents(self._http, self._runner)

    @property
    def base_url(self) -> str:
        """The engine's address, with no trailing slash."""
        return self._http.base_url

    @property
    def org_id(self) -> str:
        """The organisation."""
        return self._http.org_id

    def close(self) -> None:
        """End the background thread, and with it every bridge and stream of events. Calls go on."""
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Calls:
    """Places calls, and looks them up. :attr:`Voice.calls`."""

    def __init__(self, http: Http, runner: Runner) -> None:
        self._http = http
        self._runner = runner

    @checked
    def originate(
        self,
        *,
        to: str,
        from_: str,
        trunk_id: str,
        agent: Agent | None = None,
        ring_timeout_sec: int = 30,
        idempotency_key: str | None = None,
    ) -> Call:
        """Place a call; returns once it is ``dialing``.

        Args:
            to: number called, E.164.
            from_: caller id, E.164.
            trunk_id: SIP trunk.
            agent: is put on the call when it is answered: a registered agent's id, a dict or an AgentSpec.
            ring_timeout_sec: s until it counts as ``no_answer``; the engine clamps it to 5..120.
            idempotency_key: two requests with one key make one call. Made here when not given, so that a
                request that is sent again after a broken connection never calls twice.

        Raises:
            VoiceError: BAD_ARGUMENT, or what the engine said: FORBIDDEN (a number or trunk that is not allowed),
                NOT_FOUND (no such trunk or agent), TOO_MANY_REQUESTS ...
        """
        row = self._runner.run(
            snapshot.originate(
                self._http, idempotency_key or str(uuid.uuid4()), agent,
                to=to, from_=from_, trunk_id=trunk_id, ring_timeout_sec=ring_timeout_sec,
            )
        )  # fmt: skip
        return Call(self._http, self._runner, row)

    @checked
    def get(self, *, sid: str) -> Call:
        """The call as it is now; calls can be read for a day after their end.

        Raises:
            VoiceError: NOT_FOUND: this organisation has no such call.
        """
        return Call(self._http, self._runner, self._runner.run(snapshot.get(self._http, sid)))


class Call(snapshot.Snapshot):
    """One call, as it was when it was asked about."""

    def __init__(self, http: Http, runner: Runner, row: object) -> None:
        self._http = http
        self._runner = runner
        self._know(row)
        name = f"events of {self.sid}"
        self._follower = Follower(http, self.sid, lambda: ThreadDelivery(name, EVENTS))

    def refresh(self) -> Self:
        """Ask again; this call then has its status, agent ... of now.

        Raises:
            VoiceError: it could not be had.
        """
        self._know(self._runner.run(snapshot.get(self._http, self.sid)))
        return self

    @checked
    def transfer(self, to: str | None = None, *, agent: Agent | None = None) -> None:
        """Send the call to a number (E.164; also as ``transfer("+15557654321")``) or to another agent: exactly one.

        The sid goes on addressing the call either way.

        Raises:
            VoiceError: BAD_ARGUMENT for both or neither; else what the engine said.
        """
        self._runner.run(snapshot.transfer(self._http, self.sid, to, agent))

    def hangup(self) -> None:
        """End the call and its sound; close its bridges first. A call that has ended is as good.

        Raises:
            VoiceError: the engine was not reached, or refused.
        """
        self._runner.run(snapshot.hangup(self._http, self.sid))

    def on_status(self, callback: Callable[[str], object]) -> Callable[[], None]:
        """Tell the callback each status of the call, from the first to the last, on a background thread.

        Returns:
            a function that ends it.
        """
        check_listener(callback)
        return self.on("status", lambda event: callback(str(event.data.get("status"))))

    @checked
    def on(self, event: str, callback: Listener) -> Callable[[], None]:
        """Tell the callback each event of that name, from the call's start to its end, on a background thread.

        Args:
            event: ``status``, ``turn_committed``, ``barge_in_confirmed`` or ``backchannel_dropped``.
            callback: gets a :class:`~voxtra.wire.CallEvent`. All callbacks of one Call object run one after
                another, in the order of events. A broken stream is taken up where it broke off.

        Returns:
            a function that ends it.

        Raises:
            VoiceError: there is no such event.
        """
        name = event_name(event)
        check_listener(callback)
        number = self._runner.run(self._add(name, callback))
        runner, follower = self._runner, self._follower
        return lambda: runner.soon(follower.remove, number)

    async def _add(self, name: str, callback: Listener) -> int:
        return self._follower.add(name, callback)


class Agents:
    """Puts agents on live calls. :attr:`Voice.agents`."""

    def __init__(self, http: Http, runner: Runner) -> None:
        self._http = http
        self._runner = runner

    @checked
    def attach(self, call_sid: str, agent: Agent) -> None:
        """Put an agent on a call, or swap the one that is there. The engine carries its sound: no bridge is needed.

        Args:
            call_sid: a live call's, also one that rings yet.
            agent: a registered agent's id, or a dict or :class:`~voxtra.wire.AgentSpec` that describes one; keys
                in either spelling, what is left out has its default.

        Raises:
            VoiceError: BAD_ARGUMENT: no agent; NOT_FOUND: no such call or agent; GONE: the call has ended.
        """
        self._runner.run(snapshot.attach_agent(self._http, call_sid, agent))

    @checked
    def detach(self, call_sid: str) -> None:
        """Take the agent off a call, which goes on without.

        Raises:
            VoiceError: what the engine said.
        """
        self._runner.run(snapshot.detach_agent(self._http, call_sid))


class AudioBridges:
    """Opens audio bridges. :attr:`Voice.audio_bridge`."""

    def __init__(self, http: Http, runner: Runner, relay_host: str) -> None:
        self._http = http
        self._runner = runner
        self._relay_host = relay_host

    @checked
    def attach(
        self,
        call_sid: str,
        *,
        on_uplink: OnFrame | None = None,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
        transport: Transport = "auto",
    ) -> AudioBridge:
        """Hear the caller (uplink) and speak to them (downlink).

        Hold the bridge for the call's lifetime: dropping the last reference closes both tracks at once.

        Args:
            call_sid: the call.
            on_uplink: gets one codec frame and its time in µs, on a background thread. None hears nothing.
            codec: ``opus``, ``pcm16`` (little-endian), ``g711_ulaw`` or ``g711_alaw``, whatever the phone has.
            sample_rate: 8000, 16000, 24000 or 48000 Hz; a law of G.711 has 8000.
            channels: 1.
            frame_ms: 10, 20, 40 or 60.
            transport: ``auto``, ``quic`` or ``websocket``.

        Raises:
            VoiceError: BAD_ARGUMENT, NOT_FOUND, GONE (the call has ended), NETWORK (no relay is reached).
        """
        attaching = Attaching(
            self._http, self._relay_host, "server", call_sid, on_uplink, codec, sample_rate, channels, frame_ms,
            transport,
        )  # fmt: skip
        return AudioBridge._open(self._runner, attaching)

    @checked
    def attach_caller(
        self,
        call_sid: str,
        *,
        on_downlink: OnFrame | None = None,
        codec: str = "opus",
        sample_rate: int = 48000,
        channels: int = 1,
        frame_ms: int = 20,
        transport: Transport = "auto",
    ) -> AudioBridge:
        """Take part in the call as one who calls: hear what a caller hears (downlink), say what a caller says (uplink).

        Arguments and errors are those of :meth:`attach`.
        """
        attaching = Attaching(
            self._http, self._relay_host, "caller", call_sid, on_downlink, codec, sample_rate, channels, frame_ms,
            transport,
        )  # fmt: skip
        return AudioBridge._open(self._runner, attaching)
