"""Session descriptions (RFC 4566, RFC 3264), as far as one stream of PCMU and telephone-events goes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from voxtra.testing.sip import SIPError

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

PCMU = 0
"""Payload type of G.711 μ-law (RFC 3551)."""
TELEPHONE_EVENT = 101
"""Payload type we give to RFC 4733 events in our offers."""

ANSWERS: dict[Direction, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}
"""What one side says when the other said the key."""


@dataclass(frozen=True)
class Description:
    """Where one side wants its sound, and in what form.

    Attributes:
        host, port: where to send to; port 0 refuses the stream.
        payloads: RTP payload types in order of preference.
        telephone_event: payload type of RFC 4733 events, None when there are none.
        direction: seen from who wrote it.
    """

    host: str
    port: int
    payloads: tuple[int, ...] = (PCMU,)
    telephone_event: int | None = TELEPHONE_EVENT
    direction: Direction = "sendrecv"

    @property
    def on_hold(self) -> bool:
        """True when who wrote it does not want to hear us."""
        return self.direction in ("sendonly", "inactive") or self.host == "0.0.0.0"

    def encode(self, version: int = 1) -> bytes:
        """As a message body; ``version`` counts up with every change (RFC 3264, 8)."""
        kind = "IP6" if ":" in self.host else "IP4"
        payloads = [*self.payloads, *([] if self.telephone_event is None else [self.telephone_event])]
        lines = [
            "v=0",
            f"o=voxtra 1 {version} IN {kind} {self.host}",
            "s=-",
            f"c=IN {kind} {self.host}",
            "t=0 0",
            f"m=audio {self.port} RTP/AVP {' '.join(map(str, payloads))}",
        ]
        if PCMU in self.payloads:
            lines.append("a=rtpmap:0 PCMU/8000")
        if self.telephone_event is not None:
            event = self.telephone_event
            lines += [f"a=rtpmap:{event} telephone-event/8000", f"a=fmtp:{event} 0-16"]
        return "\r\n".join([*lines, "a=ptime:20", f"a={self.direction}", ""]).encode()


def parse(body: bytes) -> Description:
    """Read the first audio stream of a session description.

    Raises:
        SIPError: there is none, or it makes no sense.
    """
    host = ""
    session: list[str] = []
    media: list[str] | None = None
    for raw in body.decode("utf-8", "replace").splitlines():
        line = raw.strip()
        if line.startswith("m="):
            if media is not None:
                break  # a second stream is none of ours
            media = [line] if line.startswith("m=audio ") else None
        elif line.startswith("c=") and (media is not None or not host):
            host = _host(line)
        elif line.startswith("a="):
            (session if media is None else media).append(line[2:])
    if media is None or not host:
        raise SIPError("a session description without an audio stream and its address")
    match = re.fullmatch(r"m=audio ([0-9]{1,5})(?:/\d+)? RTP/S?AVPF? ([0-9 ]+)", media[0])
    if not match or int(match[1]) > 65535:
        raise SIPError(f"not a stream of RTP: {media[0][:80]!r}")
    numbers = [int(number) for number in match[2].split() if len(number) <= 3 and int(number) < 128]
    events = [
        int(found[1])
        for line in media[1:]
        if (found := re.fullmatch(r"rtpmap:([0-9]{1,3}) telephone-event/8000.*", line, re.IGNORECASE))
    ]
    return Description(
        host,
        int(match[1]),
        tuple(number for number in numbers if number not in events),
        next((event for event in events if event in numbers), None),
        _direction([*session, *media[1:]]),
    )


def _host(line: str) -> str:
    address = line.split()[-1].partition("/")[0]
    try:
        return str(ipaddress.ip_address(address))
    except ValueError as error:
        raise SIPError(f"{line[:80]!r} names no IP address") from error


def _direction(attributes: list[str]) -> Direction:
    found: Direction = "sendrecv"
    for attribute in attributes:
        for direction in ANSWERS:
            if attribute == direction:
                found = direction
    return found
