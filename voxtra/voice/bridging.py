"""What both faces of an audio bridge share: its arguments, its directions, who hears a frame."""

from __future__ import annotations

from collections.abc import Callable

from voxtra.voice.arguments import format_of, made
from voxtra.voice.delivery import Delivery
from voxtra.voice.dialer import Dialer
from voxtra.voice.errors import bad_argument
from voxtra.voice.http import Http
from voxtra.voice.link import Transport
from voxtra.voice.tap import Tap
from voxtra.wire import BridgeToken, Role, SoundFrame, Track

OnFrame = Callable[[bytes, int], object]
"""Is called with one codec frame and its time in µs."""

_HEARS: dict[Role, Track] = {"server": "uplink", "caller": "downlink"}


class Hearer:
    """Hands frames to whoever hears them at the moment."""

    def __init__(self, callback: OnFrame | None, delivery: Delivery) -> None:
        self.delivery = delivery
        self.callback = callback

    def hear(self, frame: SoundFrame) -> None:
        """One frame has come."""
        if self.callback is not None:
            self.delivery.put(self.callback, frame.payload, frame.timestamp_us)

    def ended(self, call_over: bool) -> None:
        """No frame comes any more. At the end of a call its last words are still heard out."""
        self.delivery.close(finish=call_over)
        self.callback = None


class Attaching:
    """The arguments of an attach, looked at before anything is sent.

    Raises:
        VoiceError: BAD_ARGUMENT.
    """

    def __init__(
        self,
        http: Http,
        relay_host: str,
        role: Role,
        call_sid: str,
        callback: OnFrame | None,
        codec: str,
        sample_rate: int,
        channels: int,
        frame_ms: int,
        transport: Transport,
    ) -> None:
        check_callback(callback, f"on_{_HEARS[role]}")
        self.role = role
        self.callback = callback
        self.format = format_of(codec, sample_rate, channels, frame_ms)
        self.request = made(BridgeToken, org_id=http.org_id, sid=call_sid, role=role)
        self._dialer = Dialer(http, self.request, self.format, transport, relay_host)

    async def open(self, hearer: Hearer) -> Tap:
        """Connect.

        Raises:
            VoiceError: it could not be had.
        """
        tap = Tap(f"bridge of {self.request.sid}", self._dialer, self.format, hearer.hear, hearer.ended)
        await tap.open()
        return tap


def check_callback(callback: object, name: str) -> None:
    """Raise VoiceError for what can't be called; None stands for nobody."""
    if callback is not None and not callable(callback):
        raise bad_argument(f"{name} = {callback!r}: should be a function of (frame, timestamp_us)", name)


def check_role(role: Role, wanted: Role, verb: str) -> None:
    """Raise VoiceError when a bridge of that role has no such verb."""
    if role != wanted:
        other, way = ("attach_caller", "attach") if role == "server" else ("attach", "attach_caller")
        raise bad_argument(f"{verb}: this bridge was made by {way}; {other} makes one that has it")
