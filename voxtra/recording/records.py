"""Records of calls: one document each, as JSON and as a page, through a sink like any recording's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from voxtra.errors import CodecError, ConfigurationError, MediaError, VoxtraError
from voxtra.events import VoxtraEvent
from voxtra.recording.call import DEFAULT_FOLDER
from voxtra.recording.peaks import outline
from voxtra.recording.record import CallRecord, Recorded
from voxtra.recording.report import render_report
from voxtra.recording.sink import LocalFileSink, RecordingMetadata, RecordingSink
from voxtra.recording.spooled import SpooledSink
from voxtra.recording.timeline import save_text

log = logging.getLogger("voxtra.recording")

LAYOUT = "{date:%Y/%m/%d}/{name}.{format}"
DRAFT_S = 5.0
"""How often what has happened so far is written down, so that a crash leaves that much of it."""
SINK_S = 60.0
"""How long the sink may take."""
MAX_SHOWN = 1000
"""Characters of a value that is no JSON."""
POINTS = 1600
"""Of a waveform in the page."""


class CallRecords:
    """Writes a record of every call of an app: ``VoxtraApp(call_records=...)`` does the rest.

    While a call goes on its record so far is written to the sink's workspace every few seconds: with a
    :class:`SpooledSink` a crash leaves that, and it is delivered as ``recovered/...`` by the next start.

    Args:
        sink: where they go: a sink, or a folder. A folder gets a spool of its own (``.spool``), and
            ``2026/01/31/<call>.json`` and ``.html``.
        page: write the page too.
        keep_days: of a folder: remove records that are older; 0 = keep them for ever.

    Raises:
        ConfigurationError: the sink is none.
    """

    def __init__(
        self, sink: RecordingSink | str | PathLike[str], *, page: bool = True, keep_days: float = 0
    ) -> None:
        if isinstance(sink, str | PathLike):
            if not str(sink):
                raise ConfigurationError("call_records: name a folder, or give a RecordingSink")
            files = LocalFileSink(sink, name=LAYOUT, keep_days=keep_days)
            sink = SpooledSink(files, Path(sink) / ".spool")
        elif not hasattr(sink, "on_recording_complete"):
            raise ConfigurationError(f"call_records={sink!r}: should be a RecordingSink, or a folder")
        elif keep_days:
            raise ConfigurationError("call_records: with a sink, keep_days is the sink's own")
        self.sink = sink
        self.page = page
        self._open: set[OpenRecord] = set()

    def begin(self, call: Mapping[str, Any]) -> OpenRecord:
        """Begin the record of a call. ``call``: facts of it, see :class:`~voxtra.recording.record.CallRecord`."""
        record = OpenRecord(self, call)
        self._open.add(record)
        return record

    def share(self, processes: int) -> None:
        """So many processes run this app side by side. Before :meth:`start`."""
        if isinstance(self.sink, RecordingSink):
            self.sink.share(processes)

    async def start(self) -> None:
        """Start the sink. Raises as it does."""
        await self.sink.start()

    async def close(self) -> None:
        """Write what is not written yet, and close the sink. Idempotent."""
        await asyncio.gather(*(each.finish() for each in list(self._open)))
        await self.sink.close()


class OpenRecord:
    """The record of a call that lives. Made by :meth:`CallRecords.begin`."""

    def __init__(self, records: CallRecords, call: Mapping[str, Any]) -> None:
        self._records = records
        self._id = str(call["id"])
        self._name = _safe(self._id)
        self._record = CallRecord(call, asyncio.get_running_loop().time)
        self._key = uuid.uuid4().hex
        self._folder: Path | None = None
        self._drafted = 0
        self._over = asyncio.Event()
        self._drafting: asyncio.Task[None] | None = None
        self._finishing: asyncio.Task[None] | None = None

    def __call__(self, event: VoxtraEvent) -> None:
        """Take one event of the call."""
        self._record(event)
        if self._drafting is None and self._finishing is None:
            self._drafting = asyncio.ensure_future(self._draft())

    def watch(self, sink: RecordingSink | None) -> RecordingSink:
        """``sink``, or the default one, so that its recordings are noted here. For one recording."""
        return _Watched(self._record, sink or LocalFileSink(DEFAULT_FOLDER))

    async def finish(self, metadata: Mapping[str, Any] | None = None) -> None:
        """The call is over: hand its record to the sink. On return it is safe, or that it isn't is logged.

        Args:
            metadata: of the call, the handler's own.
        """
        if self._finishing is None:
            self._record.add_facts(metadata=_plain(metadata or {}))
            self._finishing = asyncio.ensure_future(self._finish())
        await asyncio.shield(self._finishing)

    # ---- files

    def _path(self, ending: str) -> Path:
        if self._folder is None:
            self._folder = self._records.sink.workspace or Path(DEFAULT_FOLDER) / ".partial"
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder / f"{self._name}-{self._key}.{ending}"

    async def _draft(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAFT_S):
                    await self._over.wait()
            if self._over.is_set():
                return  # never in the middle of writing: the draft would come after the record
            if self._drafted != self._record.changes:
                self._drafted = self._record.changes
                with contextlib.suppress(MediaError, OSError):  # said when it is the record itself
                    await asyncio.to_thread(save_text, self._path("json"), _text(self._record.document()))

    async def _finish(self) -> None:
        self._over.set()
        if self._drafting is not None:
            await asyncio.gather(self._drafting, return_exceptions=True)
        try:
            document = self._record.document()
            shapes = [(each.started_ms, each.outline) for each in self._record.recordings if each.outline]
            await self._hand_over("json", _text(document))
            if self._records.page:
                page = await asyncio.to_thread(render_report, document, shapes=shapes)
                await self._hand_over("html", page)
        except (VoxtraError, OSError) as error:
            log.error("the record of %s is not whole: %s", self._id, error)
        finally:
            self._records._open.discard(self)

    async def _hand_over(self, format: str, text: str) -> None:
        path = self._path(format)
        await asyncio.to_thread(save_text, path, text)
        metadata = RecordingMetadata(self._id, self._name, str(path), None, format, {"kind": "call record"})
        try:
            async with asyncio.timeout(SINK_S):
                await self._records.sink.on_recording_complete(metadata)
        except Exception:  # anyone's code: logged, and the file is kept
            log.exception("the record of %s stays at %s: its sink failed", self._id, metadata.file_path)


class _Watched(RecordingSink):
    """Notes a recording on its way to its sink."""

    def __init__(self, record: CallRecord, sink: RecordingSink) -> None:
        self._sink = sink
        self._noted = Recorded("", "", record.now_ms)
        self._record = record

    @property
    def workspace(self) -> Path | None:
        return self._sink.workspace

    def refusal(self) -> str:
        return self._sink.refusal()

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        noted = self._noted
        noted.name, noted.format = metadata.name, metadata.format
        noted.duration_seconds = metadata.duration_seconds
        self._record.recorded(noted)
        with contextlib.suppress(CodecError):  # no sound that can be drawn
            noted.outline = await asyncio.to_thread(outline, metadata.file_path, POINTS)
        try:
            await self._sink.on_recording_complete(metadata)
        except BaseException as error:
            noted.error = str(error) or type(error).__name__
            raise
        noted.uri = str(metadata.extra.get("uri", ""))


def _safe(session_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", session_id).strip(".-")[:100] or "call"


def _plain(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """As JSON may hold it, as it is now. What can't be JSON (keys that are no text, rings) is shown instead."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(metadata), default=str))
    except (TypeError, ValueError, RecursionError):
        return {str(key): repr(value)[:MAX_SHOWN] for key, value in metadata.items()}
    return found


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n"
