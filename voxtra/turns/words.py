"""What the rules for words go by, a table a language. English first; :data:`LANGUAGES` takes others.

All entries are lower case, without punctuation but apostrophes. Patterns are matched against such text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Words:
    """The words of one language.

    Attributes:
        hanging: after these a phrase always goes on (articles, conjunctions, possessives).
        hanging_unless_asked: after these it goes on, unless it is a question ("where are you from?").
        fillers: sounds of thinking.
        unfinished: ends of phrases that promise more, as patterns of a whole ending.
        stubs: whole sentences that nobody stops at, even where a recogniser writes a question mark.
        finished: ends that look unfinished and are not ("I think so").
        answers: complete answers to a yes/no question.
        polite: what may follow or precede an answer.
        backchannels: what a listener says to show that they listen.
        digits: spoken digits; ``repeats`` multiply what follows.
        letters: names of letters that recognisers write out.
        asks_digits, asks_letters, asks_email, asks_yes_no: patterns of the agent's questions.
        asks_open: questions that no yes answers, whatever they begin with ("could you tell me").
        count: a pattern that finds how many digits are asked for, its first group a number or a number word.
        email: a pattern of a complete address.
    """

    hanging: frozenset[str] = frozenset()
    hanging_unless_asked: frozenset[str] = frozenset()
    fillers: frozenset[str] = frozenset()
    unfinished: tuple[str, ...] = ()
    stubs: str = r"(?!)"
    finished: tuple[str, ...] = ()
    answers: frozenset[str] = frozenset()
    polite: frozenset[str] = frozenset()
    backchannels: frozenset[str] = frozenset()
    digits: frozenset[str] = frozenset()
    repeats: Mapping[str, int] = field(default_factory=dict)
    letters: frozenset[str] = frozenset()
    asks_digits: str = r"(?!)"
    asks_letters: str = r"(?!)"
    asks_email: str = r"(?!)"
    asks_yes_no: str = r"(?!)"
    asks_open: str = r"(?!)"
    count: str = r"(?!)()"
    email: str = r"\S@\S+\.\w{2,}"

    def __post_init__(self) -> None:
        for pattern in (*self.unfinished, *self.finished, self.asks_digits, self.count, self.email):
            re.compile(pattern)


def _set(words: str) -> frozenset[str]:
    return frozenset(words.replace("_", " ") if "_" in words else words for words in words.split())


_COUNTED = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty"""
NUMBERS = {name: value for value, name in enumerate(_COUNTED.split())}
"""Number words that a :attr:`Words.count` pattern may find."""
_DIGITS = frozenset({name for name, value in NUMBERS.items() if value < 10} | {"oh", "o", "nought"})

ENGLISH = Words(
    hanging=_set(
        "a an the and or but because if my your our their whose when while than unless although "
        "i'm i'll we're they're i've we've gonna which whether very every each some any both "
        "either neither"
    ),
    hanging_unless_asked=_set(
        "to of for with at in on from by about into is are was were am be been am would could should can "
        "will have has had do does did don't want need like get i we he she they that's it's there's what's "
        "between since until till before after under over around near called named"
    ),
    fillers=_set("um uh er erm hmm uhm em ah eh umm uhh mmm"),
    unfinished=(
        r"(?:number|name|address|e-?mail|code|pin|order|account|surname|birthday|birth) (?:is|was)",
        r"i (?:would|'d) like(?: to)?",
        r"i'd like(?: to)?",
        r"(?:i|we) (?:want|need|have|wanted|was wondering|was|think|mean|guess)(?: to| that| if)?",
        r"(?:let me|let's) (?:see|think|check|look|have a look)",
        r"(?:hold on|one moment|one second|just a (?:moment|second|minute)|give me a (?:moment|second))",
        r"(?:kind|sort|type|lot|couple|number|part|because|instead|out) of",
        r"(?:thing|problem|point|issue|trouble|reason|fact) (?:is|was) that",
        r"(?:told|informed)(?: me| us)? that",
        r"(?:sure|sorry|afraid|worried|possible|glad) that",
        r"(?:possible|able|okay|easier|better) to",
        r"(?:you know|i mean|as well as|such as|so that|in order|due)",
        r"(?:it's|that's|this is|there's|here's|there is|there are|it is|that is)",
        r"(?:calling|asking|looking|waiting|apply|pay|ask) (?:about|for|from|because)",
        r"(?:maybe|perhaps|probably|actually|basically|first|also|then|well)",
    ),
    stubs=(
        r"(?:(?:hi|hello|well|so|okay|yes|and|but) )*"
        r"(?:(?:can|could|would|will) you(?: please)?(?: tell me| give me| send me| help me with)?(?: the)?|"
        r"(?:can|could|would|will|do|does|did|are|is|have|may|should) (?:you|i|we|they|it|there)(?: please)?|"
        r"(?:would|will|is) it (?:be )?(?:possible|okay|easier|better)(?: for (?:me|us))?(?: to| if)?|"
        r"(?:can|could|may) (?:i|we) (?:get|have|make|book|order|change|cancel)|"
        r"what about|how about|what if|i was wondering|i wanted to ask|i have a question|the reason is)"
    ),
    finished=(
        r"(?:think|hope|guess|suppose|afraid|believe) so",
        r"(?:yes|no|of course|sure) (?:i|we|they|he|she|it|there|you) "
        r"(?:do|does|did|am|are|is|was|were|have|has|had|can|could|will|would|should|don't)",
        r"(?:i|we|they|you|he|she|it) (?:do|does|did|don't|am|are|was|will|can|could|would|should|have)",
        r"(?:what|where|who|how) (?:is|are|was|were) (?:it|that|they|you)",
        r"(?:that's|it's|that is|it is) (?:it|all|that|right|fine)",
        r"(?:come|log|go|carry|move|switch|turn|put me|sign) (?:in|on)",
        r"what (?:it|that|this) (?:is|was|does)",
        r"as well",
        r"ever since",
    ),
    answers=_set(
        "yes yeah yep yup no nope nah sure correct right absolutely definitely exactly certainly okay ok "
        "fine indeed true false never negative affirmative of_course that's_right that's_correct i_do i_am "
        "i_don't not_really not_yet no_way it_is it_isn't i_did i_didn't go_ahead all_right alright "
        "sounds_good that's_fine i_would i_wouldn't not_at_all yes_please no_thanks no_thank_you that's_all "
        "that's_it nothing_else that_is_correct that_is_right"
    ),
    polite=_set("please thanks thank_you sir madam ma'am"),
    backchannels=_set(
        "mhm mm mmhmm mm-hmm mhmm hmm mm-hm uh-huh uhhuh uh_huh um-hum umhum aha ah oh yeah yes yep ok okay "
        "right sure i_see got_it alright all_right great good cool nice wow really of_course fine mmm huh hm "
        "m-hm mmm-hmm mm_hmm"
    ),
    digits=_DIGITS,
    repeats={"double": 2, "triple": 3},
    letters=_set("ay bee cee dee ee eff gee aitch jay kay el em en pee cue ar ess tee vee ex why zee zed"),
    asks_digits=r"\b(?:numbers?|digits?|code|pin|zip|post ?code|date of birth|birth ?day|expiry)\b",
    asks_letters=r"\bspell",
    asks_email=r"\be-?mail\b",
    asks_yes_no=(
        r"^(?:(?:so|and|but|okay|ok|great|alright|well|now|thank you|thanks) )*"
        r"(?:is|are|am|was|were|do|does|did|has|have|had|shall|should|would|will|may|isn't|aren't|don't|"
        r"doesn't|didn't|haven't|won't)\b"
        r"|\b(?:right|correct|okay|ok)$|\byes or no\b|^(?:can|could) i\b|^anything else\b"
    ),
    asks_open=r"\bor\b(?! no\b)|^(?:would|could|can|will) you (?:please )?(?:tell|give|say|spell|describe)\b"
    r"|^(?:do|did|have) you (?:know|remember) (?:what|where|when|which|who|how)\b",
    count=r"\b(\d+|three|four|five|six|seven|eight|nine|ten|eleven|twelve|sixteen)[- ](?:digit|figure)s?\b",
    email=r"\S@\S+\.\w{2,}|\bat (?:\S+ )+?dot (?:com|net|org|io|edu|gov|co|uk|de|fr|eu|info|me|ca|au|us)\b",
)

LANGUAGES: dict[str, Words] = {"en": ENGLISH}
"""By the language part of a BCP 47 tag. Without a table, words change nothing in that language."""
