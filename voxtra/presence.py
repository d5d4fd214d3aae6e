"""Where a call is: on its own line, with others in a bridge, on hold, or away in the dialplan."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, TypeVar

from voxtra.agent.clauses import ClauseSplitter
from voxtra.agent.client import AgentClient
from voxtra.agent.pipeline import VoicePipeline
from voxtra.agent.realtime import RealtimePipeline
from voxtra.calls.leg import Excursion, Leg, first_of
from voxtra.calls.media import CallMedia
from voxtra.calls.room import Room
from voxtra.calls.seat import Seat
from voxtra.errors import ARIError, CallEndedError, MediaError, ProviderError, TelephonyError
from voxtra.events import ErrorEvent, EventType, VoxtraEvent
from voxtra.media.line import Line
from voxtra.shared import Shared
from voxtra.speech.cache import CachedTTS

log = logging.getLogger("voxtra.call")

T = TypeVar("T")


class Follower(Protocol):
    """Follows where a call's sound is, to record it."""

    async def depart(self) -> None:
        """It is about to be elsewhere than on our line: bridged, on hold, a prompt of Asterisk's. Never fails."""

    def back(self) -> None:
        """It is on our line again."""

    def attach(self, line: Line) -> None:
        """Our line is a new one."""


class Presence(ABC):
    """A call's own line, who speaks and listens on it, and where the call is when it is not on it.

    Args:
        emit: takes the call's events.
    """

    def __init__(
        self, shared: Shared, leg: Leg, *, agent: AgentClient, emit: Callable[[VoxtraEvent], None]
    ) -> None:
        self.shared = shared
        self.leg = leg
        self.agent = agent
        self.media: CallMedia | None = None
        self.pipeline: VoicePipeline | None = None
        self.realtime: RealtimePipeline | None = None
        """The pipeline of a speech-to-speech model, while one has the line; the other one is deaf meanwhile."""
        self._away = False  # what comes from the line is not the caller speaking to us
        self.room: Room | None = None
        """The bridge it shares with others; its own media is out of it meanwhile."""
        self.seats: tuple[Seat, ...] = ()
        self.on_hold = False
        self.far_hold = False
        self.waiting = False
        """It hears ringing, or is told by REFER to call somebody: not to be joined to our line meanwhile."""
        self.private = False
        """Nothing that the caller says is to be written down, nor heard by a recogniser."""
        self.follower: Follower | None = None
        self._prompts = 0
        """Prompts that Asterisk plays now."""
        self._emit = emit
        self._opening = asyncio.Lock()
        self._holding = asyncio.Lock()
        self._moves: set[asyncio.Future[None]] = set()

    @property
    @abstractmethod
    def has_tasks(self) -> bool:
        """Whether what is begun now runs beside the call's handler."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run ``work`` beside the handler; its failure is logged and is its own."""

    @property
    def has_speech(self) -> bool:
        """Whether this call can hear or speak words."""
        return self.shared.speech.stt is not None or self.shared.speech.tts is not None

    @property
    def voice(self) -> VoicePipeline | RealtimePipeline | None:
        """Who speaks and listens on the line now."""
        return self.realtime or self.pipeline

    # ---- sound

    async def sound(self) -> CallMedia:
        """The call's media, joined to the caller; opened (again) when it isn't there.

        Raises:
            CallEndedError: the call ended before.
            MediaError, ARIError: no line came about.
        """
        self.leg.check()
        return await self.until_end(self._sound())

    async def _sound(self) -> CallMedia:
        async with self._opening:
            if self.media is not None and self.media.line.closed.done():
                await self._close_media()
            if self.media is None:
                self.media = await CallMedia.open(
                    self.shared.ari, self.shared.switchboard, self.shared.transport, self.leg
                )
                self._begin_media(self.media)
                await self._gather_seats()
            if self.leg.audible and self._is_ours:
                if not self.media.joined:
                    await self.media.join()
                    self._hears_us(True)
                self._back_on_line()
            return self.media

    def _begin_media(self, media: CallMedia) -> None:
        line = media.line
        if self.has_speech:
            self.pipeline = VoicePipeline(
                line, self.shared.speech, self.agent, turns=self.shared.turns, emit=self._emit
            )
            self.pipeline.deaf = self._deaf or self.realtime is not None
        if self.follower is not None:
            self.follower.attach(line)
        data = {"transport": line.transport, "codec": line.codec, "rate": line.rate}
        self._emit(VoxtraEvent(type=EventType.MEDIA_STARTED, data=data))
        line.closed.add_done_callback(
            lambda closed: self._emit(
                VoxtraEvent(type=EventType.MEDIA_STOPPED, data={"reason": closed.result()})
            )
        )

    async def take_seat(self) -> Seat:
        """A line of somebody's own in the call. Raises as :meth:`sound`."""
        await self.sound()
        shared = self.shared
        seat = await Seat.open(shared.ari, shared.switchboard, shared.transport, self._leave_seat)
        self.seats = (*self.seats, seat)
        try:
            self.leg.check()
            await seat.move(self._bridge_id())
        except BaseException:
            await seat.close()
            raise
        return seat

    def _leave_seat(self, seat: Seat) -> None:
        self.seats = tuple(each for each in self.seats if each is not seat)

    def _bridge_id(self) -> str:
        """Where the call's company is: the bridge it shares with others, or its own."""
        if self.room is not None and not self.room.dissolved.done():
            return self.room.id
        return self.media.bridge_id if self.media is not None else ""

    async def _gather_seats(self) -> None:
        if bridge_id := self._bridge_id():
            for seat in self.seats:
                await seat.try_move(bridge_id)

    async def conversation(self) -> VoicePipeline:
        """The pipeline on the call's line. Raises as :meth:`sound`."""
        while True:
            await self.sound()
            if self.pipeline is not None:
                return self.pipeline
            await asyncio.sleep(0)  # closed just now: by the end, or to be opened again

    @asynccontextmanager
    async def speech_to_speech(
        self, make: Callable[[Line], RealtimePipeline]
    ) -> AsyncIterator[RealtimePipeline]:
        """The line is this pipeline's as long as the context lasts. Raises as :meth:`sound`."""
        media = await self.sound()
        self.realtime = pipeline = make(media.line)
        pipeline.deaf = self._deaf
        if self.pipeline is not None:
            self.pipeline.deaf = True
        try:
            yield pipeline
        finally:
            self.realtime = None
            if self.pipeline is not None:
                self.pipeline.deaf = self._deaf

    @property
    def _deaf(self) -> bool:
        return self._away or self.private or (self.leg.early and not self.leg.up.is_set())

    def answered(self) -> None:
        """Early media is over: from now on it is somebody who speaks to us."""
        if self.voice is not None:
            self.voice.deaf = self._deaf

    def _hears_us(self, hears: bool) -> None:
        """Whether the caller hears us, and we the caller."""
        self._away = not hears
        if self.voice is not None:
            self.voice.deaf = self._deaf

    def keep_private(self, private: bool) -> None:
        """Hear no words of the caller's from now on, or hear them again."""
        self.private = private
        if self.voice is not None:
            self.voice.deaf = self._deaf

    async def _close_media(self) -> None:
        media, self.media = self.media, None
        pipeline, self.pipeline = self.pipeline, None
        if media is not None:
            await media.hush()  # first of all: every verb under way ends by it
        if pipeline is not None:
            await pipeline.close()
        if media is not None:
            await media.close()
        if self.leg.is_over:
            for seat in self.seats:
                await seat.close()

    async def prepare(self) -> None:
        """Open the line while the call rings, so that the first word needs no set-up."""
        try:
            await self.sound()
        except CallEndedError:
            pass  # it was short
        except Exception as error:  # noqa: BLE001 - said now, and raised to the handler when it wants sound
            log.warning("no sound for this call yet: %s", error)
            self._emit(ErrorEvent(error_type=type(error).__name__, message=str(error)))

    async def prepare_words(self, text: str, voice: str | None, language: str | None = None) -> None:
        """Have ``text`` synthesised, and the line open, before the answer: the call rings so long."""
        tts = self.shared.speech.tts
        work = [self.prepare()]
        if isinstance(tts, CachedTTS):
            split = ClauseSplitter()
            work.append(tts.prepare([*split.push(text), split.flush()], voice=voice, language=language))
        try:
            await self.until_end(_together(work))
        except ProviderError as error:
            log.warning("not said ahead: %s", error)

    async def until_end(self, work: Coroutine[Any, Any, T]) -> T:
        """``work``, cut short with CallEndedError when the call ends first."""
        task = asyncio.ensure_future(work)
        try:
            await first_of(task, self.leg.ended)
            if not task.done() or task.cancelled() or task.exception() is not None:
                self.leg.check()  # what fails because of the end is the end
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                task.add_done_callback(_seen)
                await asyncio.wait({task})  # not gather: cancelled here a second time, it would not clear up

    # ---- other company

    async def enter(self, room: Room, then: Callable[[], Awaitable[object]] | None = None) -> None:
        """Leave the app's own sound, or another room, for a room with others.

        Args:
            then: awaited once it is there, and before who shared the other room is told that it has left.

        Raises:
            CallEndedError: the call is gone.
        """
        before = self.room if self.room is not room else None
        try:
            await self.depart()
            self.room = room
            await room.add(self.leg, lambda: self._left(room))
            await self._gather_seats()
        except BaseException as error:
            await self._stay_out(before, error)
            raise
        try:
            if then is not None:
                await then()
        finally:
            if before is not None:
                before.forget(self.leg)

    async def _stay_out(self, before: Room | None, error: BaseException) -> None:
        """It did not get into a room: back to where it was."""
        if before is None or self.leg not in before.members:
            self.room = None
            with suppress(CallEndedError, MediaError, TelephonyError):  # the first failure is the one to tell
                await self.come_back()
            return
        self.room = before
        if not isinstance(error, ARIError) or not error.status:  # it may have been moved all the same
            bridges, switchboard = self.shared.ari.bridges, self.shared.switchboard
            switchboard.chore(
                switchboard.gone(bridges.add_channel(bridge_id=before.id, channel=[self.leg.id]))
            )

    @property
    def _is_ours(self) -> bool:
        """Whether the call is to be on our line."""
        return self.room is None and not self.on_hold and not self.waiting and self.leg.away is None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the caller hears something else than our line, or we not the caller."""
        return self._prompts > 0 or self.media is None or not self.media.joined

    @property
    def on_line(self) -> bool:
        """Whether the far end hears our line."""
        return self.media is not None and self.media.joined and not self.far_hold

    async def depart(self) -> None:
        """Before the call is moved elsewhere: who records it gets ready, and then we :meth:`part`."""
        if self.follower is not None:
            await self.follower.depart()
        self.part()
        if self.media is not None and not self.leg.is_over:
            await self.media.parted()
            self._hears_us(False)

    @asynccontextmanager
    async def prompting(self) -> AsyncIterator[None]:
        """While inside, Asterisk plays a prompt: neither it nor the caller is on our line."""
        self._prompts += 1
        try:
            if self.follower is not None:
                await self.follower.depart()
            yield
        finally:
            self._prompts -= 1
            self._back_on_line()

    def _back_on_line(self) -> None:
        if self.follower is not None and not self.is_elsewhere:
            self.follower.back()

    def part(self) -> None:
        """The caller no longer hears us, nor we the caller."""
        if self.voice is not None:
            self.voice.interrupt(anyway=True)
        self._hears_us(False)
        if self.media is not None:
            self.media.part()

    async def go_away(self, departure: Callable[[], Awaitable[object]]) -> Excursion:
        """Send the call into the dialplan; when it comes back, whenever that is, it is on our line again.

        Raises:
            CallEndedError: the call is gone.
            ARIError: Asterisk refused; the call is where it was.
        """
        try:
            await self.depart()
            away = await self.leg.excursion(departure)
        except BaseException:
            self.spawn(self.come_back(), "come_back")
            raise
        if self.room is not None:
            self.room.forget(self.leg)
        away.returned.add_done_callback(lambda _: self.spawn(self.come_back(), "come_back"))
        return away

    def _left(self, room: Room) -> None:
        if self.room is room:
            self.room = None
            if not self.leg.is_over and self.has_tasks:
                self.spawn(self.come_back(), "come_back")

    async def come_back(self) -> None:
        """Back to the app's own sound, where there was any."""
        if self.media is not None and not self.media.line.closed.done() and not self.leg.is_over:
            await self.sound()
            await self._gather_seats()
        if self._is_ours:
            self._hears_us(True)

    @contextmanager
    def being_moved(self) -> Iterator[None]:
        """While inside, the call is on its way to other company: it is not alone though its room may end."""
        moving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._moves.add(moving)
        try:
            yield
        finally:
            self._moves.discard(moving)
            moving.set_result(None)

    async def alone(self) -> None:
        """Wait until the call shares no room, nor is away in the dialplan or on its way to others, or has ended."""
        while not self.leg.is_over:
            if self.room is not None and not self.room.dissolved.done():
                await first_of(self.room.dissolved, self.leg.ended)
            elif self.leg.away is not None:
                await first_of(self.leg.away.returned, self.leg.ended)
            elif self._moves:
                await first_of(*self._moves, self.leg.ended)
            else:
                return
            await asyncio.sleep(0)

    async def hold(self, moh_class: str) -> bool:
        """Let the far end hear music instead of us. False: it does already."""
        async with self._holding:
            if self.on_hold:
                return False
            await self._begin_hold(moh_class)
            return True

    async def _begin_hold(self, moh_class: str) -> None:
        channels = self.shared.ari.channels
        try:
            await self.depart()
            self.on_hold = True
            if self.media is not None:
                await self.media.leave()
            await self.leg.do(lambda: channels.hold(channel_id=self.leg.id))
            await self.leg.do(lambda: channels.start_moh(channel_id=self.leg.id, moh_class=moh_class or None))
        except BaseException:
            begun, self.on_hold = self.on_hold, False
            if not self.leg.is_over:
                if begun:
                    self.shared.switchboard.chore(self._no_music())
                with suppress(
                    CallEndedError, MediaError, TelephonyError
                ):  # the first failure is the one to tell
                    await self.come_back()
            raise

    async def _no_music(self) -> None:
        """End a hold that was cut off: Asterisk may have begun it all the same."""
        channels, gone = self.shared.ari.channels, self.shared.switchboard.gone
        await gone(channels.stop_moh(channel_id=self.leg.id))
        await gone(channels.unhold(channel_id=self.leg.id))

    async def unhold(self, over: Callable[[], None]) -> None:
        """End the music, if there is any, and go on; ``over`` is called when it has ended, also when cut off."""
        channels = self.shared.ari.channels
        async with self._holding:
            if not self.on_hold:
                return
            await self.leg.do(lambda: channels.stop_moh(channel_id=self.leg.id))
            await self.leg.do(lambda: channels.unhold(channel_id=self.leg.id))
            self.on_hold = False
            try:
                await self.come_back()
            except asyncio.CancelledError:
                self.spawn(self.come_back(), "come_back")
                raise
            finally:
                over()

    def held_by_far_end(self, held: bool) -> None:
        """The far end has put us on hold: what we hear now is its music, and nobody hears us."""
        self.far_hold = held
        if self.voice is None or self.media is None or not self.media.joined:
            return  # elsewhere: what comes back on the line is heard
        self._hears_us(not held)
        if held:
            self.media.line.pause()
        else:
            self.media.line.resume()


async def _together(work: list[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*work)


def _seen(task: asyncio.Future[Any]) -> None:
    """What comes of work that was given up is nobody's any more."""
    if not task.cancelled():
        task.exception()
