"""One recording of one call: from ``record_start`` to the sink."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import tempfile
import uuid
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from voxtra.errors import ConfigurationError, MediaError, SessionError
from voxtra.media.line import Line
from voxtra.recording.elsewhere import Elsewhere, Tapper
from voxtra.recording.formats import check_format, convert
from voxtra.recording.sink import LocalFileSink, RecordingMetadata, RecordingSink, check_name
from voxtra.recording.stereo import StereoRecorder

log = logging.getLogger("voxtra.recording")

DEFAULT_FOLDER = "recordings"
SINK_DEADLINE_S = 60.0
"""How long a sink may take; the file is kept where it is when it takes longer."""

Source: TypeAlias = Literal["auto", "media", "asterisk"]
"""Who records: we what passes through our line and Asterisk the rest; we alone; Asterisk alone."""

_numbers = itertools.count(1)


class CallRecorder:
    """A recording under way. Made by :meth:`start`.

    Attributes:
        name: the recording's name.
        stereo: what records; its ``at`` and ``now_ms`` are the recording's clock.
    """

    def __init__(
        self,
        stereo: StereoRecorder,
        session_id: str,
        name: str,
        sink: RecordingSink,
        *,
        fmt: str = "wav",
        elsewhere: Elsewhere | None = None,
        source: Source = "media",
    ) -> None:
        self.name = name
        self.stereo = stereo
        self.metadata = RecordingMetadata(session_id, name, str(stereo.path))
        self._sink = sink
        self._fmt = fmt
        self._elsewhere = elsewhere
        self._source: Source = source
        self._stopping: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        line: Line | None,
        session_id: str,
        name: str = "",
        fmt: str = "wav",
        sink: RecordingSink | None = None,
        under_way: CallRecorder | None = None,
        *,
        source: Source = "media",
        tapper: Tapper | None = None,
        away: bool = False,
        paused: bool = False,
    ) -> CallRecorder:
        """Record a call from now on.

        Args:
            line: the call's sound; None when Asterisk alone records.
            session_id: the call.
            name: "" makes one.
            fmt: ``wav``, ``flac`` or ``opus``.
            sink: where it goes; None = :class:`LocalFileSink` on the folder ``recordings``.
            under_way: the call's recording so far, if any.
            source: who records what.
            tapper: lets Asterisk record the call; None = nothing of what is not on the line is recorded.
            away: the call's sound is elsewhere now (it is bridged, on hold ...).
            paused: it begins in a pause.

        Raises:
            SessionError: ``under_way`` is.
            ConfigurationError: the name, the format or the source can't be.
            MissingExtraError: what makes the format is not installed.
            MediaError: the file can't be written.
        """
        if under_way is not None:
            raise SessionError(
                f"the call is being recorded already ({under_way.name!r}): record_stop() first"
            )
        check_source(source)
        check_format(fmt, line.rate if line is not None else 8000)
        name = check_name(name) if name else _made_name(session_id)
        sink = sink or LocalFileSink(DEFAULT_FOLDER)
        try:
            path = _workspace(sink) / f"{uuid.uuid4().hex}.wav"
        except OSError as error:
            raise MediaError(f"there is no place to record to: {error}") from error
        rate = line.rate if line is not None else 8000
        stereo = StereoRecorder(None, path, rate=rate, outlives=tapper is not None)
        elsewhere = None
        if tapper is not None and source != "media":
            elsewhere = Elsewhere(stereo, tapper, always=source == "asterisk")
        self = cls(stereo, session_id, name, sink, fmt=fmt, elsewhere=elsewhere, source=source)
        try:
            if line is not None:
                self.attach(line)
            if paused:
                await self.pause()
            if away or source == "asterisk":
                await self.depart()
        except BaseException:
            self._stopping = asyncio.ensure_future(self._discard())
            raise
        if not away:
            self.back()
        return self

    async def _discard(self) -> None:
        """It was broken off while it was begun: nobody knows of it."""
        self.stereo.end()
        if self._elsewhere is not None:
            await self._elsewhere.close()
        await self.stereo.close()
        await asyncio.to_thread(self.stereo.path.unlink, missing_ok=True)

    # -- the call's moves

    async def depart(self) -> None:
        """The call's sound is about to be elsewhere than on our line. Never fails."""
        if self._elsewhere is not None:
            await self._elsewhere.depart()

    def back(self) -> None:
        """The call's sound is on our line again."""
        if self._elsewhere is not None:
            self._elsewhere.back()

    def attach(self, line: Line) -> None:
        """The call has got this line."""
        if self._source == "asterisk":
            if not _opaque(line) or self._elsewhere is None:
                return
            self._elsewhere.opaque = True
        try:
            self.stereo.attach(line)
        except MediaError as error:
            log.error("the recording %r is silent in part: %s", self.name, error)
            self.metadata.extra["error"] = str(error)

    # -- what a user calls

    async def pause(self) -> None:
        """Record silence from now on, so that time stays aligned (card numbers, PINs). Idempotent.

        When this returns Asterisk writes nothing of the call either.
        """
        self.stereo.pause()
        if self._elsewhere is not None:
            await self._elsewhere.pause()

    async def resume(self) -> None:
        """Record again. Idempotent."""
        if self._elsewhere is not None:
            await self._elsewhere.resume()
        self.stereo.resume()

    async def stop(self, ended_at: float | None = None) -> str:
        """End the recording and hand it to the sink, once however often this is called. Returns the name.

        Args:
            ended_at: when the call ended, ``loop.time()`` in s; None = now.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop(ended_at))
        await asyncio.shield(self._stopping)
        return self.name

    async def _stop(self, ended_at: float | None) -> None:
        metadata = self.metadata
        self.stereo.end(ended_at)
        problems: list[str] = [error] if (error := metadata.extra.get("error")) else []
        if self._elsewhere is not None:
            try:
                await self._elsewhere.close()
            except Exception as error:  # whatever it was, the sink gets what there is
                log.exception("the recording %r: what Asterisk recorded is missing", self.name)
                problems.append(f"what Asterisk recorded is missing: {type(error).__name__}: {error}")
            problems += self._elsewhere.lost
        metadata.duration_seconds = round(await self.stereo.close(), 3)
        if pauses := self.stereo.pauses_ms:
            metadata.extra["pauses_ms"] = [list(pause) for pause in pauses]
        if self.stereo.error is not None:
            problems.insert(0, str(self.stereo.error))
        try:
            metadata.file_path = str(await convert(self.stereo.path, self._fmt))
            metadata.format = self._fmt
        except MediaError as error:  # the WAV is as good, and whole
            log.error("%s; it stays a WAV", error)
            problems.append(str(error))
        if problems:
            metadata.extra["error"] = "; ".join(problems)
        try:
            async with asyncio.timeout(SINK_DEADLINE_S):
                await self._sink.on_recording_complete(metadata)
        except Exception:  # anyone's code: logged, and the file is kept
            log.exception("the recording %r stays at %s: its sink failed", self.name, metadata.file_path)


def _opaque(line: Line) -> bool:
    """Whether Asterisk's snoop channels are deaf to what this line plays.

    Seen with Asterisk 22.10: what chan_websocket brings in a codec that is passed on as it is goes by them.
    """
    return line.transport == "websocket" and not line.codec.startswith("slin")


def check_source(source: str) -> None:
    """Raises ConfigurationError when nobody records so."""
    if source not in get_args(Source):
        raise ConfigurationError(f"record_start(source={source!r}): 'auto', 'media' or 'asterisk'")


def _made_name(session_id: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9.-]", "-", session_id).strip(".-")[:80] or "call"
    return f"{safe}-{next(_numbers)}"


def _workspace(sink: RecordingSink) -> Path:
    own: Path | None = getattr(sink, "workspace", None)  # a sink may be anything that takes recordings
    if own is not None:
        return own
    # Private to this user: what is said on a call is nobody else's.
    folder = Path(tempfile.gettempdir()) / f"voxtra-recordings-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="voxtra-recordings-"))
    return folder
