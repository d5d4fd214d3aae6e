"""How alike are two things people say: by their letters, and by the words that carry meaning."""

from __future__ import annotations

import re

from voxtra.speech.fuzzy import ratio

FILLERS = frozenset({
    "a", "an", "the", "i", "i'd", "i'll", "i'm", "i've", "me", "my", "we", "us", "our", "you", "your", "it",
    "its", "it's", "is", "are", "am", "was", "be", "been", "do", "does", "did", "can", "could", "will",
    "would", "should", "shall", "may", "might", "please", "hi", "hello", "hey", "okay", "ok", "um", "uh",
    "er", "well", "so", "yeah", "just", "like", "to", "of", "for", "in", "on", "at", "and", "or", "with",
    "about", "tell", "know", "want", "need", "have", "has", "get", "got", "some", "any", "that", "this",
    "there", "what", "which", "how", "let's", "let", "thanks", "thank", "today", "now", "much", "many",
})  # fmt: skip
"""Words that say little about what somebody wants."""

NEGATIONS = frozenset({
    "not", "don't", "doesn't", "didn't", "never", "can't", "won't", "isn't", "aren't", "nothing", "without",
    "no",
})  # fmt: skip

SAME_WORD = 85
"""Likeness of two words (0..100) from which one is the other misheard, or its plural."""


class Phrase:
    """Something said, taken apart once.

    Attributes:
        text: as it was given.
        words: in lower case, without punctuation.
        content: those that carry meaning; all of them when none does.
        negated: whether it denies.
    """

    __slots__ = ("content", "joined", "negated", "ordered", "text", "words")

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower().replace("’", "'"))
        # "no, I want a person" denies nothing that follows
        after = self.words[1:] if self.words[:1] in (["no"], ["yes"]) else self.words
        meaning = [word for word in after if word not in FILLERS]
        self.content = list(dict.fromkeys(meaning or self.words))
        self.negated = any(word in NEGATIONS for word in after)
        self.joined = " ".join(self.words)
        self.ordered = " ".join(sorted(self.words))


def likeness(said: Phrase, example: Phrase) -> float:
    """0..100: how sure it is that ``said`` means what ``example`` means.

    Two ways lead to a high figure: nearly the same letters, or all of the example's meaningful words (two or
    more) among at most three times as many said. A denial is never the same as an assertion.
    """
    if not said.words or not example.words:
        return 0.0
    if said.joined == example.joined:
        return 100.0
    if said.negated != example.negated:
        return 0.0
    letters = max(ratio(said.joined, example.joined), ratio(said.ordered, example.ordered))
    return max(letters if _same_content(said, example) else min(letters, 80.0), _contained(said, example))


def _same_content(said: Phrase, example: Phrase) -> bool:
    """Letters alone take "Monday" for "Sunday": a meaningful word that differs must be nearly the same."""
    return _all_in(example.content, said.content) and _all_in(said.content, example.content)


def _all_in(words: list[str], among: list[str]) -> bool:
    return all(any(_same(word, other) for other in among) for word in words)


def _same(one: str, other: str) -> bool:
    return one == other or (min(len(one), len(other)) > 3 and ratio(one, other) >= SAME_WORD)


def _contained(said: Phrase, example: Phrase) -> float:
    need, have = len(example.content), len(said.content)
    if have > (3 * need if need > 1 else 2) or not _all_in(example.content, said.content):
        return 0.0
    return 85.0 + 14.0 * min(1.0, need / have)
