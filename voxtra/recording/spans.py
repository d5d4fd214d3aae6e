"""Stretches of a recording's axis, in samples: pauses, and what is recorded by Asterisk. Pure."""

from __future__ import annotations


class Spans:
    """Stretches that begin and end in order of time; one may still be open."""

    def __init__(self) -> None:
        self._done: list[tuple[int, int]] = []
        self._since: int | None = None

    def __bool__(self) -> bool:
        return bool(self._done) or self._since is not None

    @property
    def is_open(self) -> bool:
        """True between ``begin`` and ``end``."""
        return self._since is not None

    def begin(self, at: int) -> None:
        """A stretch begins at position ``at``; one that reaches beyond it goes on instead."""
        if self._since is None:
            if self._done and self._done[-1][1] >= at:
                at = self._done.pop()[0]
            self._since = at

    def end(self, at: int) -> None:
        """The open stretch ends before position ``at``."""
        if self._since is not None:
            if at > self._since:
                self._done.append((self._since, at))
            self._since = None

    def within(self, first: int, last: int) -> list[tuple[int, int]]:
        """What of ``first`` to ``last`` lies in stretches, in order."""
        found = []
        if self._since is not None and self._since < last:
            found.append((max(first, self._since), last))
        for since, until in reversed(self._done):
            if until <= first:
                break
            if since < last:
                found.append((max(first, since), min(last, until)))
        return found[::-1]

    def to_list(self, end: int) -> list[tuple[int, int]]:
        """All stretches, those beyond ``end`` cut off."""
        return self.within(0, end)


def silenced(pcm: bytes, at: int, spans: list[tuple[int, int]]) -> bytes:
    """16-bit ``pcm`` that lies at position ``at``, silent within ``spans`` (which lie in it)."""
    for first, last in spans:
        pcm = pcm[: (first - at) * 2] + bytes((last - first) * 2) + pcm[(last - at) * 2 :]
    return pcm
