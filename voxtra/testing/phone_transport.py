"""SIP over UDP: sending requests until they are answered, and answering those that come (RFC 3261, 17)."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeAlias, cast

from voxtra.errors import TelephonyError
from voxtra.testing import sip
from voxtra.testing.sip import Request, Response

T1 = 0.5
"""s: the first retransmission; later ones double it (RFC 3261, 17.1.1.1)."""
T2 = 4.0
"""s: longest interval of retransmissions."""
TRANSACTION_S = 16.0
"""s until a request without any answer has failed: half of RFC 3261's 64 × T1, for tests."""
RING_S = 180.0
"""s an INVITE may ring (RFC 3261, timer C)."""

Address: TypeAlias = tuple[str, int]


class PhoneError(TelephonyError):
    """A call or a registration failed.

    Attributes:
        status: SIP status, 408 when there was no answer in time.
        reason: its words.
        cause: Q.850 cause, 0 when none was given.
    """

    def __init__(self, what: str, status: int, reason: str, *, cause: int = 0) -> None:
        self.status = status
        self.reason = reason
        self.cause = cause
        super().__init__(f"{what}: {status} {reason}")


class SIPTransport(asyncio.DatagramProtocol):
    """One UDP socket with the transactions on it.

    ``on_request(request, source)`` is called once for each new request, ACK included; retransmitted ones
    are answered from memory.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[tuple[str, str], asyncio.Queue[Response]] = {}
        self._acks: OrderedDict[str, tuple[bytes, Address]] = OrderedDict()
        self._served: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._unacknowledged: dict[str, asyncio.TimerHandle] = {}
        self.on_request: Callable[[Request, Address], None] = lambda request, source: None
        self.malformed = 0

    @classmethod
    async def open(cls, host: str, port: int) -> SIPTransport:
        """Bind ``host``:``port`` (0: any). Raises PhoneError."""
        try:
            _, self = await asyncio.get_running_loop().create_datagram_endpoint(cls, local_addr=(host, port))
        except OSError as error:
            raise PhoneError(f"no UDP port {port or ''} on {host}", 503, str(error)) from error
        return self

    @property
    def address(self) -> Address:
        """Our host and port."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    @property
    def host_port(self) -> str:
        """Our address as it stands in a URI."""
        host, port = self.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Close the socket. Idempotent."""
        for timer in self._unacknowledged.values():
            timer.cancel()
        self._unacknowledged.clear()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def new_via(self) -> str:
        """A Via with a new branch: a transaction of its own."""
        return f"SIP/2.0/UDP {self.host_port};rport;branch=z9hG4bK{secrets.token_hex(8)}"

    async def request(
        self,
        request: Request,
        destination: Address,
        *,
        on_provisional: Callable[[Response], None] | None = None,
    ) -> Response:
        """Send a request, again and again until there is an answer; returns the final response.

        A refused INVITE is acknowledged here; an accepted one by ``acknowledge``.

        Raises:
            PhoneError: 408, nothing came within 16 s (or 180 s of ringing).
        """
        key = (sip.via_branch(request), request.method)
        answers: asyncio.Queue[Response] = asyncio.Queue(maxsize=64)
        self._clients[key] = answers
        data, interval, proceeding = request.encode(), T1, False
        try:
            async with asyncio.timeout(TRANSACTION_S) as deadline:
                self.send(data, destination)
                while True:
                    try:
                        response = await asyncio.wait_for(
                            answers.get(), None if proceeding and request.method == "INVITE" else interval
                        )
                    except TimeoutError:
                        self.send(data, destination)
                        interval = min(interval * 2, T2)
                        continue
                    if response.status >= 200:
                        break
                    if request.method == "INVITE" and not proceeding:
                        deadline.reschedule(self._loop.time() + RING_S)
                    proceeding = True
                    if on_provisional:
                        on_provisional(response)
        except TimeoutError:
            raise PhoneError(f"{request.method} {request.uri}", 408, "no answer") from None
        finally:
            del self._clients[key]
        if request.method == "INVITE" and response.status >= 300:
            self.acknowledge(request, response, destination, request.uri, request.headers.get("Via"))
        return response

    def acknowledge(
        self, invite: Request, response: Response, destination: Address, uri: str, via: str = ""
    ) -> None:
        """Send the ACK of an INVITE's final response, and again whenever the response comes again."""
        ack = Request("ACK", uri)
        ack.headers.add("Via", via or self.new_via())
        ack.headers.add("Max-Forwards", "70")
        for route in reversed(response.headers.all("Record-Route")) if response.status < 300 else ():
            ack.headers.add("Route", route)
        ack.headers.add("From", invite.headers.get("From"))
        ack.headers.add("To", response.headers.get("To"))
        ack.headers.add("Call-ID", invite.headers.get("Call-ID"))
        ack.headers.add("CSeq", f"{sip.cseq(invite)[0]} ACK")
        data = ack.encode()
        self._acks[sip.via_branch(invite)] = (data, destination)
        while len(self._acks) > 256:
            self._acks.popitem(last=False)
        self.send(data, destination)

    def respond(self, request: Request, response: Response, source: Address) -> None:
        """Answer a request. The final answer to an INVITE is sent until its ACK comes."""
        data = response.encode()
        key = (sip.via_branch(request), request.method)
        self._served[key] = data
        while len(self._served) > 512:
            self._served.popitem(last=False)
        self.send(data, source)
        if request.method == "INVITE" and response.status >= 200:
            call = _transaction_of_ack(request)
            self._repeat(call, data, source, T1, self._loop.time() + TRANSACTION_S)

    def _repeat(self, call: str, data: bytes, source: Address, interval: float, until: float) -> None:
        def again() -> None:
            self._unacknowledged.pop(call, None)
            if self._loop.time() < until:
                self.send(data, source)
                self._repeat(call, data, source, min(interval * 2, T2), until)

        self._stop_repeating(call)
        self._unacknowledged[call] = self._loop.call_later(interval, again)

    def _stop_repeating(self, call: str) -> None:
        timer = self._unacknowledged.pop(call, None)
        if timer is not None:
            timer.cancel()

    def send(self, data: bytes, destination: Address) -> None:
        """One datagram. Nothing happens when the socket is closed."""
        if self._transport is not None:
            self._transport.sendto(data, destination)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def error_received(self, exc: Exception) -> None:
        """The other port is closed (ICMP): retransmissions and deadlines take care of it."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """A datagram came in."""
        if not data.strip(b"\r\n\x00"):
            return  # keep-alive (RFC 5626, 3.5.1)
        try:
            message = sip.parse(data)
            branch, (_, method) = sip.via_branch(message), sip.cseq(message)
        except sip.SIPError:
            self.malformed += 1
            return
        if isinstance(message, Response):
            self._response(message, branch, method)
        else:
            self._request(message, branch, (addr[0], addr[1]))

    def _response(self, response: Response, branch: str, method: str) -> None:
        answers = self._clients.get((branch, method))
        if answers is not None:
            if not answers.full():  # more than 64 unread: only repetitions are lost
                answers.put_nowait(response)
        elif method == "INVITE" and response.status >= 200 and branch in self._acks:
            self.send(*self._acks[branch])

    def _request(self, request: Request, branch: str, source: Address) -> None:
        if request.method == "ACK":
            self._stop_repeating(_transaction_of_ack(request))
        elif (branch, request.method) in self._served:
            self.send(self._served[branch, request.method], source)
            return
        self.on_request(request, source)


def _transaction_of_ack(request: Request) -> str:
    """What INVITE and ACK have in common: the ACK of a 2xx has a branch of its own."""
    return f"{request.headers.get('Call-ID')} {sip.cseq(request)[0]}"
