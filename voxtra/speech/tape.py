"""What a streaming recogniser keeps of a turn: its sound, to send it again, and its words. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxtra.speech.base import Transcript


@dataclass(slots=True, frozen=True)
class Heard:
    """What a server heard in a stretch of the sound it was sent.

    Attributes:
        text: the words of that stretch.
        begin: where it begins, in ms of the sound sent on this connection.
        end: where it ends, in ms.
        is_final: True when these words will not change any more.
        answers: True when it is the answer to ``finish``.
        confidence: 0..1.
        words: (word, its middle in ms) where the server tells them.
    """

    text: str
    begin: float
    end: float
    is_final: bool = False
    answers: bool = False
    confidence: float = 1.0
    words: tuple[tuple[str, float], ...] = ()


class Tape:
    """The sound of the turn as it goes out, kept until its words are final.

    Positions are bytes since the stream was opened. Bound: ``limit`` bytes; policy when full: the oldest
    sound is lost, sent or not (``lost`` counts what never went out).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.start = 0
        self.end = 0
        self.cursor = 0
        self.lost = 0

    def append(self, sound: bytes) -> None:
        """The next sound."""
        self._kept += sound
        self.end += len(sound)
        over = len(self._kept) - self._limit
        if over > 0:
            self.lost += max(self.start + over - self.cursor, 0)
            self._drop(over)

    def read(self, limit: int) -> bytes:
        """What is to be sent next, at most ``limit`` bytes; b"" when all is out."""
        at = self.cursor - self.start
        sound = bytes(self._kept[at : at + limit])
        self.cursor += len(sound)
        return sound

    @property
    def waiting(self) -> int:
        """Bytes not sent yet."""
        return self.end - self.cursor

    def settle(self, position: int) -> None:
        """Sound before ``position`` need not be sent again."""
        count = min(position, self.cursor) - self.start
        if count > 0:
            self._drop(count)

    def forget(self, position: int) -> None:
        """Sound before ``position`` is wanted by nobody, sent or not."""
        count = position - self.start
        if count > 0:
            self._drop(count)

    def rewind(self) -> int:
        """Send again what is kept. Returns the position of its first byte."""
        self.cursor = self.start
        return self.start

    def _drop(self, count: int) -> None:
        del self._kept[:count]
        self.start += count
        self.cursor = max(self.cursor, self.start)


class TurnText:
    """The words of the current turn, put together from stretches that come late, twice or across two turns.

    Positions are ms since the stream was opened.
    """

    MAX_STRETCHES = 512

    def __init__(self) -> None:
        self.begin = 0.0
        self.settled = 0.0
        """Up to here the words are final."""
        self._final: list[tuple[str, float]] = []
        self._open: tuple[str, float] | None = None

    def next(self, position: float) -> None:
        """A new turn begins at ``position``: what was said before it belongs to no one any more."""
        self.begin = self.settled = position
        self._final.clear()
        self._open = None

    def hear(self, heard: Heard, base: float) -> bool:
        """Take in a stretch whose connection began at ``base`` ms. Returns True when the words changed."""
        begin, end = base + heard.begin, base + heard.end
        if end <= max(self.begin, self.settled) + 1:
            return False
        text = self._within(heard, begin, base)
        before = (list(self._final), self._open)
        if not heard.is_final:
            self._open = (text, heard.confidence) if text else None
        else:
            self._open = None
            self.settled = max(self.settled, end)
            if text:
                self._final.append((text, heard.confidence))
                del self._final[: -self.MAX_STRETCHES]
        return before != (self._final, self._open)

    def _within(self, heard: Heard, begin: float, base: float) -> str:
        """The part of the words that was said in this turn."""
        if begin >= self.begin - 1:
            return heard.text.strip()
        if heard.words:
            return " ".join(word for word, middle in heard.words if base + middle >= self.begin)
        return heard.text.strip() if begin + base + heard.end >= 2 * self.begin else ""

    @property
    def known(self) -> bool:
        """True when there are words."""
        return bool(self._final) or self._open is not None

    @property
    def open(self) -> bool:
        """True when there are words that may still change."""
        return self._open is not None

    def transcript(self, *, is_final: bool) -> Transcript:
        """All of it; the confidence is the mean over the words."""
        return weigh([*self._final, *([self._open] if self._open else [])], is_final=is_final)


def weigh(parts: Sequence[tuple[str, float]], *, is_final: bool) -> Transcript:
    """One transcript of (text, confidence) stretches."""
    counts = [len(text.split()) for text, _ in parts]
    if not sum(counts):
        return Transcript("", is_final=is_final)
    mean = sum(sure * count for (_, sure), count in zip(parts, counts, strict=True)) / sum(counts)
    return Transcript(" ".join(text for text, _ in parts), is_final=is_final, confidence=min(max(mean, 0), 1))
