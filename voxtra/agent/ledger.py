"""What was really heard of an utterance: which words lie before the point where the sound stopped."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Span:
    """A clause and the stretch of the line's sound that carries it, in samples from the utterance's start.

    ``words`` are (word, offset in samples from the clause's start) where the TTS tells them.
    """

    text: str
    start: int
    end: int
    words: list[tuple[str, int]] = field(default_factory=list)


class Ledger:
    """The clauses of one utterance in order, with the sound that carries each."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, text: str, start: int) -> Span:
        """A clause whose sound begins at ``start``; extend ``Span.end`` as sound is queued."""
        span = Span(text, start, start)
        self.spans.append(span)
        return span

    @property
    def text(self) -> str:
        """All words given to the ledger, heard or not."""
        return " ".join(span.text for span in self.spans)

    def heard(self, position: int) -> str:
        """The words heard when the sound stopped at ``position`` samples.

        By word timings where there are any, else in proportion to the clause's length; a word that was
        cut counts when more than half of its share was heard.
        """
        out: list[str] = []
        for span in self.spans:
            if position >= span.end:
                out.append(span.text)
                continue
            if position > span.start:
                out.append(self._part(span, position - span.start))
            break
        return " ".join(part for part in out if part)

    @staticmethod
    def _part(span: Span, played: int) -> str:
        if span.words:
            return " ".join(word for word, offset in span.words if offset < played)
        words = span.text.split()
        total = sum(len(word) + 1 for word in words)
        share = played / max(1, span.end - span.start) * total
        kept: list[str] = []
        reached = 0.0
        for word in words:
            if reached + (len(word) + 1) / 2 > share:
                break
            kept.append(word)
            reached += len(word) + 1
        return " ".join(kept)
