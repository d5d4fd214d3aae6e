"""Server-sent events out of bytes (WHATWG HTML, "Server-sent events"). No I/O."""

from __future__ import annotations

from dataclasses import dataclass

MAX_EVENT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its ``event:``, its ``data:`` lines joined, and the last ``id:`` so far."""

    name: str
    data: str
    id: str


class SSEParser:
    """Takes bytes in any pieces, gives whole events. Comments and unknown fields are passed over."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._name = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that are whole now.

        Raises:
            ValueError: an event is longer than 1 MiB, or not UTF-8.
        """
        self._buffer += data
        found: list[ServerEvent] = []
        while (line := self._line()) is not None:
            if event := self._take(line):
                found.append(event)
        if len(self._buffer) + self._size > MAX_EVENT_BYTES:
            raise ValueError(f"an event of more than {MAX_EVENT_BYTES} B")
        return found

    def _line(self) -> str | None:
        """The next line, ended by LF, CR or CRLF; a CR at the very end may be half a CRLF."""
        ends = [at for at in (self._buffer.find(b"\n"), self._buffer.find(b"\r")) if at >= 0]
        if not ends:
            return None
        end = min(ends)
        after = end + 1
        if self._buffer[end] == 13:
            if after == len(self._buffer):
                return None
            after += self._buffer[after] == 10
        line = bytes(self._buffer[:end])
        del self._buffer[:after]
        return line.decode("utf-8")

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            done = (
                ServerEvent(self._name or "message", "\n".join(self._data), self._id) if self._data else None
            )
            self._name, self._data, self._size = "", [], 0
            return done
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
            self._size += len(value)
        elif field == "id" and "\0" not in value:
            self._id = value
        return None
