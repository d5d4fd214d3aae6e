"""What happened on a call, in ms on one axis. Collects and sorts; only ``save`` touches a file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from voxtra.errors import MediaError
from voxtra.types import JSON

MAX_ENTRIES = 20_000
"""Turns, digits and events a call may have each; what is beyond is counted and left out."""


class Turn(TypedDict, total=False):
    """One turn. ``planned`` and ``latency`` are the agent's, ``confidence`` is the caller's."""

    speaker: str
    text: str
    start_ms: int
    end_ms: int
    interrupted: bool
    latency: dict[str, float]
    planned: str
    confidence: float


class Timeline:
    """The story of a call.

    Args:
        at: gives ms on the axis for a moment of the loop's clock (``StereoRecorder.at``), for callers of
            :meth:`ms`; without it the axis begins at 0 s of that clock.
    """

    def __init__(self, at: Callable[[float], float] | None = None) -> None:
        self._at = at or (lambda time: time * 1000)
        self.call: dict[str, JSON] = {}
        """Facts of the call, JSON-able: ``id, caller_id, called_number, direction, started, ended_by`` ..."""
        self.left_out = 0
        """Entries beyond ``MAX_ENTRIES``."""
        self._turns: list[Turn] = []
        self._digits: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []

    def ms(self, time: float) -> float:
        """A moment of the loop's clock (s) as ms on the axis."""
        return self._at(time)

    def caller_turn(
        self, text: str, start_ms: float, end_ms: float, confidence: float = 1.0, interrupted: bool = False
    ) -> None:
        """The caller said ``text``; ``confidence`` 0 to 1."""
        turn = self._turn("caller", text, start_ms, end_ms, interrupted)
        turn["confidence"] = round(confidence, 3)
        self._add(self._turns, turn)

    def agent_turn(
        self,
        text: str,
        start_ms: float,
        end_ms: float,
        interrupted: bool = False,
        latency: Mapping[str, float] | None = None,
        planned: str = "",
    ) -> None:
        """The agent was heard saying ``text``.

        Args:
            text: what was heard.
            start_ms: first sound.
            end_ms: last sound.
            interrupted: the caller broke in.
            latency: ms by owner, as ``TurnTimes.split`` gives them; ``wire``, where it was measured, is
                from the line to the first packet on the caller's wire; ``total`` is their sum.
            planned: what was to be said; "" = ``text``.
        """
        turn = self._turn("agent", text, start_ms, end_ms, interrupted)
        turn["latency"] = {name: round(ms, 1) for name, ms in (latency or {}).items()}
        turn["planned"] = planned or text
        self._add(self._turns, turn)

    def digit(self, digit: str, at_ms: float) -> None:
        """The caller pressed a key."""
        self._add(self._digits, {"digit": digit, "at_ms": round(at_ms)})

    def event(self, type: str, at_ms: float, data: Mapping[str, JSON] | None = None) -> None:
        """Something else happened: ``barge_in``, ``call.answered`` ..."""
        self._add(self._events, {"type": str(type), "at_ms": round(at_ms), "data": dict(data or {})})

    def to_dict(self) -> dict[str, Any]:
        """``{"call", "turns", "digits", "events"}``, each list ordered by time; a copy."""
        return {
            "call": dict(self.call),
            "turns": sorted((dict(turn) for turn in self._turns), key=lambda turn: turn["start_ms"]),
            "digits": sorted(self._digits, key=lambda entry: entry["at_ms"]),
            "events": sorted(self._events, key=lambda entry: entry["at_ms"]),
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write ``to_dict()`` as JSON, in one step. Blocks for a moment: for the end of a call.

        Raises:
            MediaError: it can't be written.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=str)
        save_text(path, text + "\n")

    @staticmethod
    def _turn(speaker: str, text: str, start_ms: float, end_ms: float, interrupted: bool) -> Turn:
        start = round(start_ms)
        return {
            "speaker": speaker,
            "text": text,
            "start_ms": start,
            "end_ms": max(start, round(end_ms)),
            "interrupted": interrupted,
            "latency": {},
        }

    def _add(self, entries: list[Any], entry: Any) -> None:
        if len(entries) < MAX_ENTRIES:
            entries.append(entry)
        else:
            self.left_out += 1


def save_text(path: str | PathLike[str], text: str) -> None:
    """Write a file in one step: there is the old one, or the whole new one. Raises MediaError."""
    target = Path(path)
    temporary = ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".partial", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(temporary, 0o640)
        os.replace(temporary, target)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise MediaError(f"can't write {target}: {error.strerror or error}") from error
