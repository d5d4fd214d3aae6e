"""A telephone for tests: SIP over UDP, PCMU, RFC 4733 keys, and an eye on every packet's time.

::

    async with Phone(server=("127.0.0.1", 5060), user="phone", password="secret") as phone:
        call = await phone.dial("100")
        await call.answered(timeout=5)
        call.play(pcm)
        await call.played()
        print(await call.voice(), call.digits)
        await call.hangup()

It speaks to one server (or to whoever calls it), knows no DNS, no TLS and no codec but G.711 μ-law.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Self

from voxtra.errors import CallEndedError, TelephonyError
from voxtra.testing import sip
from voxtra.testing.phone_call import ALLOW, Ended, PhoneCall, reason_of
from voxtra.testing.phone_media import PhoneMedia
from voxtra.testing.phone_transport import Address, PhoneError, SIPTransport
from voxtra.testing.rtp import Packet
from voxtra.testing.sip import Headers, Request, Response

__all__ = ["Ended", "Packet", "Phone", "PhoneCall", "PhoneError"]

_STOP_S = 5.0  # what hanging up may take when the phone is switched off
_MAX_WAITING = 64  # calls nobody has asked for with incoming(); later ones are refused as busy


class Phone:
    """A telephone.

    Args:
        server: host and port of the SIP server; None for a phone that only takes calls.
        user, password: the account. Without a password it calls as ``user`` without login.
        host: our own address, for SIP and sound.
        port: our SIP port, 0 for any.
        name: display name.
        register: register at the server, so that calls to ``user`` ring here.
        on_refer: what to do when the far end transfers us: gets the call and the target's URI, returns the
            final SIP status to report. None reports 200 and calls nobody.
    """

    def __init__(
        self,
        server: Address | None = None,
        *,
        user: str = "phone",
        password: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "",
        register: bool = False,
        on_refer: Callable[[PhoneCall, str], Awaitable[int]] | None = None,
    ) -> None:
        self.server = server
        self.user = user
        self.host = host
        self.port = port
        self.name = name
        self.on_refer = on_refer
        self.calls: dict[str, PhoneCall] = {}
        self._password = password
        self._register = register
        self._registered = False
        self._registration = (f"{secrets.token_hex(8)}@{host}", 0)
        self._transport: SIPTransport | None = None
        self._waiting: asyncio.Queue[PhoneCall] = asyncio.Queue(maxsize=_MAX_WAITING)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- begin and end -----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Open the socket, and register if that is wanted. Raises PhoneError."""
        self._transport = await SIPTransport.open(self.host, self.port)
        self._transport.on_request = self._on_request
        self.port = self._transport.address[1]
        if self._register:
            try:
                await self.register()
            except BaseException:
                self._transport.close()
                raise

    async def stop(self) -> None:
        """Hang up all calls, unregister, close the socket. Idempotent."""
        if self._transport is None:
            return
        ends = [asyncio.ensure_future(call.hangup()) for call in list(self.calls.values())]
        if self._registered:
            ends.append(asyncio.ensure_future(self._unregister()))
        try:
            if ends:
                await asyncio.wait(ends, timeout=_STOP_S)
        finally:
            work = [*ends, *self._tasks]
            for task in work:
                task.cancel()
            results = await asyncio.gather(*work, return_exceptions=True)
            for call in list(self.calls.values()):
                call.finish(Ended("local", 487, "the phone was switched off"))
            transport, self._transport = self._transport, None
            transport.close()
            await asyncio.sleep(0)  # the loop closes sockets in its next turn
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, TelephonyError):
                raise result

    async def _unregister(self) -> Ended:
        await self.register(expires=0)
        return Ended("local", 200, "unregistered")

    @property
    def transport(self) -> SIPTransport:
        """The SIP socket. Raises PhoneError when the phone is off."""
        if self._transport is None:
            raise PhoneError("the phone is off", 503, "start() it first")
        return self._transport

    @property
    def contact(self) -> str:
        """Where we are reached, as a Contact."""
        return f"<sip:{self.user}@{self.transport.host_port}>"

    @property
    def identity(self) -> str:
        """Who we are: the account's URI."""
        return self.uri(self.user)

    def uri(self, target: str) -> str:
        """A SIP URI: ``target`` itself when it is one, else that extension at the server."""
        if target.startswith(("sip:", "sips:")):
            return target
        if not re.fullmatch(r"[A-Za-z0-9_.!~*'()&=+$,;?/%#-]{1,128}", target):
            raise PhoneError("a target to dial", 484, f"{target[:40]!r} is no extension and no SIP URI")
        host, port = self.server or self.transport.address
        return f"sip:{target.replace('#', '%23')}@{f'[{host}]' if ':' in host else host}:{port}"

    @staticmethod
    def new_tag() -> str:
        """A tag for a dialog."""
        return secrets.token_hex(6)

    # -- calls -------------------------------------------------------------------------------------------

    async def dial(self, target: str, *, headers: dict[str, str] | None = None) -> PhoneCall:
        """Place a call; returns when the INVITE is under way. ``await call.answered()`` for the answer.

        Args:
            target: extension, or SIP URI.
            headers: more SIP header fields for the INVITE.
        """
        uri = self.uri(target)
        display = '"{}" '.format(re.sub(r'["\\\x00-\x1f]', "", self.name)) if self.name else ""
        call = PhoneCall(
            self,
            await PhoneMedia.open(self.host),
            call_id=f"{secrets.token_hex(10)}@{self.host}",
            local=f"{display}<{self.identity}>;tag={self.new_tag()}",
            far=f"<{uri}>",
            target=uri,
            peer=self._peer(uri),
        )
        self.calls[call.call_id] = call
        self._spawn(call.place(list((headers or {}).items())))
        await asyncio.sleep(0)  # the INVITE goes out
        return call

    async def incoming(self, timeout: float = 10.0) -> PhoneCall:
        """The next call that came in. Raises PhoneError 408 when none comes."""
        try:
            async with asyncio.timeout(timeout):
                return await self._waiting.get()
        except TimeoutError:
            raise PhoneError(f"no call within {timeout:.1f} s", 408, "nobody called") from None

    async def register(self, expires: int = 120) -> None:
        """Register (RFC 3261, 10); 0 takes the registration back. Raises PhoneError."""
        host, port = self._peer("")
        registrar = f"sip:{f'[{host}]' if ':' in host else host}:{port}"

        def make(login: list[tuple[str, str]]) -> Request:
            call_id, number = self._registration
            self._registration = (call_id, number + 1)
            fields = [
                ("Via", self.transport.new_via()),
                ("Max-Forwards", "70"),
                ("From", f"<{self.identity}>;tag={self.new_tag()}"),
                ("To", f"<{self.identity}>"),
                ("Call-ID", call_id),
                ("CSeq", f"{number + 1} REGISTER"),
                ("Contact", self.contact),
                ("Expires", str(expires)),
            ]
            return Request("REGISTER", registrar, Headers([*fields, *login]))

        await self.exchange(make, (host, port))
        self._registered = expires > 0

    def _peer(self, uri: str) -> Address:
        if self.server is not None:
            return self.server
        found = re.fullmatch(r"sips?:(?:[^@]*@)?(\[[0-9a-fA-F:.]+\]|[0-9.]+)(?::([0-9]{1,5}))?(?:;.*)?", uri)
        if not found:
            raise PhoneError("nobody to send to", 484, f"no server is set, and {uri!r} names no IP address")
        return found[1].strip("[]"), int(found[2] or 5060)

    # -- messages ----------------------------------------------------------------------------------------

    async def exchange(
        self,
        make: Callable[[list[tuple[str, str]]], Request],
        destination: Address,
        *,
        on_provisional: Callable[[Response], None] | None = None,
    ) -> tuple[Request, Response]:
        """Send what ``make`` makes, log in when asked to; returns the request and its 2xx.

        Raises:
            PhoneError: any other final response, or none.
        """
        request = make([])
        response = await self.transport.request(request, destination, on_provisional=on_provisional)
        name = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}.get(response.status, "")
        if name and self._password and response.headers.get(name):
            try:
                challenge = sip.parse_challenge(response.headers.get(name))
                login = sip.digest(challenge, request.method, request.uri, self.user, self._password)
            except sip.SIPError as error:
                raise PhoneError(f"{request.method} {request.uri}", response.status, str(error)) from error
            field = "Authorization" if response.status == 401 else "Proxy-Authorization"
            request = make([(field, login)])
            response = await self.transport.request(request, destination, on_provisional=on_provisional)
        if response.status >= 300:
            what = f"{request.method} {request.uri}"
            raise PhoneError(what, response.status, response.reason, cause=sip.q850_cause(response))
        return request, response

    @staticmethod
    def put_body(message: Request | Response, body: bytes, content_type: str = "application/sdp") -> None:
        """Give a message its body."""
        if body:
            message.headers.set("Content-Type", content_type)
            message.body = body

    def reply(self, request: Request, source: Address, status: int, body: bytes = b"") -> None:
        """Answer a request."""
        response = sip.response_to(request, status, reason_of(status), tag=self.new_tag())
        response.headers.add("Contact", self.contact)
        response.headers.add("Allow", ALLOW)
        self.put_body(response, body)
        self.transport.respond(request, response, source)

    def follow(self, call: PhoneCall, target: str, refer: int) -> None:
        """Do what a REFER asks, and report on it."""

        async def run() -> None:
            try:
                await call.notify_transfer(100, refer)
                try:
                    status = 200 if self.on_refer is None else await self.on_refer(call, target)
                except PhoneError as error:
                    status = error.status
                await call.notify_transfer(status, refer)
            except (PhoneError, CallEndedError):
                if call.state != "ended":  # who wanted it hung up before hearing of it: nothing is wrong
                    raise

        self._spawn(run())

    def forget(self, call: PhoneCall) -> None:
        """The call is over."""
        self.calls.pop(call.call_id, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler({"message": "test phone", "exception": error})

    def _on_request(self, request: Request, source: Address) -> None:
        call = self.calls.get(request.headers.get("Call-ID"))
        if call is not None and (request.method != "INVITE" or ";tag=" in request.headers.get("To")):
            call.on_request(request, source)
        elif request.method == "INVITE" and self._waiting.full():
            self.reply(request, source, 486)
        elif request.method == "INVITE":
            self.transport.respond(request, sip.response_to(request, 100, "Trying"), source)
            self._spawn(self._take(request, source))
        elif request.method in ("OPTIONS", "NOTIFY", "MESSAGE"):
            self.reply(request, source, 200)
        elif request.method != "ACK":
            self.reply(request, source, 481)

    async def _take(self, invite: Request, source: Address) -> None:
        call = PhoneCall.taken(self, await PhoneMedia.open(self.host), invite, source)
        self.calls[call.call_id] = call
        try:
            self._waiting.put_nowait(call)
        except asyncio.QueueFull:
            call.reject(486)
