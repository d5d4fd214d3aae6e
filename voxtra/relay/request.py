"""What somebody who connects asks for: a call, a role and a format, out of path and query. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, get_args
from urllib.parse import parse_qsl

from pydantic import ValidationError

from voxtra.wire import AudioFormat, Role

BAD_REQUEST: Final = 4400
UNAUTHORIZED: Final = 4401
NOT_FOUND: Final = 4404
GONE: Final = 4410
TOO_MANY: Final = 4429
GOING_AWAY: Final = 1001
INTERNAL: Final = 1011

MAX_QUERY: Final = 8_192
_PATH = re.compile(r"/?voice/([A-Za-z0-9_-]{8,64})/?")
_KEYS = ("tok", "role", "codec", "sampleRate", "channels", "frameMs", "listen")


class Refused(Exception):
    """A connection is not taken, or not gone on with. Never leaves the relay.

    Attributes:
        code: WebSocket close code, 4000 + the HTTP status; MoQ gets the status alone.
        reason: says what is wrong and what would be right, in at most 120 bytes.
    """

    def __init__(self, code: int, reason: str) -> None:
        self.code = code
        self.reason = reason.encode()[:120].decode(errors="ignore")
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that can be. The token is not looked at yet.

    Attributes:
        role: None = whatever the token is for, else ``server``.
        listen: False for one that only speaks.
    """

    sid: str
    token: str
    role: Role | None
    form: AudioFormat
    listen: bool


def read(path: str, query: str) -> Wanted:
    """Path and query of a connection.

    Args:
        path: ``/voice/<sid>``.
        query: what follows the ``?``, percent-encoded.

    Raises:
        Refused: 4404 for another path, 4400 for a query that can't be.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refused(NOT_FOUND, "no such path: connect to /voice/<sid>")
    if len(query) > MAX_QUERY:
        raise Refused(BAD_REQUEST, f"a query of {len(query)} B: {MAX_QUERY} at most")
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=32)
    except ValueError:
        raise Refused(BAD_REQUEST, "the query can't be read") from None
    for key, value in pairs:
        if key not in _KEYS:
            raise Refused(BAD_REQUEST, f"{key[:30]!r} is no parameter: {', '.join(_KEYS)}")
        if key in given:
            raise Refused(BAD_REQUEST, f"{key} is given twice")
        given[key] = value
    role = given.get("role")
    if role is not None and role not in get_args(Role):
        raise Refused(BAD_REQUEST, f"role={role[:20]!r}: server or caller")
    listen = given.get("listen", "1")
    if listen not in ("0", "1"):
        raise Refused(BAD_REQUEST, f"listen={listen[:20]!r}: 0 or 1")
    return Wanted(match.group(1), given.get("tok", ""), role, _form(given), listen == "1")  # type: ignore[arg-type]


def _form(given: dict[str, str]) -> AudioFormat:
    fields: dict[str, object] = {}
    for key in ("sampleRate", "channels", "frameMs"):
        if key in given:
            if not re.fullmatch(r"[0-9]{1,6}", given[key]):
                raise Refused(BAD_REQUEST, f"{key}={given[key][:20]!r}: a whole number")
            fields[key] = int(given[key])
    if "codec" in given:
        fields["codec"] = given["codec"]
    try:
        return AudioFormat.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "format"
        value = str(given.get(where, ""))[:20]
        what = f"{where}={value!r}: " if first["loc"] else ""
        raise Refused(BAD_REQUEST, what + first["msg"].removeprefix("Value error, ")) from None
