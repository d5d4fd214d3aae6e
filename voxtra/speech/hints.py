"""Checks an isolated word against what was expected: ``yes``, ``no``, digits, names of departments.

Recognisers make their mistakes on single words, where there is no context. An utterance about as short as
the expected ones that sounds or reads like one of them becomes it; anything else stays as it was heard.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from voxtra.speech.fuzzy import ratio

NUMERALS = {
    "0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five",
    "6": "six", "7": "seven", "8": "eight", "9": "nine", "10": "ten",
}  # fmt: skip

SOUNDS_LIKE = {
    "oh": "zero", "o": "zero", "nil": "zero", "won": "one", "wan": "one", "want": "one",
    "to": "two", "too": "two", "tu": "two", "tree": "three", "free": "three", "for": "four",
    "fore": "four", "fife": "five", "hive": "five", "sex": "six", "sicks": "six", "ate": "eight",
    "hate": "eight", "nein": "nine", "nun": "nine", "yeah": "yes", "yep": "yes", "yup": "yes",
    "yah": "yes", "yea": "yes", "ya": "yes", "jess": "yes", "sure": "yes", "correct": "yes",
    "nope": "no", "nah": "no", "know": "no", "now": "no", "noe": "no",
}  # fmt: skip

CLOSE = 80
"""How alike (0..100) a word must be to an expected one."""
CLEAR = 8
"""And by how much more than to the next best."""


def bare(text: str) -> str:
    """Lower case, no punctuation, digits as words."""
    words = re.sub(r"[^a-z0-9' ]+", " ", text.lower()).split()
    return " ".join(NUMERALS.get(word, word) for word in words)


def snap(text: str, hints: Sequence[str], confidence: float) -> tuple[str, float]:
    """The expected answer that ``text`` is, else ``text`` itself; with how sure that is.

    Returns:
        The hint as it was given, with a confidence of at least 0.5, or ``(text, confidence)`` unchanged.
    """
    said = bare(text)
    if not said or not hints:
        return text, confidence
    expected = {bare(hint): hint for hint in reversed(hints) if bare(hint)}
    if said in expected:
        return expected[said], max(confidence, 0.9)
    if len(said.split()) > max((len(hint.split()) for hint in expected), default=0) + 1:
        return text, confidence
    alike = " ".join(SOUNDS_LIKE.get(word, word) for word in said.split())
    if alike in expected:
        return expected[alike], max(confidence, 0.7)
    ranked = sorted(((ratio(alike, hint), hint) for hint in expected), reverse=True)
    best = ranked[0]
    second = ranked[1][0] if len(ranked) > 1 else 0.0
    if best[0] >= CLOSE and best[0] - second >= CLEAR:
        return expected[best[1]], max(confidence, 0.5)
    return text, confidence
