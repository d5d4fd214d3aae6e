"""What the relay needs of whoever knows the calls."""

from __future__ import annotations

from typing import Protocol

from voxtra.session import CallSession


class RelayCalls(Protocol):
    """The calls by organisation and sid."""

    def find(self, org: str, sid: str) -> CallSession | None:
        """The living call of that organisation; None: there is no such call, or it is another's."""
