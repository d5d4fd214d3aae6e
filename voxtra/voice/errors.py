"""The one error that leaves the client."""

from __future__ import annotations

from voxtra.errors import VoxtraError


class VoiceError(VoxtraError):
    """Something asked of the engine could not be had. The message says what, and what would be right.

    Attributes:
        code: the engine's own (``NOT_FOUND``, ``FORBIDDEN`` ...), or the client's: ``BAD_ARGUMENT`` (nothing was
            sent), ``NETWORK`` (no connection, or it broke), ``TIMEOUT``, ``BAD_REPLY`` (no such engine there),
            ``CLOSED`` (of what was closed).
        status: HTTP status, 0 where there was none.
        field: which argument is to blame, "" for none.
        request_id: what the engine's log calls the request, "" where it didn't say.
    """

    def __init__(
        self, message: str, *, code: str, status: int = 0, field: str = "", request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.field = field
        self.request_id = request_id


def bad_argument(message: str, field: str = "") -> VoiceError:
    """The error for an argument that can't be."""
    return VoiceError(message, code="BAD_ARGUMENT", field=field)
