"""The ARI client: operations, events, and one connection that looks after itself."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Literal, Self

import aiohttp

from voxtra.ari.address import Address, parse_address
from voxtra.ari.backoff import Backoff
from voxtra.ari.connection import Connection, EventConnection, RestConnection
from voxtra.ari.events import Event
from voxtra.ari.fanout import EventStream, Fanout
from voxtra.ari.http import HttpCarrier, open_session
from voxtra.ari.listener import ARIListener
from voxtra.ari.operations import (
    ApplicationsOperations,
    AsteriskOperations,
    BridgesOperations,
    ChannelsOperations,
    DeviceStatesOperations,
    EndpointsOperations,
    EventsOperations,
    MailboxesOperations,
    PlaybacksOperations,
    RecordingsOperations,
    SoundsOperations,
)
from voxtra.ari.protocol import Request, Response, refusal
from voxtra.ari.resource import Sender
from voxtra.ari.state import ConnectionState, Snapshot
from voxtra.ari.websocket import MAX_REQUEST, EventSocket, open_events
from voxtra.errors import (
    ARIConnectionLostError,
    ARITimeoutError,
    ConfigurationError,
    NotConnectedError,
    TelephonyConnectionError,
    TelephonyError,
)

log = logging.getLogger("voxtra.ari")

_QUEUED = re.compile(
    r"/channels/[^/]+/(answer|variable|redirect|move)|/bridges/[^/]+/(addChannel|removeChannel)"
)
"""Requests that Asterisk carries out behind whatever its channel does at the moment, a prompt for instance,
and until then reads nothing more from the WebSocket they came by, for all calls (22.10). They go over HTTP."""
MAX_UNDER_WAY = 256
"""Requests at once; more wait for their turn within their own deadline."""


class Events(EventsOperations):
    """``ari.events(...)`` opens a stream of events; its methods are ARI's operations on events."""

    def __init__(self, sender: Sender, fanout: Fanout) -> None:
        super().__init__(sender)
        self._fanout = fanout

    def __call__(
        self,
        *,
        channel_id: str | Iterable[str] = (),
        bridge_id: str | Iterable[str] = (),
        playback_id: str | Iterable[str] = (),
        types: Iterable[str] = (),
        limit: int = 1000,
    ) -> EventStream:
        """Events as an async iterator, from ``async with`` on.

        Args:
            channel_id: events about any of these channels, or playbacks and recordings on them.
            bridge_id: ... or about any of these bridges.
            playback_id: ... or about any of these playbacks. None of the three given: all events.
            types: only these types, ``("StasisStart", "StasisEnd")``; all when empty.
            limit: events that may wait to be read; with more the stream ends in EventOverflowError.
        """
        about = {f"channel:{i}" for i in _each(channel_id)}
        about |= {f"bridge:{i}" for i in _each(bridge_id)}
        about |= {f"playback:{i}" for i in _each(playback_id)}
        return EventStream(self._fanout, frozenset(about), frozenset(_each(types)), limit)


class ARIClient:
    """Asterisk's REST interface.

    Args:
        url: ``"http://127.0.0.1:8088"``, also https, ws, wss, with or without ``/ari``.
        username: user of ari.conf.
        password: its password. It appears in no log, message or ``repr``.
        app: Stasis application to receive the events of; None for requests alone, over HTTP.
        subscribe_all: get the events of everything on this Asterisk, not only of the application.
        heartbeat_s: silence after which the connection counts as broken; pings are sent into it.
        reconnect_s: shortest and longest wait between tries, s; doubling, jittered.
        request_timeout_s: how long a request may take unless it says so itself, s.
        listener: Asterisk connects to us there: ``url``, ``username`` and ``password`` stay empty; see
            :meth:`accept`.
        transport: ``"auto"`` sends requests over the events WebSocket where Asterisk answers them there
            (from 20.14, 21.9, 22.4), and over HTTP elsewhere or where they could hold up others;
            ``"http"`` and ``"websocket"`` insist.

    Raises:
        ConfigurationError: an argument can't be; the message says which and what would do.
    """

    def __init__(
        self,
        url: str,
        username: str = "",
        password: str = "",
        app: str | None = None,
        *,
        subscribe_all: bool = False,
        heartbeat_s: float = 4.0,
        reconnect_s: tuple[float, float] = (0.25, 10.0),
        request_timeout_s: float = 10.0,
        transport: Literal["auto", "http", "websocket"] = "auto",
        listener: ARIListener | None = None,
    ) -> None:
        self._listener = listener
        self._given_address = parse_address(url) if listener is None else None
        if listener is not None:
            username, transport = username or "asterisk", "websocket"
        _check(username, app, heartbeat_s, reconnect_s, request_timeout_s, transport)
        self._username = username
        self._password = password
        self.app = app
        self._subscribe_all = subscribe_all
        self._heartbeat_s = heartbeat_s
        self._timeout_s = request_timeout_s
        self._transport = transport
        self._session: aiohttp.ClientSession | None = None
        self._http: HttpCarrier | None = None
        self._slots = asyncio.Semaphore(MAX_UNDER_WAY)
        self._fanout = Fanout()
        self.applications = ApplicationsOperations(self)
        self.asterisk = AsteriskOperations(self)
        self.bridges = BridgesOperations(self)
        self.channels = ChannelsOperations(self)
        self.device_states = DeviceStatesOperations(self)
        self.endpoints = EndpointsOperations(self)
        self.events = Events(self, self._fanout)
        self.mailboxes = MailboxesOperations(self)
        self.playbacks = PlaybacksOperations(self)
        self.recordings = RecordingsOperations(self)
        self.sounds = SoundsOperations(self)
        backoff = Backoff(*reconnect_s)
        self._connection: Connection = (
            EventConnection(app, self._open_socket, self._fetch_snapshot, self._fanout, backoff)
            if app is not None
            else RestConnection(self.asterisk.ping, backoff)
        )

    @classmethod
    def accept(cls, listener: ARIListener, app: str, *, request_timeout_s: float = 10.0) -> Self:
        """A client whose connection Asterisk opens: ``outbound_websocket`` in ari.conf, persistent.

        Requests go over that WebSocket, so what needs HTTP (the download of a recording, an event filter) is
        refused with ConfigurationError.

        Args:
            listener: where; opened by ``connect``, closed by ``close``.
            app: one of ``apps`` in ari.conf.
            request_timeout_s: as of the constructor.
        """
        return cls(
            "", app=app, request_timeout_s=request_timeout_s, listener=listener, reconnect_s=(0.05, 0.5)
        )

    @property
    def _address(self) -> Address:
        if self._given_address is not None:
            return self._given_address
        assert self._listener is not None
        return self._listener.address

    def __repr__(self) -> str:
        return f"<ARIClient {self._address.base} app={self.app!r} {self.state}>"

    @property
    def url(self) -> str:
        """The address of ARI, ``"http://127.0.0.1:8088/ari"``."""
        return self._address.base

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._connection.state

    @property
    def has_http(self) -> bool:
        """Whether files can be fetched: not where Asterisk connects to us."""
        return self._listener is None

    @property
    def ready(self) -> bool:
        """True while connected and reconciled."""
        return self.state is ConnectionState.READY

    @property
    def last_error(self) -> TelephonyError | None:
        """Why the connection is not ready, None when it is (or was never tried)."""
        return self._connection.last_error

    @property
    def attempts(self) -> int:
        """Tries that failed since the connection was last ready."""
        return self._connection.attempts

    @property
    def requests_over_websocket(self) -> bool:
        """True while requests go over the events WebSocket."""
        socket = self._connection.socket
        return self._transport != "http" and socket is not None and socket.answers.is_set()

    async def connect(self, *, wait: bool = True, timeout: float | None = None) -> None:
        """Connect, and stay connected until ``close``. Does nothing when connected.

        Args:
            wait: keep trying until Asterisk is there; False gives up after the first try.
            timeout: longest wait in s, None for ever.

        Raises:
            AuthenticationError: Asterisk refuses the user or password.
            TelephonyConnectionError: not ready in time, or the one try failed.
        """
        if self._listener is not None:
            await self._listener.start()
        elif self._session is None:
            self._session = open_session(self._username, self._password)
            self._http = HttpCarrier(self._session, self._address.base)
            if not self._address.private:
                log.warning("ARI at %s: the password crosses the network unencrypted; use https", self.url)
        ours = self._connection.start()
        ready = False
        try:
            await self._settled(wait, timeout)
            ready = True
        finally:
            # A connection that was under way before this call is not this call's to end.
            if ours and not ready:
                await self._release()

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the connection is ready (again).

        Raises:
            TelephonyConnectionError: not ready within ``timeout`` s, or it never will be.
        """
        await self._settled(True, timeout)

    async def _settled(self, wait: bool, timeout: float | None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._connection.settled(wait=wait)
        except TimeoutError:
            why = self.last_error or "no answer"
            raise TelephonyConnectionError(f"Asterisk not ready within {timeout:g} s: {why}") from None

    async def close(self) -> None:
        """Close the connection and end all streams. Idempotent; ``connect`` may follow."""
        await self._release()
        self._fanout.end()

    async def leave(self) -> None:
        """Close the events WebSocket alone: Asterisk knows the application no longer. Idempotent.

        Requests go on, over HTTP, until ``close``; those under way are carried out first. Where there is only the
        WebSocket it stays.
        """
        if self._listener is not None:
            return
        if self._connection.socket is not None:
            await self._connection.socket.finish()
        await self._connection.close()

    async def _release(self) -> None:
        if self._listener is not None:
            await self._listener.shut()
        await self._connection.close()
        session, self._session, self._http = self._session, None, None
        if session is not None:
            await session.close()
        if self._listener is not None:
            await self._listener.close()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``callback`` on the loop with every event, in order. Returns what takes it off again.

        It must not block. One that raises is logged; the other callbacks and streams go on.
        """
        return self._fanout.on_event(callback)

    def on_state(self, callback: Callable[[ConnectionState], None]) -> Callable[[], None]:
        """Call ``callback`` at every change of ``state``. Returns what takes it off again."""
        return self._connection.on_state.add(callback)

    def on_resync(self, callback: Callable[[Snapshot], None]) -> Callable[[], None]:
        """Call ``callback`` after every (re)connect, before ``ready`` and before any event from then on.

        Events between the loss and the snapshot are gone: compare what you hold with what is there.
        Returns what takes it off again.
        """
        return self._connection.on_resync.add(callback)

    async def send(self, request: Request, timeout_s: float | None = None) -> str | bytes:
        """Send a request and give the body of the response; the operations are made of this.

        A GET that was cut off is sent once more. Nothing else is: it may have been carried out.

        Raises:
            ARIError: refused (by kind: not found, conflict, invalid ...), too late, or cut off.
            AuthenticationError: Asterisk refuses the user or password.
            NotConnectedError: ``connect`` was not called.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        deadline = asyncio.get_running_loop().time() + limit_s
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            said = f"{MAX_UNDER_WAY} others were under way for {limit_s:g} s"
            raise ARITimeoutError(request.method, request.path, 0, said) from None
        log.debug("→ %s %s", request.method, request.path)
        try:
            response = await self._carry_safely(request, deadline)
        except Exception as error:
            log.debug("→ %s %s: %s", request.method, request.path, str(error))
            raise
        finally:
            self._slots.release()
        log.debug("→ %s %s: %d", request.method, request.path, response.status)
        if not 200 <= response.status < 300:
            raise refusal(request, response)
        return response.body

    async def _carry_safely(self, request: Request, deadline: float) -> Response:
        try:
            return await self._carry(request, deadline)
        except ARIConnectionLostError:
            if request.method != "GET":
                raise
        return await self._carry(request, deadline)

    async def _carry(self, request: Request, deadline: float) -> Response:
        """Over the WebSocket or HTTP, whichever is right for this request now."""
        if self._listener is not None:
            return await self._carry_there(request, deadline)
        if self._http is None:
            raise NotConnectedError(f"{request.method} {request.path}: the ARI client is not connected")
        left_s = max(0.001, deadline - asyncio.get_running_loop().time())
        socket = self._connection.socket
        filters = request.method == "PUT" and request.path.endswith("/eventFilter")
        queued = self._transport == "auto" and request.method == "POST" and _QUEUED.fullmatch(request.path)
        there = socket is not None and self.requests_over_websocket and socket.takes(request)
        if socket is None or filters or queued or not there:
            response = await self._http.request(request, left_s)
            if filters and socket is not None and self._transport != "http":
                # A filter can hide the responses to requests on the WebSocket too: find out anew.
                socket.answers.clear()
                await socket.probe()
            return response
        return await socket.request(request, left_s)

    async def _carry_there(self, request: Request, deadline: float) -> Response:
        """Over the WebSocket that Asterisk opened: there is no other way."""
        socket = self._connection.socket
        if socket is None:
            raise NotConnectedError(f"{request.method} {request.path}: Asterisk has not connected")
        if request.binary or len(request.body) > MAX_REQUEST:
            said = "needs HTTP, which there is not where Asterisk connects to us (asterisk.listen)"
            raise ConfigurationError(f"{request.method} {request.path} {said}")
        return await socket.request(request, max(0.001, deadline - asyncio.get_running_loop().time()))

    async def _open_socket(self) -> EventSocket:
        if self._listener is not None:
            return await self._listener.accept()
        if self._session is None or self.app is None:
            raise NotConnectedError("the ARI client is not connected")
        query = {"app": self.app} | ({"subscribeAll": "true"} if self._subscribe_all else {})
        url = f"{self._address.base}/events"
        socket = await open_events(self._session, url, query, timeout_s=self._timeout_s)
        return EventSocket(socket, self._heartbeat_s)

    async def _fetch_snapshot(self, socket: EventSocket) -> Snapshot:
        if self._transport != "http":
            await socket.probe()
        if self._transport == "websocket":
            await self._insist(socket)
        return Snapshot(
            await self.applications.get(application_name=self.app or ""),
            tuple(await self.channels.list()),
            tuple(await self.bridges.list()),
        )

    async def _insist(self, socket: EventSocket) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await socket.answers.wait()
        except TimeoutError:
            raise TelephonyConnectionError(
                "this Asterisk answers no requests on its WebSocket: use transport='auto'"
            ) from None


def _each(values: str | Iterable[str]) -> Iterable[str]:
    return (values,) if isinstance(values, str) else values


def _check(
    username: str,
    app: str | None,
    heartbeat_s: float,
    reconnect_s: tuple[float, float],
    request_timeout_s: float,
    transport: str,
) -> None:
    """Refuse arguments that can't be, by name."""
    wrong = ""
    if not username or ":" in username:
        wrong = f"username={username!r}: it should be the name of a user in ari.conf"
    elif app is not None and (not app or "," in app):
        wrong = f"app={app!r}: it should be the name of one Stasis application"
    elif heartbeat_s <= 0 or request_timeout_s <= 0:
        wrong = (
            f"heartbeat_s={heartbeat_s!r}, request_timeout_s={request_timeout_s!r}: both should be above 0"
        )
    elif not 0 < reconnect_s[0] <= reconnect_s[1]:
        wrong = f"reconnect_s={reconnect_s!r}: it should be (shortest, longest) in seconds, like (0.25, 10)"
    elif transport not in ("auto", "http", "websocket"):
        wrong = f"transport={transport!r}: it should be 'auto', 'http' or 'websocket'"
    elif transport == "websocket" and app is None:
        wrong = "transport='websocket' needs app=: without an application there is no WebSocket"
    if wrong:
        raise ConfigurationError(wrong)
