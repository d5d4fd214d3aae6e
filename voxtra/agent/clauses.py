"""Cuts a stream of text into clauses that can be spoken as soon as each stands."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator

from voxtra.agent.streams import closing

MIN_CLAUSE = 12
"""Shorter pieces wait for what follows, or speech would sound chopped."""
MAX_CLAUSE = 240
"""A piece this long is cut at its last space even without punctuation."""

_END = re.compile(r"""[.!?…]+["'”’)\]]*(?=\s)|[。！？]|\n""")
_ABBREVIATION = re.compile(
    r"(?:\b(?:mr|mrs|ms|dr|prof|st|no|vs|etc|e\.g|i\.e|a\.m|p\.m|[a-z])|\d)\.\Z", re.IGNORECASE
)


class ClauseSplitter:
    """``push`` text, get whole clauses; ``flush`` gives the rest.

    A clause ends at a full stop, question or exclamation mark that white space follows, or a line
    break; "Mr.", "3." and single letters do not end one. White space within a clause is single spaces.
    However the text is split into pieces, the clauses are the same.
    """

    def __init__(self) -> None:
        self._rest = ""

    def push(self, text: str) -> list[str]:
        """The clauses that ``text`` completes."""
        self._rest += text
        out: list[str] = []
        while True:
            # What is decided here may only depend on the first MAX_CLAUSE characters and the one after.
            self._rest = self._rest.lstrip()
            end = self._end()
            if not end:
                return out
            out.append(" ".join(self._rest[:end].split()))
            self._rest = self._rest[end:]

    def _end(self) -> int:
        """Where the first clause ends, 0 when that isn't known yet."""
        rest = self._rest
        for match in _END.finditer(rest, 0, MAX_CLAUSE + 1):
            end = match.end()
            if end > MAX_CLAUSE:
                break
            if end >= MIN_CLAUSE and not _ABBREVIATION.search(rest, 0, end):
                return end
        if len(rest) <= MAX_CLAUSE:
            return 0
        space = rest.rfind(" ", 0, MAX_CLAUSE)
        return space if space > 0 else MAX_CLAUSE

    def flush(self) -> str:
        """What is left, "" when nothing is."""
        rest, self._rest = " ".join(self._rest.split()), ""
        return rest


async def clauses(text: str | AsyncIterable[str]) -> AsyncIterator[str]:
    """The clauses of a text or of a stream of pieces of text, each as soon as it stands.

    Closing this generator closes the stream.
    """
    splitter = ClauseSplitter()
    if isinstance(text, str):
        for clause in splitter.push(text):
            yield clause
    else:
        async with closing(text) as pieces:
            async for piece in pieces:
                for clause in splitter.push(piece):
                    yield clause
    if rest := splitter.flush():
        yield rest
