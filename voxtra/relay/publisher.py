"""One publisher, whatever carries its frames: what it may send, and what becomes of it."""

from __future__ import annotations

import asyncio

from voxtra.errors import CodecError
from voxtra.relay.allowance import Allowance
from voxtra.relay.reception import Reception
from voxtra.relay.request import BAD_REQUEST, Refused
from voxtra.relay.sound import Sound
from voxtra.wire import AudioFormat, unpack

SLOW_S = 0.02
"""How long a publisher that sends more than is taken is not read from, s."""
TURN = 10
"""Messages that are taken of one publisher before the others have their turn."""


class Publisher:
    """Takes the messages of one connection.

    Args:
        reception: whose limits and counters.
        sound: where it speaks.
        form: what its frames are.
    """

    def __init__(self, reception: Reception, sound: Sound, form: AudioFormat) -> None:
        self._stats = reception.stats
        self._sound = sound
        self._speaker = sound.speaker(form, max_waiting_s=reception.limits.waiting_s)
        self._loop = asyncio.get_running_loop()
        self._allowance = Allowance(self._loop.time())
        self._counted = (0, 0)
        self._taken = 0

    async def take(self, message: bytes) -> None:
        """One message. Waits where the next is not to be read at once.

        Raises:
            Refused: it is no frame of the format.
        """
        self._taken += 1
        pause = self._take(message)
        if pause or self._taken % TURN == 0:
            await asyncio.sleep(pause)

    def _take(self, message: bytes) -> float:
        """Returns how long not to read the next, s.

        Raises:
            Refused: it is no frame of the format.
        """
        self._stats.frames_in += 1
        now = self._loop.time()
        if not (self._allowance.take(now) and self._sound.allowance.take(now)):
            self._stats.frames_flooded += 1
            return SLOW_S
        try:
            self._speaker.push(unpack(message))
        except (ValueError, CodecError) as error:
            self._stats.malformed += 1
            raise Refused(BAD_REQUEST, str(error)) from None
        finally:
            self._count()
        return SLOW_S if self._speaker.full else 0.0

    def _count(self) -> None:
        done = self._speaker.stats
        dropped, late = self._counted
        self._stats.frames_flooded += done.dropped - dropped
        self._stats.frames_late += done.late - late
        self._counted = (done.dropped, done.late)

    def close(self) -> None:
        """No more comes; what is queued is heard."""
        self._count()
        self._speaker.close()
