"""One call of the test phone: its dialog (RFC 3261, 12)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import quote

from voxtra.errors import CallEndedError
from voxtra.testing import sdp, sip
from voxtra.testing.phone_media import PhoneMedia
from voxtra.testing.phone_sound import CallSound
from voxtra.testing.phone_transport import Address, PhoneError
from voxtra.testing.sip import Headers, Request, Response

if TYPE_CHECKING:
    from voxtra.testing.phone import Phone

_T = TypeVar("_T")

ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, UPDATE, REFER, NOTIFY, MESSAGE"
"""What the phone understands."""

REASONS = {180: "Ringing", 183: "Session Progress", 480: "Temporarily Unavailable", 481: "No Such Call"}
"""Words of SIP statuses that HTTP doesn't know."""
REASONS |= {486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here", 603: "Decline"}


def reason_of(status: int) -> str:
    """The usual words of a status."""
    if status in REASONS:
        return REASONS[status]
    return HTTPStatus(status).phrase if status in list(HTTPStatus) else "Refused"


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        by: ``"local"`` or ``"remote"``.
        status: 200 for a BYE, 487 for a cancelled call, else the SIP status of the refusal.
        reason: its words.
        cause: Q.850 cause the far end gave, 0 when it gave none.
    """

    by: Literal["local", "remote"]
    status: int
    reason: str
    cause: int = 0


class PhoneCall(CallSound):
    """A call, placed or taken; made by ``Phone.dial`` and ``Phone.incoming``.

    Attributes:
        state: ``"calling"``, ``"ringing"``, ``"answered"`` or ``"ended"``.
        invite: the INVITE that began it.
        held: True while the far end has put us on hold.
        requests: methods of what the far end sent within the call, in order.
        referred: targets the far end wanted us to call (REFER), in order.
        messages: bodies of its MESSAGE and INFO requests.
    """

    def __init__(
        self,
        phone: Phone,
        media: PhoneMedia,
        *,
        call_id: str,
        local: str,
        far: str,
        target: str,
        peer: Address,
    ) -> None:
        super().__init__(media)
        loop = asyncio.get_running_loop()
        self._phone = phone
        self._answered: asyncio.Future[int] = loop.create_future()
        self._progress: asyncio.Future[int] = loop.create_future()
        self._ended: asyncio.Future[Ended] = loop.create_future()
        self._transfer: asyncio.Future[int] | None = None
        self._version = 0
        self._cancelled = False
        self._routes: list[str] = []
        self._sequence = 0
        self._target = target
        self.call_id = call_id
        self.local = local
        self.far = far
        self.peer = peer
        self.incoming = False
        self.invite = Request("INVITE", target)
        self.state: Literal["calling", "ringing", "answered", "ended"] = "calling"
        self.held = False
        self.requests: list[str] = []
        self.referred: list[str] = []
        self.messages: list[bytes] = []

    @classmethod
    def taken(cls, phone: Phone, media: PhoneMedia, invite: Request, peer: Address) -> PhoneCall:
        """The call that an INVITE brings."""
        local = f"{invite.headers.get('To')};tag={phone.new_tag()}"
        far, call_id = invite.headers.get("From"), invite.headers.get("Call-ID")
        call = cls(phone, media, call_id=call_id, local=local, far=far, target=invite.uri, peer=peer)
        call.incoming = True
        call.invite = invite
        call._learn(invite, routes=invite.headers.all("Record-Route"))
        return call

    async def place(self, headers: list[tuple[str, str]]) -> None:
        """Send the INVITE and take its answer; a failure ends the call."""
        body = self.description()

        def make(login: list[tuple[str, str]]) -> Request:
            self.invite = self._build("INVITE", [*headers, *login], body, "application/sdp")
            return self.invite

        try:
            invite, response = await self._phone.exchange(
                make, self.peer, on_provisional=self._on_provisional
            )
            await self._on_answer(invite, response)
        except PhoneError as error:
            by: Literal["local", "remote"] = "local" if self._cancelled else "remote"
            self.finish(Ended(by, error.status, error.reason, error.cause))

    def __repr__(self) -> str:
        return f"<PhoneCall {'from' if self.incoming else 'to'} {self.remote} {self.state}>"

    @property
    def remote(self) -> str:
        """SIP URI of the far end."""
        return sip.parse_address(self.far).uri

    @property
    def called(self) -> str:
        """What was dialled: the user part of the INVITE's URI."""
        return sip.Address(self.invite.uri).user

    # -- waiting -----------------------------------------------------------------------------------------

    async def progress(self, timeout: float = 10.0) -> int:
        """Wait for the first 18x or the answer; returns its status. Raises PhoneError."""
        return await self._wait(self._progress, timeout, "no progress")

    async def answered(self, timeout: float = 10.0) -> PhoneCall:
        """Wait for the answer.

        Raises:
            PhoneError: it was refused or cancelled (its status), or not answered in time (408).
        """
        await self._wait(self._answered, timeout, "no answer")
        return self

    async def ended(self, timeout: float = 10.0) -> Ended:
        """Wait for the end of the call. Raises PhoneError 408 when it goes on."""
        return await self._wait(self._ended, timeout, "the call goes on")

    async def _wait(self, future: asyncio.Future[_T], timeout: float, what: str) -> _T:
        done, _ = await asyncio.wait([future], timeout=timeout)
        if not done:
            raise PhoneError(f"{what} after {timeout:.1f} s: {self}", 408, "no answer")
        return future.result()

    # -- a call that came in -----------------------------------------------------------------------------

    def ringing(self, *, early_media: bool = False) -> None:
        """Tell the caller that we ring (180), or that sound comes before the answer (183)."""
        self._only_incoming()
        self.state = "ringing"
        if early_media:
            self._reply(183, body=self._offer_answer())
        else:
            self._reply(180)

    def answer(self) -> None:
        """Take the call (200)."""
        self._only_incoming()
        body = self._offer_answer()
        self.state = "answered"
        self._reply(200, body=body)
        self._settle_answer()

    def reject(self, status: int = 486) -> None:
        """Refuse the call with a SIP status of 400 to 699."""
        self._only_incoming()
        self._reply(status)
        self.finish(Ended("local", status, reason_of(status)))

    def _only_live(self) -> None:
        if self.state == "ended":
            raise CallEndedError(f"the call is over: {self._ended.result()}")

    def _only_incoming(self) -> None:
        self._only_live()
        if not self.incoming or self.state == "answered":
            raise PhoneError("only a call that came in and is not answered can be", 481, str(self))

    def _reply(self, status: int, body: bytes = b"") -> None:
        tag = sip.parse_address(self.local).tag
        response = sip.response_to(self.invite, status, reason_of(status), tag=tag)
        response.headers.add("Contact", self._phone.contact)
        self._phone.put_body(response, body)
        self._phone.transport.respond(self.invite, response, self.peer)

    # -- ending ------------------------------------------------------------------------------------------

    async def hangup(self) -> Ended:
        """End the call: BYE, CANCEL before the answer, 603 for a call that came in. Idempotent."""
        if self.state == "ended":
            return self._ended.result()
        if self.state == "answered":
            await self._bye()
        elif self.incoming:
            self.reject(603)
        else:
            self._cancelled = True
            await self._cancel()
        return await self.ended(timeout=20.0)

    async def _bye(self) -> None:
        self.finish(Ended("local", 200, "hangup"))
        try:
            await self.request("BYE")
        except PhoneError as error:
            if error.status not in (408, 481):  # nobody is there any more: that is what we wanted
                raise

    async def _cancel(self) -> None:
        if (
            not self._progress.done()
        ):  # a request may be cancelled only after its first answer (RFC 3261, 9.1)
            await asyncio.wait([self._progress], timeout=5.0)
        if self._answered.done() and self.state == "answered":
            await self._bye()
        elif self.state != "ended":
            cancel = Request("CANCEL", self.invite.uri)
            for name in ("Via", "From", "To", "Call-ID"):
                cancel.headers.add(name, self.invite.headers.get(name))
            cancel.headers.add("CSeq", f"{sip.cseq(self.invite)[0]} CANCEL")
            cancel.headers.add("Max-Forwards", "70")
            await self._phone.transport.request(cancel, self.peer)

    def finish(self, ended: Ended) -> None:
        """The call is over: settle whoever waits, and close its sound."""
        if self._ended.done():
            return
        self.state = "ended"
        self._ended.set_result(ended)
        waiting: list[asyncio.Future[int] | None] = [self._answered, self._progress, self._transfer]
        for future in waiting:
            if future is not None and not future.done():
                future.set_exception(PhoneError(f"call to {self.remote}", ended.status, ended.reason))
                future.exception()  # nobody need ask
        self._media.close()
        self._phone.forget(self)

    # -- within the call ---------------------------------------------------------------------------------

    async def hold(self, direction: sdp.Direction = "sendonly") -> None:
        """Put the far end on hold (re-INVITE with ``a=sendonly``). Raises PhoneError when it is refused."""
        await self._reinvite(direction)

    async def unhold(self) -> None:
        """Take the far end off hold. Raises PhoneError when it is refused."""
        await self._reinvite("sendrecv")

    async def _reinvite(self, direction: sdp.Direction) -> None:
        self._only_live()
        response = await self.request("INVITE", body=self.description(direction))
        self.hear(response.body)

    async def refer(self, target: str, *, replaces: PhoneCall | None = None, timeout: float = 15.0) -> int:
        """Transfer the far end to ``target`` (REFER, RFC 3515) and wait for what came of it.

        This call stays; a phone hangs it up when the transfer is done.

        Args:
            target: extension or SIP URI.
            replaces: our other call that the far end is to take over: an attended transfer.

        Returns:
            The final SIP status that NOTIFY brought.

        Raises:
            PhoneError: the REFER was refused, the call ended first, or nothing came in time (408).
        """
        uri = self._phone.uri(target)
        if replaces is not None:
            to_tag, from_tag = sip.parse_address(replaces.far).tag, sip.parse_address(replaces.local).tag
            uri += "?Replaces=" + quote(f"{replaces.call_id};to-tag={to_tag};from-tag={from_tag}", safe="")
        self._transfer = asyncio.get_running_loop().create_future()
        headers = [("Refer-To", f"<{uri}>"), ("Referred-By", f"<{self._phone.identity}>")]
        await self.request("REFER", headers=headers)
        return await self._wait(self._transfer, timeout, "no result of the transfer")

    async def info(self, body: bytes, content_type: str = "application/dtmf-relay") -> None:
        """Send an INFO. Raises PhoneError when it is refused."""
        await self.request("INFO", body=body, content_type=content_type)

    async def request(
        self,
        method: str,
        *,
        headers: list[tuple[str, str]] | None = None,
        body: bytes = b"",
        content_type: str = "application/sdp",
    ) -> Response:
        """Send a request within the call; logs in when asked to.

        Raises:
            PhoneError: it was refused or not answered.
            CallEndedError: the call is over.
        """
        if method != "BYE":
            self._only_live()

        def make(login: list[tuple[str, str]]) -> Request:
            return self._build(method, [*(headers or []), *login], body, content_type)

        request, response = await self._phone.exchange(make, self.peer)
        if method == "INVITE" and response.status < 300:
            self._phone.transport.acknowledge(request, response, self.peer, self._target)
        return response

    def _build(self, method: str, headers: list[tuple[str, str]], body: bytes, content_type: str) -> Request:
        self._sequence += 1
        fields = [
            ("Via", self._phone.transport.new_via()),
            ("Max-Forwards", "70"),
            *(("Route", route) for route in self._routes),
            ("From", self.local),
            ("To", self.far),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._sequence} {method}"),
            ("Contact", self._phone.contact),
            ("Allow", ALLOW),
            ("User-Agent", "voxtra test phone"),
        ]
        request = Request(method, self._target, Headers([*fields, *headers]))
        self._phone.put_body(request, body, content_type)
        return request

    # -- sound -------------------------------------------------------------------------------------------

    def description(self, direction: sdp.Direction = "sendrecv") -> bytes:
        """Our side of the sound, as a message body."""
        self._version += 1
        host = self._phone.transport.address[0]
        return sdp.Description(host, self._media.port, direction=direction).encode(self._version)

    def hear(self, body: bytes) -> None:
        """Take the far end's side of the sound. Raises PhoneError 488 when we can't speak that way."""
        if not body:
            return
        try:
            theirs = sdp.parse(body)
        except sip.SIPError as error:
            raise PhoneError("a session description", 488, str(error)) from error
        if sdp.PCMU not in theirs.payloads or theirs.port == 0:
            raise PhoneError("a session description", 488, "without PCMU")
        self.held = theirs.on_hold
        self._media.sending = not theirs.on_hold
        self._media.send_to((theirs.host, theirs.port), theirs.telephone_event)

    def _offer_answer(self) -> bytes:
        try:
            self.hear(self.invite.body)
        except PhoneError:
            self.reject(488)
            raise
        direction = sdp.parse(self.invite.body).direction if self.invite.body else "sendrecv"
        return self.description(sdp.ANSWERS[direction])

    # -- what the phone tells its call -------------------------------------------------------------------

    def _on_provisional(self, response: Response) -> None:
        """An 18x came (100 says nothing)."""
        if response.status > 100 and self.state != "ended":
            self.state = "ringing" if self.state == "calling" else self.state
            if response.body:
                self.hear(response.body)
            if not self._progress.done():
                self._progress.set_result(response.status)

    async def _on_answer(self, invite: Request, response: Response) -> None:
        """The far end took the call."""
        self.far = response.headers.get("To") or self.far
        self._learn(response, routes=response.headers.all("Record-Route")[::-1])
        self._phone.transport.acknowledge(invite, response, self.peer, self._target)
        self.state = "answered"
        try:
            self.hear(response.body)
        except PhoneError:
            await self._bye()
            raise
        self._settle_answer()
        if self._cancelled:  # the answer crossed our CANCEL
            await self._bye()

    def _settle_answer(self) -> None:
        for future in (self._progress, self._answered):
            if not future.done():
                future.set_result(200)

    def _learn(self, message: Request | Response, *, routes: list[str]) -> None:
        contacts = message.headers.all("Contact")
        if contacts:
            self._target = sip.parse_address(contacts[0]).uri
        self._routes = routes

    def on_request(self, request: Request, source: Address) -> None:
        """The far end sent something within the call."""
        self.requests.append(request.method)
        handler = getattr(self, f"_on_{request.method.lower()}", None)
        if handler is not None:
            handler(request, source)
        elif request.method != "ACK":
            self._phone.reply(request, source, 405)

    def _on_bye(self, request: Request, source: Address) -> None:
        self._phone.reply(request, source, 200)
        self.finish(Ended("remote", 200, "hangup", sip.q850_cause(request)))

    def _on_cancel(self, request: Request, source: Address) -> None:
        self._phone.reply(request, source, 200)
        if self.incoming and self.state in ("calling", "ringing"):
            self._reply(487)
            self.finish(Ended("remote", 487, reason_of(487), sip.q850_cause(request)))

    def _on_invite(self, request: Request, source: Address) -> None:
        try:
            self.hear(request.body)
        except PhoneError:
            self._phone.reply(request, source, 488)
            return
        direction = sdp.parse(request.body).direction if request.body else "sendrecv"
        self._learn(request, routes=self._routes)
        self._phone.reply(request, source, 200, self.description(sdp.ANSWERS[direction]))

    def _on_update(self, request: Request, source: Address) -> None:
        if request.body:
            self._on_invite(request, source)
        else:
            self._phone.reply(request, source, 200)

    def _on_options(self, request: Request, source: Address) -> None:
        self._phone.reply(request, source, 200)

    def _on_info(self, request: Request, source: Address) -> None:
        self.messages.append(request.body)
        self._phone.reply(request, source, 200)

    _on_message = _on_info

    def _on_refer(self, request: Request, source: Address) -> None:
        try:
            target = sip.parse_address(request.headers.get("Refer-To")).uri
        except sip.SIPError:
            self._phone.reply(request, source, 400)
            return
        self.referred.append(target)
        self._phone.reply(request, source, 202)
        self._phone.follow(self, target, sip.cseq(request)[0])

    async def notify_transfer(self, status: int, refer: int) -> None:
        """Tell the far end how the call it wanted from us goes (RFC 3515, 2.4.4)."""
        state = "active;expires=60" if status < 200 else "terminated;reason=noresource"
        headers = [("Event", f"refer;id={refer}"), ("Subscription-State", state)]
        body = f"SIP/2.0 {status} {reason_of(status)}\r\n".encode()
        await self.request("NOTIFY", headers=headers, body=body, content_type="message/sipfrag;version=2.0")

    def _on_notify(self, request: Request, source: Address) -> None:
        self._phone.reply(request, source, 200)
        status = request.body[8:11]
        final = request.body.startswith(b"SIP/2.0 ") and status.isdigit() and int(status) >= 200
        if final and self._transfer is not None and not self._transfer.done():
            self._transfer.set_result(int(status))
