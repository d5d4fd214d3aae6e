"""One thing that one sink is to get, as a spool keeps it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

COLUMNS = "id, sink, key, lane, kind, body, file, size, attempts, created, due, state, error"
"""Of a row, in order."""


@dataclass(slots=True)
class Entry:
    """One thing that one sink is to get.

    Attributes:
        id: grows with each.
        sink: who gets it.
        key: the same whenever it is delivered again; receivers may tell by it.
        lane: entries of one lane go out one after another, "" = in any order.
        kind: ``recording``, ``notice`` (of a recording that is stored) or ``webhook``.
        body: what there is to say, JSON-able.
        file: name of its file in the spool, "" = none.
        size: of the file, bytes.
        attempts: deliveries begun.
        created, due: when it came, and when it is tried next; s since the epoch.
        state: ``pending``, ``taken`` (being delivered), ``dead`` (given up) or ``done``.
        error: why it failed last.
    """

    sink: str
    key: str
    kind: str
    body: dict[str, Any] = field(default_factory=dict)
    lane: str = ""
    file: str = ""
    size: int = 0
    id: int = 0
    attempts: int = 0
    created: float = 0.0
    due: float = 0.0
    state: str = "pending"
    error: str = ""

    @classmethod
    def of(cls, row: Sequence[Any]) -> Entry:
        """From a row."""
        values = dict(zip(COLUMNS.split(", "), row, strict=True))
        return cls(**values | {"body": json.loads(values["body"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)
