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

from voxtra.errors import ConfigurationError, SessionError
from voxtra.media.line import Line
from voxtra.recording.sink import LocalFileSink, RecordingMetadata, RecordingSink, check_name
from voxtra.recording.stereo import StereoRecorder

log = logging.getLogger("voxtra.recording")

DEFAULT_FOLDER = "recordings"
SINK_DEADLINE_S = 60.0
"""How long a sink may take; the file is kept where it is when it takes longer."""

_numbers = itertools.count(1)


class CallRecorder:
    """A recording under way. Made by :meth:`start`.

    Attributes:
        name: the recording's name.
        stereo: what records; its ``pause``, ``resume``, ``at`` and ``now_ms`` are the recording's.
    """

    def __init__(self, stereo: StereoRecorder, session_id: str, name: str, sink: RecordingSink) -> None:
        self.name = name
        self.stereo = stereo
        self.metadata = RecordingMetadata(session_id, name, str(stereo.path))
        self._sink = sink
        self._stopping: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        line: Line,
        session_id: str,
        name: str = "",
        fmt: str = "wav",
        sink: RecordingSink | None = None,
        under_way: CallRecorder | None = None,
    ) -> CallRecorder:
        """Record ``line`` from now on.

        Args:
            line: the call's sound.
            session_id: the call.
            name: "" makes one.
            fmt: ``wav``.
            sink: where it goes; None = :class:`LocalFileSink` on the folder ``recordings``.
            under_way: the call's recording so far, if any.

        Raises:
            SessionError: ``under_way`` is.
            ConfigurationError: the name or the format can't be.
            MediaError: the file can't be written.
        """
        if under_way is not None:
            raise SessionError(
                f"the call is being recorded already ({under_way.name!r}): record_stop() first"
            )
        if fmt != "wav":
            raise ConfigurationError(f"a recording can't be made as {fmt!r}: use 'wav'")
        name = check_name(name) if name else _made_name(session_id)
        sink = sink or LocalFileSink(DEFAULT_FOLDER)
        path = _workspace(sink) / f"{uuid.uuid4().hex}.wav"
        return cls(StereoRecorder(line, path), session_id, name, sink)

    def pause(self) -> None:
        """Record silence from now on, so that time stays aligned (card numbers, PINs). Idempotent."""
        self.stereo.pause()

    def resume(self) -> None:
        """Record again. Idempotent."""
        self.stereo.resume()

    async def stop(self) -> str:
        """End the recording and hand it to the sink, once however often this is called. Returns the name."""
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopping)
        return self.name

    async def _stop(self) -> None:
        metadata = self.metadata
        metadata.duration_seconds = round(await self.stereo.close(), 3)
        if self.stereo.error is not None:
            metadata.extra["error"] = str(self.stereo.error)
        try:
            async with asyncio.timeout(SINK_DEADLINE_S):
                await self._sink.on_recording_complete(metadata)
        except Exception:  # anyone's code: logged, and the file is kept
            log.exception("the recording %r stays at %s: its sink failed", self.name, metadata.file_path)


def _made_name(session_id: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9.-]", "-", session_id).strip(".-")[:80] or "call"
    return f"{safe}-{next(_numbers)}"


def _workspace(sink: RecordingSink) -> Path:
    if sink.workspace is not None:
        return sink.workspace
    # Private to this user: what is said on a call is nobody else's.
    folder = Path(tempfile.gettempdir()) / f"voxtra-recordings-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="voxtra-recordings-"))
    return folder
