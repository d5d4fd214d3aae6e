"""Cuts a stream of text into clauses that can be spoken as soon as each stands."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

MIN_CLAUSE = 12
"""Shorter pieces wait for what follows, or speech would sound chopped."""
MAX_CLAUSE = 240
"""A piece this long is cut at its last space even without punctuation."""

_END = re.compile(r"""[.!?…]+["')\]]*(?=\s)|[。！？]|\n+""")
_ABBREVIATION = re.compile(r"(?:\b(?:mr|mrs|ms|dr|prof|st|no|vs|etc|e\.g|i\.e|a\.m|p\.m|[a-z])|\d)\.$", re.IGNORECASE)


class ClauseSplitter:
    """``push`` text, get whole clauses; ``flush`` gives the rest.

    A clause ends at a full stop, question or exclamation mark that white space follows, or a line
    break; "Mr.", "3." and single letters do not end one.
    """

    def __init__(self) -> None:
        self._rest = ""

    def push(self, text: str) -> list[str]:
        """The clauses that ``text`` completes."""
        self._rest += text
        out: list[str] = []
        start = 0
        for match in _END.finditer(self._rest):
            clause = self._rest[start : match.end()].strip()
            if len(clause) < MIN_CLAUSE or _ABBREVIATION.search(clause):
                continue
            out.append(clause)
            start = match.end()
        self._rest = self._rest[start:]
        while len(self._rest) > MAX_CLAUSE:
            cut = self._rest.rfind(" ", 0, MAX_CLAUSE)
            cut = cut if cut > 0 else MAX_CLAUSE
            out.append(self._rest[:cut].strip())
            self._rest = self._rest[cut:]
        return [clause for clause in out if clause]

    def flush(self) -> str:
        """What is left, "" when nothing is."""
        rest, self._rest = self._rest.strip(), ""
        return rest


async def clauses(text: str | AsyncIterable[str]) -> AsyncIterator[str]:
    """The clauses of a text or of a stream of pieces of text, each as soon as it stands."""
    splitter = ClauseSplitter()
    if isinstance(text, str):
        for clause in splitter.push(text):
            yield clause
    else:
        async for piece in text:
            for clause in splitter.push(piece):
                yield clause
    if rest := splitter.flush():
        yield rest
