"""What was really heard of an utterance: which words lie before the point where the sound stopped."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Span:
    """A clause and the stretch of the line's sound that carries it, in samples from the utterance's start.

    Attributes:
        text: the clause.
        start, end: the sound queued for it so far.
        expected: samples it will need, roughly; counts until it is ``complete``.
        complete: True when all its sound is queued.
        words: (word, offset in samples from ``start``) where the TTS tells them.
    """

    text: str
    start: int
    end: int
    expected: int = 0
    complete: bool = False
    words: list[tuple[str, int]] = field(default_factory=list)


class Ledger:
    """The clauses of one utterance in order, with the sound that carries each."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def add(self, text: str, start: int, expected: int = 0) -> Span:
        """A clause whose sound begins at ``start``.

        Extend ``Span.end`` as sound is queued and set ``Span.complete`` after the last of it.
        """
        span = Span(text, start, start, expected)
        self.spans.append(span)
        return span

    @property
    def text(self) -> str:
        """All words given to the ledger, heard or not."""
        return " ".join(span.text for span in self.spans)

    def heard(self, position: int) -> str:
        """The words heard when the sound stopped at ``position`` samples.

        By word timings where there are any, else in proportion to the clause's length; a word that was
        cut counts when half of it was heard.
        """
        out: list[str] = []
        for span in self.spans:
            if position >= span.end and span.complete:
                out.append(span.text)
                continue
            out.append(self._part(span, position - span.start))
            break
        return " ".join(part for part in out if part)

    @staticmethod
    def _part(span: Span, played: int) -> str:
        length = span.end - span.start
        if not span.complete:
            length = max(length, span.expected)
        if played <= 0:
            return ""
        if span.words:
            starts = [offset for _, offset in span.words]
            ends = [*starts[1:], max(length, starts[-1])]
            timed = zip(span.words, ends, strict=True)
            return " ".join(word for (word, start), end in timed if start + end <= 2 * played)
        words = span.text.split()
        total = sum(len(word) + 1 for word in words)
        share = played / max(1, length) * total
        kept: list[str] = []
        reached = 0.0
        for word in words:
            if reached + (len(word) + 1) / 2 > share:
                break
            kept.append(word)
            reached += len(word) + 1
        return " ".join(kept)
