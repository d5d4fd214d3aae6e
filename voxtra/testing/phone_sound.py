"""The sound side of a test call: speaking, pressing keys, and measuring on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxtra.testing import rtp
from voxtra.testing.phone_media import PhoneMedia
from voxtra.testing.phone_transport import PhoneError
from voxtra.testing.rtp import Packet

_LOOK_S = 0.005  # how often a wait for voice or silence looks; times come from the packets, not from this


class CallSound:
    """What a call says and hears. Times are ``loop.time()`` in s; sound is 16-bit mono PCM at 8 kHz."""

    def __init__(self, media: PhoneMedia) -> None:
        self._media = media

    @property
    def epoch(self) -> float:
        """When sound began to be kept: position 0 of ``received`` and ``sent``."""
        return self._media.epoch

    @property
    def received(self) -> list[Packet]:
        """Packets of sound in order of arrival."""
        return self._media.received

    @property
    def sent(self) -> list[Packet]:
        """Packets of sound that went out, silence included."""
        return self._media.sent

    @property
    def digits(self) -> str:
        """Keys the far end pressed so far."""
        return "".join(digit for _, digit in self._media.digits)

    @property
    def digit_times(self) -> list[tuple[float, str]]:
        """(arrival, digit) of each of them."""
        return self._media.digits

    @property
    def on_packet(self) -> Callable[[Packet], None] | None:
        """Called with every packet of sound, on the spot."""
        return self._media.on_packet

    @on_packet.setter
    def on_packet(self, callback: Callable[[Packet], None] | None) -> None:
        self._media.on_packet = callback

    @property
    def on_digit(self) -> Callable[[str], None] | None:
        """Called with every digit the far end presses."""
        return self._media.on_digit

    @on_digit.setter
    def on_digit(self, callback: Callable[[str], None] | None) -> None:
        self._media.on_digit = callback

    @property
    def microphone(self) -> Callable[[bytes], bytes] | None:
        """Gets each 20 ms of what is played into the call (PCM, silence included), returns what is sent instead: the
        place to mix in echo or noise."""
        return self._media.microphone

    @microphone.setter
    def microphone(self, callback: Callable[[bytes], bytes] | None) -> None:
        self._media.microphone = callback

    def play(self, pcm: bytes) -> None:
        """Queue sound. It is sent as PCMU, a frame every 20 ms; silence is sent when nothing waits.

        Raises:
            MediaError: more than ten minutes would wait.
        """
        self._media.play(rtp.pcm_to_ulaw(pcm))

    def stop_playing(self) -> None:
        """Throw away what was not sent yet."""
        self._media.stop_playing()

    @property
    def playing(self) -> bool:
        """True while sound or digits wait to be sent."""
        return self._media.playing

    async def played(self, timeout: float | None = None) -> None:
        """Wait until all sound and digits are sent. Raises PhoneError 408 5 s after they should have been."""
        patience = self._media.waiting_s + 5.0 if timeout is None else timeout
        try:
            async with asyncio.timeout(patience):
                await self._media.played()
        except TimeoutError:
            raise PhoneError(f"sound not sent within {patience:.1f} s", 408, "no sound address") from None

    async def send_dtmf(self, digits: str, *, duration_ms: int = 100, gap_ms: int = 100) -> None:
        """Press keys (RFC 4733) and wait until they are sent.

        Args:
            digits: ``0-9 * # A-D``.
            duration_ms: how long each is held.
            gap_ms: pause after each.
        """
        if not digits or set(digits.upper()) - set(rtp.DIGITS):
            raise ValueError(f"digits {digits!r}: want 0-9, *, #, A-D")
        if self._media.telephone_event is None:
            raise PhoneError("keys can't be sent", 488, "the far end takes no telephone-events")
        for digit in digits.upper():
            self._media.press(digit, duration_ms, gap_ms)
        await self.played()

    def received_pcm(self) -> bytes:
        """All that came in, laid out by media time from ``epoch``: gaps are silence."""
        return rtp.lay_out(self.received)

    def sent_pcm(self) -> bytes:
        """All that went out, on the same clock as ``received_pcm``."""
        return rtp.lay_out(self.sent)

    def first_voice_after(self, time: float) -> float | None:
        """Arrival of the first voiced packet at or after ``time``; None when there was none yet."""
        return next((packet.time for packet in self._since(time) if packet.voiced), None)

    def last_voice_before(self, time: float) -> float | None:
        """Arrival of the last voiced packet at or before ``time``; None when there was none."""
        return next((p.time for p in reversed(self.received) if p.time <= time and p.voiced), None)

    def silence_after(self, time: float, *, quiet_ms: int = 200) -> float | None:
        """When the voice stopped: end of the last voiced packet after ``time`` that ``quiet_ms`` without
        voice follow. ``time`` itself when there was no voice at all; None when it has not been quiet so long.

        Packets that stop coming are silence, too.
        """
        quiet_from = time
        for packet in self._since(time):
            if packet.voiced:
                if packet.time - quiet_from >= quiet_ms / 1000:
                    return quiet_from
                quiet_from = packet.time + len(packet.payload) / rtp.RATE
        now = asyncio.get_running_loop().time()
        return quiet_from if now - quiet_from >= quiet_ms / 1000 else None

    async def voice(self, *, after: float | None = None, timeout: float = 5.0) -> float:
        """Wait for voice; returns the arrival of its first packet at or after ``after`` (None: now).

        Raises:
            PhoneError: 408, none came within ``timeout``.
        """
        start = asyncio.get_running_loop().time() if after is None else after
        return await self._look(lambda: self.first_voice_after(start), timeout, "voice")

    async def silence(
        self, *, after: float | None = None, quiet_ms: int = 200, timeout: float = 10.0
    ) -> float:
        """Wait until the far end is quiet; returns when its voice stopped, see ``silence_after``."""
        start = asyncio.get_running_loop().time() if after is None else after
        return await self._look(lambda: self.silence_after(start, quiet_ms=quiet_ms), timeout, "silence")

    async def received_digits(self, count: int, timeout: float = 5.0) -> str:
        """Wait until ``count`` digits have come; returns all so far. Raises PhoneError 408."""
        await self._look(
            lambda: True if len(self._media.digits) >= count else None, timeout, f"{count} digits"
        )
        return self.digits

    async def _look(self, find: Callable[[], float | None], timeout: float, what: str) -> float:
        until = asyncio.get_running_loop().time() + timeout
        while (found := find()) is None:
            if asyncio.get_running_loop().time() >= until:
                raise PhoneError(
                    f"no {what} within {timeout:.1f} s", 408, f"{len(self.received)} packets came"
                )
            await asyncio.sleep(_LOOK_S)
        return found

    def _since(self, time: float) -> list[Packet]:
        """Received packets at or after ``time``, found from the end."""
        index = len(self.received)
        while index and self.received[index - 1].time >= time:
            index -= 1
        return self.received[index:]
