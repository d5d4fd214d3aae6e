"""End of turn by words: how long to wait after what was said, given what was asked. No I/O, no clock.

Silence alone can't tell "my number is ... five five five" from a sentence that is over. :class:`TextRules`
looks at the transcript's end and at the agent's question; the turn machine keeps what it says within the
bounds that are set. Words of a language are data: :mod:`voxtra.turns.words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args

from voxtra.errors import ConfigurationError
from voxtra.turns.words import LANGUAGES, NUMBERS, Words

Kind: TypeAlias = Literal["anything", "yes_no", "digits", "letters", "email"]

UNFINISHED_MS = 1600.0
"""After a phrase that promises more."""
THINKING_MS = 2500.0
"""After "um", "let me see"."""
DICTATED_MS = 1600.0
"""Between groups of digits or letters when they are asked for."""
GROUPED_MS = 1200.0
"""After what looks like a dictated number that nobody asked for."""
COMMA_MS = 1000.0
"""After a comma, where the recogniser writes one."""
ANSWERED_MS = 250.0
"""After a complete answer."""
TELEPHONE_NUMBERS = (7, 10, 11, 12)
"""Lengths at which a dictated number of unknown length may well be complete."""

_WORD = re.compile(r"[^\W_]+(?:['’\-@.][^\W_]+)*|[@]")


@dataclass(slots=True, frozen=True)
class Endpoint:
    """What the words want.

    Attributes:
        silence_ms: silence that should end the turn.
        why: for logs and events; "" when nothing is to be said about it.
    """

    silence_ms: float
    why: str = ""


@dataclass(slots=True, frozen=True)
class Expect:
    """What kind of answer is expected.

    Attributes:
        kind: ``yes_no``, ``digits``, ``letters`` (spelled), ``email``, ``anything``.
        length: digits or letters, where known; 0 = unknown.
    """

    kind: Kind = "anything"
    length: int = 0

    @classmethod
    def of(cls, value: Expect | str | None) -> Expect | None:
        """From one, or a kind's name and, after a colon, the length: ``"yes_no"``, ``"digits:8"``.

        Raises:
            ConfigurationError: there is no such kind, or the length is no number.
        """
        if value is None or isinstance(value, cls):
            return value
        kind, _, length = str(value).partition(":")
        if kind not in get_args(Kind) or (length and not length.isdigit()):
            kinds = ", ".join(get_args(Kind))
            raise ConfigurationError(f"expect = {value!r}: there are {kinds}, and lengths as in 'digits:8'")
        return cls(cast(Kind, kind), int(length or 0))


def plain(text: str) -> list[str]:
    """The words of ``text``, lower case, without punctuation."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]


def expected(question: str, language: str | None = None) -> Expect:
    """What the agent's words ask for, by their last sentence that asks for anything."""
    words = words_of(language)
    if words is None:
        return Expect()
    for sentence in reversed(re.split(r"(?<=[.!?…])\s+", question.strip())):
        said = " ".join(plain(sentence))
        asks = sentence.endswith("?")
        if re.search(words.asks_letters, said):
            return Expect("letters")
        wants = asks or re.search(r"\b(?:please|tell|give|say|enter|what)\b", said)
        if wants and re.search(words.asks_email, said) and not _yes_no(said, words, asks):
            return Expect("email")
        if wants and re.search(words.asks_digits, said) and not _yes_no(said, words, asks):
            return Expect("digits", _count(said, words))
        if asks or "yes or no" in said:
            return Expect("yes_no") if _yes_no(said, words, asks) else Expect()
    return Expect()


def _yes_no(said: str, words: Words, asks: bool) -> bool:
    if re.search(words.asks_open, said):
        return False
    return bool((asks or "yes or no" in said) and re.search(words.asks_yes_no, said))


def _count(said: str, words: Words) -> int:
    found = re.search(words.count, said)
    if not found:
        return 0
    return int(found[1]) if found[1].isdigit() else NUMBERS.get(found[1], 0)


def words_of(language: str | None) -> Words | None:
    """The table of a BCP 47 language; None of one that has none. None is English."""
    return LANGUAGES.get((language or "en").replace("_", "-").split("-")[0].lower())


class TextRules:
    """An :data:`~voxtra.turns.machine.EndpointPolicy` and :data:`~voxtra.turns.machine.OverAgent` by rules.

    Args:
        language: BCP 47; of one without a table nothing is known, and nothing changes.
        asked: gives the agent's last words.
        echo: tells whether words are the agent's own, come back.

    Attributes:
        expect: what is expected next; None goes by the agent's last question.
    """

    def __init__(
        self,
        language: str | None = None,
        *,
        asked: Callable[[], str] = lambda: "",
        echo: Callable[[str], bool] = lambda text: False,
    ) -> None:
        self._words = words_of(language)
        self._language = language
        self._asked = asked
        self._echo = echo
        self.expect: Expect | None = None
        self._question = ""
        self._from_question = Expect()

    def use_language(self, language: str | None) -> None:
        """Another language from now on."""
        self._words = words_of(language)
        self._language = language
        self._question = ""
        self._from_question = Expect()

    def _expected(self) -> Expect:
        if self.expect is not None:
            return self.expect
        question = self._asked()
        if question != self._question:
            self._question = question
            self._from_question = expected(question, self._language)
        return self._from_question

    def __call__(self, text: str, final: bool) -> Endpoint | None:
        """What silence should end a turn of ``text``; None = as set."""
        if self._words is None:
            return None
        said = plain(text)
        if not said:
            return None
        expect = self._expected()
        if expect.kind == "yes_no" and is_answer(said, self._words):
            return Endpoint(ANSWERED_MS, "answered")
        if said[-1] in self._words.fillers:
            return Endpoint(THINKING_MS, "thinking")
        spelled = _dictation(text, said, expect, self._words)
        if spelled is not None:
            return spelled
        return _phrase(text, said, self._words)

    def over_agent(self, text: str) -> Literal["echo", "backchannel"] | None:
        """Why words over the agent are no turn: its own words, or "mhm" to what is no question."""
        if self._echo(text):
            return "echo"
        if self._words is None or "?" in self._asked():
            return None
        return "backchannel" if is_backchannel(plain(text), self._words) else None


def is_answer(said: Sequence[str], words: Words) -> bool:
    """Whether the words are a complete, short answer to a yes/no question."""
    return 0 < len(said) <= 5 and _made_of(said, words.answers | words.polite) and _has(said, words.answers)


def is_backchannel(said: Sequence[str], words: Words) -> bool:
    """Whether the words only show that somebody listens."""
    short = len(said) <= 4 or (len(said) <= 8 and len(set(said)) <= 2)  # "okay, okay, okay, okay, okay"
    return bool(said) and short and _made_of(said, words.backchannels)


def _has(said: Sequence[str], phrases: frozenset[str]) -> bool:
    text = f" {' '.join(said)} "
    return any(f" {phrase} " in text for phrase in phrases)


def _made_of(said: Sequence[str], phrases: frozenset[str]) -> bool:
    """Whether the words are nothing but ``phrases`` (of up to four words), one after another."""
    at = 0
    while at < len(said):
        size = next((n for n in (4, 3, 2, 1) if " ".join(said[at : at + n]) in phrases), 0)
        if not size:
            return False
        at += size
    return True


def _dictation(text: str, said: Sequence[str], expect: Expect, words: Words) -> Endpoint | None:
    """Digits, spelled letters, an address: complete, or more to come."""
    if expect.kind == "email":
        if re.search(words.email, text.lower().rstrip(" .")):
            return None
        return Endpoint(DICTATED_MS, "address")
    if expect.kind == "letters":
        letters = _letters(said, words)
        if letters and expect.length and letters >= expect.length:
            return Endpoint(ANSWERED_MS, f"letters {letters} of {expect.length}")
        return Endpoint(DICTATED_MS, "letters")
    digits = _digits(said, words)
    if expect.kind == "digits":
        if expect.length and digits:
            silence = ANSWERED_MS if digits >= expect.length else DICTATED_MS
            return Endpoint(silence, f"digits {digits} of {expect.length}")
        return Endpoint(DICTATED_MS, f"digits {digits}") if digits else None
    if _letters(said, words) >= 3:
        return Endpoint(GROUPED_MS, "letters")
    named = digits > 0 and re.search(words.asks_digits, " ".join(said)) is not None
    if (digits >= 3 or named) and digits not in TELEPHONE_NUMBERS:
        return Endpoint(GROUPED_MS, f"digits {digits}")
    return None


def _digits(said: Sequence[str], words: Words) -> int:
    """How many digits the text ends in; numerals and words alike."""
    count = 0
    for index in range(len(said) - 1, -1, -1):
        word = said[index]
        bare = word.replace("-", "").replace(".", "")
        if bare.isdigit():
            size = len(bare)
        elif word in words.digits:
            size = 1
        elif word in words.repeats:
            count += words.repeats[word] - 1 if count else 0
            continue
        elif word in words.fillers:
            continue
        elif all(part in words.digits for part in word.split("-")):
            size = word.count("-") + 1
        else:
            break
        count += size
    return count


def _letters(said: Sequence[str], words: Words) -> int:
    """How many spelled letters the text ends in: "b r o w", "B-R-O-W", "b as in bravo"."""
    count = 0
    index = len(said) - 1
    while index >= 0:
        word = said[index]
        if (len(word) == 1 and word.isalpha()) or word in words.letters:
            count += 1
        elif re.fullmatch(r"[^\W\d_](?:[-.][^\W\d_])+", word):
            count += len(word) // 2 + 1
        elif index >= 3 and said[index - 2 : index] == ["as", "in"] and len(said[index - 3]) == 1:
            count += 1
            index -= 3
        else:
            break
        index -= 1
    return count


def _phrase(text: str, said: Sequence[str], words: Words) -> Endpoint | None:
    """Whether the last phrase promises more."""
    bare = text.rstrip()
    asked = bare.endswith("?")
    joined = " ".join(said)
    last = said[-1]
    if any(re.search(rf"(?:^| ){end}$", joined) for end in words.finished):
        return None
    sentence = " ".join(plain(re.split(r"(?<=[.!?])\s+", bare)[-1]))
    if re.fullmatch(words.stubs, sentence):
        return Endpoint(UNFINISHED_MS, "unfinished")
    if last in words.hanging or (not asked and last in words.hanging_unless_asked):
        return Endpoint(UNFINISHED_MS, f"unfinished: {last}")
    if not asked and any(re.search(rf"(?:^| )(?:{end})$", joined) for end in words.unfinished):
        return Endpoint(UNFINISHED_MS, "unfinished")
    if bare.endswith(("...", "…", "-", "–", "—")):
        return Endpoint(UNFINISHED_MS, "unfinished: …")
    if bare.endswith(","):
        return Endpoint(COMMA_MS, "unfinished: ,")
    return None
