"""The verbs of a call for those who carry its sound elsewhere: its line, and seats beside it."""

from __future__ import annotations

from voxtra.calls.leg import Leg
from voxtra.calls.seat import Seat
from voxtra.live import LiveCall
from voxtra.media.line import Line


class Bridging:
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _leg: Leg
    _live: LiveCall

    async def open_line(self) -> Line:
        """The call's line, opened where there is none. Answers nothing, and closes nothing.

        ``line.listen(sink)`` hears the caller, ``line.play(pcm)`` speaks after what is queued already. Before
        the answer, on hold and in a bridge with others the line is paused. A line may close while the call
        lives on (``line.closed``): ask again for the one that takes its place.

        Raises:
            CallEndedError: the call is over.
            MediaError, ARIError: no line came about.
        """
        return (await self._live.sound()).line

    async def take_seat(self) -> Seat:
        """A place of its own in the call, for somebody who is neither the phone nor the app.

        The phone, the app and its agent hear what ``seat.line`` plays, and it hears them. The seat follows
        the call into bridges and back, and ends with it. Before the answer nobody hears it.

        Raises:
            CallEndedError: the call is over.
            MediaError, ARIError: no line came about.
        """
        return await self._live.take_seat()
