"""What callers say in the benchmark of turn-taking, and what would be right to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["turn", "interruption", "no interruption", "no turn"]

HELP = "Hello, this is Acme. How can I help you?"
YES_NO = "I have found your order. Would you like me to send it today?"
NUMBER = "What is your phone number?"
CODE = "Please tell me your eight-digit customer number."
NAME = "Could you spell your last name for me, please?"
EMAIL = "What is your email address?"
LONG = (
    "We are open from Monday to Friday, from nine in the morning until five in the afternoon, and on Saturdays "
    "we close at noon. Please remember that we are closed on public holidays."
)
LONG_TOO = (
    "Your order was shipped yesterday with our own van, so it should reach you by the end of the week. "
    "If nobody is at home, the driver leaves it with a neighbour, and you will find a card in your letter box."
)


@dataclass(frozen=True)
class Situation:
    """Somebody says something, or something is heard.

    Attributes:
        group: for the table.
        kind: ``turn``: one turn that ends after the last part; ``interruption``: the agent must stop;
            ``no interruption``: it must go on; ``no turn``: nothing was said.
        parts: what is said, with ``pause_ms`` between.
        asked: what the agent said last, or says now.
        voice: 0, 1, 2: as it is, lower and slower, higher and quicker.
        sound: ``cough``, ``knock``, ``typing``, ``babble``: heard instead of, or (babble) beside, words.
        at_ms: when it begins.
        echo_db, delay_ms: what the line returns of the agent.
        level_db: of the caller, relative to the agent.
        beside_db: level of somebody else who talks all the while, relative to the caller; None: nobody does.
    """

    group: str
    kind: Kind
    parts: tuple[str, ...] = ()
    pause_ms: int = 0
    asked: str = HELP
    voice: int = 0
    sound: str = ""
    at_ms: float = 600
    echo_db: float | None = None
    delay_ms: int = 120
    level_db: float = 0.0
    noise_db: float = field(default=-62.0)
    beside_db: float | None = None


SENTENCES = (
    "What are your opening hours?", "I want to change my order.", "Can you tell me where my parcel is?",
    "I would like to book a table for four people tomorrow evening.", "My internet connection does not work.",
    "How much does it cost?", "I need to speak with somebody in sales.", "Please cancel my appointment on Friday.",
    "Where are you located?", "I think I was charged twice last month.", "Do you ship to Canada?",
    "I have lost my credit card.", "Is the shop open on Sunday?", "I am calling about the invoice from March.",
    "Could you send me a new password?", "It stopped working this morning.", "Thank you, that was all.",
    "I would rather have the blue one.", "What do I have to do?", "Let me talk to a person.",
)  # fmt: skip
HESITATIONS = (
    ("I would like to", "book a table for four people."), ("My name is", "Peter Johnson."),
    ("I need help with my", "internet connection."), ("Can you tell me the", "price of the large one?"),
    ("I am calling because", "my parcel has not arrived."), ("I want to fly from London to", "New York."),
    ("Could you please", "connect me with the sales department?"), ("The address is", "fourteen Market Street."),
    ("I have a question about", "my last invoice."), ("We are looking for a", "hotel near the station."),
    ("I wanted to ask if", "you are open on Sunday."), ("It is for two adults and", "three children."),
    ("I think the problem is with the", "router in the kitchen."), ("I'd like to speak to", "the manager please."),
    ("Well, um,", "I am not sure which one I need."), ("Would it be possible to", "come a bit earlier?"),
    ("The thing is that", "I have to work until five."), ("I was told that", "you also treat children."),
    ("Could I get", "something on Wednesday?"), ("I've been a patient since", "two thousand and twelve."),
    ("That depends on whether", "I get the day off."),
)  # fmt: skip
AFTER_ALL = (
    ("I want to change my order.", "I need the blue one instead."), ("My phone does not work.", "It broke yesterday."),
    ("I have an appointment on Friday.", "Can I move it to Monday?"), ("I called this morning.", "Nobody called back."),
)  # fmt: skip
DICTATED = (
    (NUMBER, ("five five five", "one two", "three four")),
    (NUMBER, ("zero two zero", "seven nine four six", "one two three four")),
    (CODE, ("one two three", "four five six", "seven eight")),
    (CODE, ("nine eight", "seven six", "five four", "three two")),
    (HELP, ("My number is", "five five five", "eight one two nine")),
    (HELP, ("My order number is four four", "seven one nine")),
)  # fmt: skip
SPELLED = (
    ("B. R. O.", "W. N."), ("S. M.", "I. T. H."), ("It is J. O. H.", "N. S. O. N."), ("M. E. Y.", "E. R."),
)  # fmt: skip
ADDRESSES = (("john dot smith", "at example dot com"), ("info at", "acme dot org"))
ANSWERS = ("Yes.", "No.", "Yes, please.", "No, thank you.", "Sure.", "That's right.", "Of course.", "Okay.")
SHORT = ("Two people.", "Tomorrow.", "The sales department.", "Five o'clock.", "My invoice.")
INTERRUPTIONS = (
    "Sorry, where are you located?", "Wait, I have a question.", "No no no, that is not what I meant.",
    "Stop, please.", "Can I speak to a person?", "Hold on a second please.", "I know that already.",
    "Excuse me, what about Sundays?", "That is wrong.", "Hello? Can you hear me?",
)  # fmt: skip
LISTENING = ("Mm-hmm.", "Uh-huh.", "Okay.", "Right.", "Yeah.", "I see.")
LINES = (
    (-6.0, 60),
    (-10.0, 120),
    (-14.0, 200),
    (-18.0, 300),
    (-22.0, 80),
    (-26.0, 160),
    (-32.0, 240),
    (-40.0, 120),
)


def situations(quick: bool = False) -> list[Situation]:
    """All of them; every sixth of each group for a quick look."""
    found = [*_turns(), *_over_agent(), *_nothing()]
    return found[::6] if quick else found


def _turns() -> Iterator[Situation]:
    for voice in (0, 1, 2):
        for text in SENTENCES[voice::2] if voice else SENTENCES:
            yield Situation("sentence", "turn", (text,), voice=voice)
        for text in ANSWERS:
            yield Situation("yes or no", "turn", (text,), asked=YES_NO, voice=voice)
    for text in SHORT:
        yield Situation("short answer", "turn", (text,), asked="When, and for whom?")
        yield Situation("short answer", "turn", (text,), asked="When, and for whom?", voice=1)
    for number, parts in enumerate(HESITATIONS):
        for pause_ms in (300, 500, 700, 900):
            yield Situation("hesitation", "turn", parts, pause_ms, voice=number % 3)
    for number, text in enumerate(SENTENCES[:12]):
        yield Situation(
            "voices beside", "turn", (text,), voice=number % 3, beside_db=(-15.0, -20.0, -25.0)[number % 3]
        )
    for number, parts in enumerate(AFTER_ALL):
        for pause_ms in (400, 700):
            yield Situation("one more thing", "turn", parts, pause_ms, voice=number % 3)
    for number, (asked, groups) in enumerate(DICTATED):
        for pause_ms in (500, 700, 900):
            yield Situation("dictated number", "turn", groups, pause_ms, asked=asked, voice=number % 3)
    for number, letters in enumerate(SPELLED):
        for pause_ms in (600, 900):
            yield Situation("spelled name", "turn", letters, pause_ms, asked=NAME, voice=number % 2)
    for address in ADDRESSES:
        for pause_ms in (600, 900):
            yield Situation("address", "turn", address, pause_ms, asked=EMAIL)


def _over_agent() -> Iterator[Situation]:
    for number, text in enumerate(INTERRUPTIONS * 2):
        at = 1500.0 + 370 * (number % 9)
        asked = (LONG, LONG_TOO)[number % 2]
        yield Situation("interruption", "interruption", (text,), asked=asked, voice=number % 3, at_ms=at)
    for number, (echo_db, delay_ms) in enumerate(LINES * 2):
        text, asked = INTERRUPTIONS[number % 10], (LONG, LONG_TOO)[number % 2]
        echoing = {"asked": asked, "echo_db": echo_db, "delay_ms": delay_ms}
        yield Situation(
            "interruption, echo", "interruption", (text,),
            voice=number % 3, at_ms=2000.0 + 300 * number % 2000, **echoing,
        )  # fmt: skip
        yield Situation("echo", "no interruption", **echoing)
    for number, text in enumerate(LISTENING * 3):
        asked = (LONG, LONG_TOO)[number % 2]
        yield Situation(
            "backchannel",
            "no interruption",
            (text,),
            asked=asked,
            voice=number // 6,
            at_ms=1700.0 + 410 * (number % 7),
        )
    for number in range(18):
        sound = ("cough", "knock", "typing")[number % 3]
        yield Situation(
            "noise", "no interruption", asked=LONG, sound=sound, at_ms=1600.0 + 290 * number % 3000
        )
    for number in range(6):
        level = (-14.0, -18.0, -24.0)[number % 3]
        yield Situation("babble", "no interruption", asked=LONG, sound="babble", level_db=level)


def _nothing() -> Iterator[Situation]:
    for number in range(12):
        sound = ("cough", "knock", "typing", "")[number % 4]
        yield Situation("nothing said", "no turn", sound=sound, at_ms=700.0, noise_db=-50.0 - number)
