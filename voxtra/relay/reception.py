"""Who may attach to which call, and the sound they share there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from voxtra.errors import TokenError
from voxtra.relay.calls import RelayCalls
from voxtra.relay.request import GONE, NOT_FOUND, TOO_MANY, UNAUTHORIZED, Refused, Wanted, read
from voxtra.relay.sound import SeatSound, Sound
from voxtra.session import CallSession
from voxtra.tokens import RelayKeys
from voxtra.wire import Role


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the relay takes on.

    Attributes:
        attachments: connections of all calls.
        per_call: connections of one call.
        seats: callers by network on one call, each a channel in Asterisk; they count among ``per_call`` too.
        waiting_s: sound of one publisher that may wait to be heard, s.
    """

    attachments: int = 1_000
    per_call: int = 32
    seats: int = 8
    waiting_s: float = 30.0


@dataclass(slots=True)
class RelayStats:
    """What the relay has done. Frames are those of tracks.

    Attributes:
        attached: connections now.
        admitted, refused: connections so far.
        frames_out: given to transports; ``frames_unread`` of them dropped, because their reader was slow.
        frames_in: came from publishers; ``frames_flooded`` dropped because too much waited already or there
            was no line, ``frames_late`` because their time was over.
        malformed: messages that were no frame.
    """

    attached: int = 0
    admitted: int = 0
    refused: int = 0
    frames_out: int = 0
    frames_unread: int = 0
    frames_in: int = 0
    frames_flooded: int = 0
    frames_late: int = 0
    malformed: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody who may attach."""

    call: CallSession
    role: Role
    wanted: Wanted
    key: tuple[str, str]


@dataclass(slots=True)
class _Call:
    """What is attached to one call."""

    call: CallSession
    servers: int = 0
    callers: int = 0
    sound: Sound | None = None


@dataclass(slots=True)
class Reception:
    """Admits, and keeps one :class:`Sound` a call for all servers on it, one a seat for callers."""

    calls: RelayCalls
    keys: RelayKeys
    limits: Limits = field(default_factory=Limits)
    stats: RelayStats = field(default_factory=RelayStats)
    _calls: dict[tuple[str, str], _Call] = field(default_factory=dict)

    def admit(self, path: str, query: str) -> Admission:
        """Whether this connection may be. Nothing is started before it is.

        Raises:
            Refused: with what to tell it.
        """
        try:
            return self._admit(read(path, query))
        except Refused:
            self.stats.refused += 1
            raise

    def _admit(self, wanted: Wanted) -> Admission:
        try:
            grant = self.keys.verify(wanted.token)
        except TokenError as error:
            raise Refused(UNAUTHORIZED, str(error)) from None
        if wanted.sid not in grant.sids:
            raise Refused(UNAUTHORIZED, "the token is for another call")
        role = wanted.role or grant.role or "server"
        if grant.role is not None and role != grant.role:
            raise Refused(UNAUTHORIZED, f"the token is for the role {grant.role}, not {role}")
        call = self.calls.find(grant.org, wanted.sid)
        if call is None or not call.is_active:
            raise Refused(NOT_FOUND, f"no living call {wanted.sid}")
        if self.stats.attached >= self.limits.attachments:
            raise self._full()
        return Admission(call, role, wanted, (grant.org, wanted.sid))

    @asynccontextmanager
    async def attach(self, admission: Admission) -> AsyncIterator[Sound]:
        """The sound to hear and to speak on, kept as long as the context lasts.

        Raises:
            Refused: the call has too many already, or ended this moment.
        """
        at = self._at(admission)
        caller = admission.role == "caller"
        at.callers += caller
        at.servers += not caller
        self.stats.attached += 1
        self.stats.admitted += 1
        seat: Sound | None = None
        try:
            sound: Sound
            if caller:
                sound = seat = SeatSound(at.call)
            else:
                sound = at.sound = at.sound or Sound(at.call, at.call.open_line)
            await sound.opened()
            if sound.ended.done():
                raise Refused(GONE, sound.ended.result())
            yield sound
        finally:
            self.stats.attached -= 1
            at.callers -= caller
            at.servers -= not caller
            await self._leave(admission.key, at, seat)

    def _full(self) -> Refused:
        return Refused(TOO_MANY, f"{self.limits.attachments} connections, as many as this relay takes")

    def _at(self, admission: Admission) -> _Call:
        if self.stats.attached >= self.limits.attachments:  # many were admitted at once
            self.stats.refused += 1
            raise self._full()
        at = self._calls.get(admission.key)
        if at is None or at.call is not admission.call:
            at = self._calls[admission.key] = _Call(admission.call)
        if at.callers + at.servers >= self.limits.per_call:
            self.stats.refused += 1
            raise Refused(TOO_MANY, f"{self.limits.per_call} connections on this call, as many as it takes")
        if admission.role == "caller" and at.callers >= self.limits.seats:
            self.stats.refused += 1
            raise Refused(TOO_MANY, f"{self.limits.seats} callers on this call, as many as it takes")
        return at

    async def _leave(self, key: tuple[str, str], at: _Call, seat: Sound | None) -> None:
        sound = None
        if not at.servers:
            sound, at.sound = at.sound, None
        if not at.servers and not at.callers and self._calls.get(key) is at:
            del self._calls[key]
        for each in (seat, sound):
            if each is not None:
                await each.close()
