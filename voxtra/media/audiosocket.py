"""The AudioSocket protocol: messages of a type byte, a 16-bit big-endian length and a payload. Sans-I/O.

https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/
"""

from __future__ import annotations

import uuid
from enum import IntEnum

from voxtra.errors import AudioSocketError

HEADER_BYTES = 3
MAX_PAYLOAD_BYTES = 8192
"""Longest payload taken: 85 ms at 48 kHz. Asterisk sends 20 ms."""


class Kind(IntEnum):
    """Message types."""

    HANGUP = 0x00
    UUID = 0x01
    DTMF = 0x03
    SLIN = 0x10
    SLIN12 = 0x11
    SLIN16 = 0x12
    SLIN24 = 0x13
    SLIN32 = 0x14
    SLIN44 = 0x15
    SLIN48 = 0x16
    SLIN96 = 0x17
    SLIN192 = 0x18
    ERROR = 0xFF


AUDIO_KINDS: dict[str, Kind] = {"slin": Kind.SLIN, "slin16": Kind.SLIN16}
"""Formats that Asterisk carries both ways, and their message types."""


def build(kind: int, payload: bytes = b"") -> bytes:
    """A message."""
    return bytes((kind, len(payload) >> 8, len(payload) & 0xFF)) + payload


class Parser:
    """Cuts a byte stream into messages. Holds one incomplete message at most.

    ``feed`` raises AudioSocketError as soon as a header announces more than ``max_payload``; the
    connection is then to be closed, nothing after it can be understood.
    """

    __slots__ = ("_pending", "max_payload")

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        self.max_payload = max_payload
        self._pending = b""

    @property
    def pending(self) -> int:
        """Bytes of an incomplete message."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take bytes; give the (type, payload) of every message they complete."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        messages: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while size - at >= HEADER_BYTES:
            length = data[at + 1] << 8 | data[at + 2]
            if length > self.max_payload:
                raise AudioSocketError(
                    f"AudioSocket message of type 0x{data[at]:02x} announces {length} B, "
                    f"more than {self.max_payload} B"
                )
            end = at + HEADER_BYTES + length
            if end > size:
                break
            messages.append((data[at], data[at + HEADER_BYTES : end]))
            at = end
        if at < size:
            self._pending = data[at:]
        return messages


class Handshake:
    """The first message of a connection: nothing but one UUID, of which 19 bytes are read at most."""

    __slots__ = ("_data", "rest")

    def __init__(self) -> None:
        self._data = b""
        self.rest = b""
        """What came after the UUID."""

    def feed(self, data: bytes) -> uuid.UUID | None:
        """Take bytes; the caller's UUID once it is complete.

        Raises:
            AudioSocketError: the peer says something else first.
        """
        self._data += data
        head = self._data[:HEADER_BYTES]
        if head != b"\x01\x00\x10"[: len(head)]:
            raise AudioSocketError(f"AudioSocket peer began with {head.hex()} instead of its UUID")
        if len(self._data) < HEADER_BYTES + 16:
            return None
        self.rest = self._data[HEADER_BYTES + 16 :]
        number = uuid.UUID(bytes=self._data[HEADER_BYTES : HEADER_BYTES + 16])
        self._data = b""
        return number
