"""SIP messages, addresses and digest login (RFC 3261, RFC 2617): bytes in, values out, no I/O.

As much as a telephone needs that speaks to one server over UDP.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from voxtra.errors import TelephonyError

MAX_MESSAGE = 65_507
"""Bytes: what one UDP datagram holds."""
MAX_HEADERS = 256

_COMPACT = {
    "v": "Via",
    "f": "From",
    "t": "To",
    "i": "Call-ID",
    "m": "Contact",
    "l": "Content-Length",
    "c": "Content-Type",
    "k": "Supported",
    "s": "Subject",
    "e": "Content-Encoding",
    "o": "Event",
    "r": "Refer-To",
    "b": "Referred-By",
    "u": "Allow-Events",
    "x": "Session-Expires",
}
_USUAL = {name.lower(): name for name in (*_COMPACT.values(), "CSeq", "WWW-Authenticate", "MIME-Version")}
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
_REQUEST_LINE = re.compile(r"([A-Z][A-Z0-9._-]{0,31}) (\S{1,2048}) SIP/2\.0")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: (.*))?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class SIPError(TelephonyError):
    """Bytes that are no SIP message, or a value that can't be put into one."""


class Headers:
    """Header fields in order. Names are compared without regard to case, compact forms included."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = [(canonical(name), value) for name, value in fields]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field."""
        self._fields.append((canonical(name), value))

    def set(self, name: str, value: str) -> None:
        """Replace every field of this name by one at the end."""
        self.remove(name)
        self.add(name, value)

    def remove(self, name: str) -> None:
        """Take every field of this name out."""
        name = canonical(name)
        self._fields = [item for item in self._fields if item[0] != name]

    def get(self, name: str, default: str = "") -> str:
        """Value of the first field of this name."""
        name = canonical(name)
        return next((value for key, value in self._fields if key == name), default)

    def all(self, name: str) -> list[str]:
        """Every value of this name, comma-separated ones taken apart."""
        name = canonical(name)
        return [part for key, value in self._fields if key == name for part in split_commas(value)]


@dataclass
class Request:
    """A SIP request."""

    method: str
    uri: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire. Raises SIPError when a value would break out of its line."""
        line = f"{self.method} {self.uri} SIP/2.0"
        if not _REQUEST_LINE.fullmatch(line):
            raise SIPError(f"not a method and URI: {self.method!r} {self.uri!r}")
        return _encode(line, self.headers, self.body)


@dataclass
class Response:
    """A SIP response."""

    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def encode(self) -> bytes:
        """As it goes over the wire. Raises SIPError when a value would break out of its line."""
        line = f"SIP/2.0 {self.status} {self.reason}"
        if not _STATUS_LINE.fullmatch(line) or _CONTROL.search(self.reason):
            raise SIPError(f"not a status and reason: {self.status!r} {self.reason!r}")
        return _encode(line, self.headers, self.body)


def canonical(name: str) -> str:
    """The usual spelling of a header name: ``i``, ``call-id`` → ``Call-ID``."""
    lower = name.lower()
    if lower in _COMPACT:
        return _COMPACT[lower]
    return _USUAL.get(lower) or "-".join(part.capitalize() for part in lower.split("-"))


def _encode(line: str, headers: Headers, body: bytes) -> bytes:
    lines = [line]
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or _CONTROL.search(value):
            raise SIPError(f"not a header field: {name!r}: {value!r}")
        if name != "Content-Length":
            lines.append(f"{name}: {value}")
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def parse(data: bytes) -> Request | Response:
    """Read one datagram.

    Raises:
        SIPError: it is no SIP message.
    """
    if len(data) > MAX_MESSAGE:
        raise SIPError(f"a message of {len(data)} bytes")
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise SIPError("no empty line after the header")
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    headers = Headers(_fields(lines[1:]))
    body = _bounded(body, headers)
    if match := _STATUS_LINE.fullmatch(lines[0]):
        return Response(int(match[1]), match[2] or "", headers, body)
    if match := _REQUEST_LINE.fullmatch(lines[0]):
        return Request(match[1], match[2], headers, body)
    raise SIPError(f"no SIP start line: {lines[0][:80]!r}")


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):  # a folded line goes on with the one before it
            if not fields:
                raise SIPError("a continuation line without a header")
            fields[-1] = (fields[-1][0], f"{fields[-1][1]} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t")
        if not colon or not _TOKEN.fullmatch(name):
            raise SIPError(f"not a header field: {line[:80]!r}")
        fields.append((name, value.strip(" \t")))
        if len(fields) > MAX_HEADERS:
            raise SIPError(f"more than {MAX_HEADERS} header fields")
    return fields


def _bounded(body: bytes, headers: Headers) -> bytes:
    stated = headers.get("Content-Length")
    if not stated:
        return body
    if not re.fullmatch(r"[0-9]{1,7}", stated) or int(stated) > len(body):
        raise SIPError(f"Content-Length {stated[:20]!r} with {len(body)} bytes of body")
    return body[: int(stated)]


def split_commas(value: str) -> list[str]:
    """The parts of a comma-separated header; commas in quotes and angle brackets do not count."""
    parts, current, quoted, depth, escaped = [], "", False, 0, False
    for char in value:
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif not quoted and char in "<>":
            depth = 1 if char == "<" else 0
        elif char == "," and not quoted and not depth:
            parts.append(current.strip())
            current = ""
            continue
        current += char
    return [part for part in (*parts, current.strip()) if part]


@dataclass(frozen=True)
class Address:
    """What From, To, Contact and Refer-To hold."""

    uri: str
    display: str = ""
    params: tuple[tuple[str, str], ...] = ()

    @property
    def tag(self) -> str:
        """The ``tag`` parameter, "" when there is none."""
        return dict(self.params).get("tag", "")

    @property
    def user(self) -> str:
        """User part of the URI: ``100`` in ``sip:100@host``."""
        rest = self.uri.partition(":")[2]
        return rest.rpartition("@")[0].partition(":")[0].partition(";")[0]


def parse_address(value: str) -> Address:
    """Read ``"Name" <sip:user@host>;tag=x`` or ``sip:user@host;tag=x``. Raises SIPError."""
    match = re.fullmatch(r'\s*("(?:[^"\\]|\\.)*"|[^<>"]*)\s*<([^<>]+)>\s*(.*)', value, re.DOTALL)
    if match:
        display, uri, rest = match[1].strip(), match[2].strip(), match[3]
        if display.startswith('"'):
            display = re.sub(r"\\(.)", r"\1", display[1:-1])
    else:
        uri, _, rest = value.strip().partition(";")
        display = ""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:\S+", uri):
        raise SIPError(f"not an address: {value[:80]!r}")
    return Address(uri, display, tuple(parse_params(rest).items()))


def parse_params(text: str) -> dict[str, str]:
    """Read ``;a=1;b`` as ``{"a": "1", "b": ""}``."""
    params: dict[str, str] = {}
    for part in text.split(";"):
        name, _, value = part.strip().partition("=")
        if name:
            params[name.strip().lower()] = value.strip()
    return params


def via_branch(message: Request | Response) -> str:
    """The transaction the message belongs to, "" when it names none."""
    vias = message.headers.all("Via")
    return parse_params(vias[0].partition(";")[2]).get("branch", "") if vias else ""


def cseq(message: Request | Response) -> tuple[int, str]:
    """Number and method of CSeq. Raises SIPError."""
    match = re.fullmatch(r"([0-9]{1,10})\s+(\S+)", message.headers.get("CSeq"))
    if not match:
        raise SIPError(f"CSeq {message.headers.get('CSeq')[:40]!r}")
    return int(match[1]), match[2]


def q850_cause(message: Request | Response) -> int:
    """Q.850 cause of the Reason header (RFC 3326), 0 when it has none."""
    for value in message.headers.all("Reason"):
        protocol, _, rest = value.partition(";")
        cause = parse_params(rest).get("cause", "")
        if protocol.strip().lower() == "q.850" and re.fullmatch(r"[0-9]{1,3}", cause):
            return int(cause)
    return 0


def response_to(request: Request, status: int, reason: str, *, tag: str = "") -> Response:
    """A response with what it must repeat of the request; ``tag`` goes to To unless it has one."""
    headers = Headers((name, value) for name, value in request.headers if name in ("Via", "Record-Route"))
    for name in ("From", "To", "Call-ID", "CSeq"):
        value = request.headers.get(name)
        if name == "To" and tag and status > 100 and ";tag=" not in value:
            value += f";tag={tag}"
        headers.add(name, value)
    return Response(status, reason, headers)


def parse_challenge(value: str) -> dict[str, str]:
    """The parameters of WWW-Authenticate or Proxy-Authenticate. Raises SIPError unless it is Digest."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        raise SIPError(f"a login by {scheme[:20]!r}: only Digest is known")
    pairs = re.findall(r'([A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', rest)
    return {name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in pairs}


def digest(
    challenge: dict[str, str], method: str, uri: str, user: str, password: str, *, cnonce: str = ""
) -> str:
    """Value of Authorization for a challenge (MD5; with ``qop=auth`` where the server offers it).

    Raises:
        SIPError: the server wants another algorithm.
    """
    algorithm = challenge.get("algorithm", "MD5")
    if algorithm.upper() != "MD5":
        raise SIPError(f"a digest of {algorithm[:20]!r}: only MD5 is known")
    realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
    cnonce = cnonce or secrets.token_hex(8)
    secret, target = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{uri}")
    fields = {"username": user, "realm": realm, "nonce": nonce, "uri": uri}
    plain = {"algorithm": "MD5"}
    if "auth" in [option.strip() for option in challenge.get("qop", "").split(",")]:
        fields["response"] = _md5(f"{secret}:{nonce}:00000001:{cnonce}:auth:{target}")
        fields["cnonce"] = cnonce
        plain |= {"qop": "auth", "nc": "00000001"}
    else:
        fields["response"] = _md5(f"{secret}:{nonce}:{target}")
    if "opaque" in challenge:
        fields["opaque"] = challenge["opaque"]
    quoted = [f'{name}="{_escaped(value)}"' for name, value in fields.items()]
    return "Digest " + ", ".join([*quoted, *(f"{name}={value}" for name, value in plain.items())])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
