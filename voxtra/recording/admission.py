"""Whether a recording may begin: not on a disk that is nearly full. The call goes on without it."""

from __future__ import annotations

import logging

from voxtra.errors import SpoolError
from voxtra.events import ErrorEvent
from voxtra.recording.sink import RecordingSink

log = logging.getLogger("voxtra.recording")


def not_recorded(sink: RecordingSink | None, session_id: str) -> ErrorEvent | None:
    """What there is to tell when ``sink`` had better get no recording now; None when it may. Logs it."""
    why = sink.refusal() if isinstance(sink, RecordingSink) else ""
    if not why:
        return None
    message = f"not recorded, the call goes on: {why}"
    log.error("%s: %s", session_id, message, extra={"call_id": session_id})
    return ErrorEvent(error_type=SpoolError.__name__, message=message)
