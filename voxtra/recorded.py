"""The verbs of a call that record it, and the pause in which nothing of it is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from voxtra._checks import checked
from voxtra.calls.leg import Leg
from voxtra.calls.tap import CallTapper
from voxtra.errors import ConfigurationError, SessionError
from voxtra.events import ErrorEvent, EventType, VoxtraEvent
from voxtra.live import LiveCall
from voxtra.shared import Shared

if TYPE_CHECKING:
    from voxtra.recording.call import CallRecorder, Source
    from voxtra.recording.sink import RecordingSink

log = logging.getLogger("voxtra.call")

_KEPT = ("call.", "media.", "session.", "recording.")
"""Beginnings of the types of event that say nothing of what was said or keyed."""
_BEGINNING = {
    EventType.AGENT_SPEECH_ENDED: EventType.AGENT_SPEECH_STARTED,
    EventType.AGENT_RESPONSE: EventType.AGENT_THINKING,
}
"""What is told at its end with all its words → the event of its beginning."""
WITHHELD = "withheld: the recording is paused"


class Recorded:
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _shared: Shared
    _leg: Leg
    _live: LiveCall
    _recorder: CallRecorder | None
    _record_lock: asyncio.Lock
    _watch_recording: Callable[[RecordingSink | None], RecordingSink | None]
    _default_recording_sink: RecordingSink | None
    _dtmf_queue: asyncio.Queue[str]
    _begun_in_pause: frozenset[EventType | None] = frozenset()
    id: str

    if TYPE_CHECKING:

        async def _ready(self) -> None:
            """See CallSession."""

        def _emit(self, event: VoxtraEvent) -> None: ...

    async def record_start(
        self, name: str = "", fmt: str = "wav", *, sink: RecordingSink | None = None, source: Source = "auto"
    ) -> str:
        """Record the call in stereo, left the caller, right what the caller hears. Returns the name.

        On a disk that is nearly full nothing is recorded: that is logged and told as an ``error`` event, and the
        call goes on.

        Args:
            name: "" makes one.
            fmt: ``wav``; ``flac`` or ``opus`` (Ogg) with ``voxtra[sounds]``.
            sink: where the recording goes when it is complete; None = the app's, or ``recordings/`` here.
            source: ``auto`` records what passes through the app's own line, and lets Asterisk record the call
                where it is elsewhere (bridged, on hold, in a queue, hearing a prompt); ``media`` leaves those
                silent; ``asterisk`` lets Asterisk record all of it.

        Raises:
            SessionError: a recording is under way already.
            ConfigurationError: the name, format, sink or source can't be.
            MissingExtraError: what makes the format is not installed.
            MediaError: the file can't be written.
            CallEndedError: the call is over.
        """
        from voxtra.recording.admission import not_recorded
        from voxtra.recording.call import CallRecorder, check_source

        check_source(source)
        checked("name", name, (str,), "text, '' to have one made")
        if sink is not None and not hasattr(sink, "on_recording_complete"):
            raise ConfigurationError(f"sink={sink!r}: should be a RecordingSink")
        await self._ready()
        if source != "asterisk":
            await self._live.sound()
        media = self._live.media
        goal = self._watch_recording(sink or self._default_recording_sink)
        if (refused := not_recorded(goal, self.id)) is not None:
            self._emit(refused)
            return name
        async with self._record_lock:
            self._leg.check()
            self._recorder = await CallRecorder.start(
                media.line if media is not None else None,
                self.id,
                name,
                fmt,
                goal,
                self._recorder,
                source=source,
                tapper=CallTapper(self._shared.ari, self._shared.switchboard, self._leg),
                away=self._live.is_elsewhere,
                paused=self._live.private,
            )
            self._live.follower = self._recorder
            return self._recorder.name

    async def record_stop(self) -> str | None:
        """End the recording and hand it to its sink. Returns its name, None when there was none."""
        async with self._record_lock:  # one that is being begun is ended too
            recorder, self._recorder = self._recorder, None
            if recorder is None:
                return None
            self._live.follower = None
        return await recorder.stop(self._leg.ended_at)

    @property
    def recording(self) -> CallRecorder | None:
        """The recording under way; its ``stereo.at`` tells media time."""
        return self._recorder

    # ---- what nobody may keep

    @property
    def record_paused(self) -> bool:
        """True between ``record_pause()`` and ``record_resume()``."""
        return self._live.private

    async def record_pause(self) -> None:
        """Keep nothing of what is said or keyed from now on (card numbers, PINs). Idempotent.

        The recording is silent and its time goes on; no recogniser hears the caller; no event tells of words,
        keys or tools, so no webhook, log, timeline or call record has them. ``listen_dtmf`` and ``on_dtmf`` give
        the handler its keys as ever. Holds with or without a recording under way, until :meth:`record_resume`.
        """
        async with self._record_lock:  # a recording being begun, or a pause being ended, is not missed
            if self._live.private:
                return
            self._live.keep_private(True)
            self._emit(VoxtraEvent(type=EventType.RECORDING_PAUSED))
            if self._recorder is not None:
                await self._recorder.pause()

    async def record_resume(self) -> None:
        """Keep what is said and keyed again. Keys of the pause that nobody has asked for are forgotten. Idempotent."""
        async with self._record_lock:
            if not self._live.private:
                return
            if self._recorder is not None:
                await self._recorder.resume()
            while not self._dtmf_queue.empty():
                self._dtmf_queue.get_nowait()
            self._live.keep_private(False)
            self._emit(VoxtraEvent(type=EventType.RECORDING_RESUMED))

    def _may_listen(self) -> None:
        if self._live.private:
            raise SessionError(
                "nothing is recognised while the recording is paused: ask for keys with listen_dtmf(), or "
                "record_resume() first"
            )

    def _withheld(self, event: VoxtraEvent) -> bool:
        """Whether nobody may be told of this event; takes out of it what nobody may be told."""
        private = self._live.private
        begin = _BEGINNING.get(event.type)
        begun_in_pause = begin in self._begun_in_pause
        self._begun_in_pause -= {event.type, begin}
        if private and event.type in _BEGINNING.values():
            self._begun_in_pause |= {event.type}
        if not private:
            return begun_in_pause
        if event.type.startswith(_KEPT):
            return False
        if isinstance(event, ErrorEvent):
            event.message = WITHHELD
            event.data = {}
            return False
        return True
