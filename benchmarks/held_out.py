"""What callers say in situations that no rule was written for: held back from whoever writes rules.

Same kinds as in :mod:`benchmarks.utterances`, other words, other pauses, another voice. When a rule is changed, look at
``utterances`` only; these say what the change is worth. A phrase from here that a rule was changed for is moved there,
and another takes its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.utterances import NAME, Situation

VOICE = 3
"""A voice of its own, see ``benchmarks.turns.VOICES``."""
HELLO = "Good morning, Green Valley Dental. What can I do for you?"
SURE = "That would be the twelfth at ten o'clock. Does that suit you?"
PHONE = "May I have a number where we can reach you?"
PIN = "Please say your six-digit membership number."
SPELL = "How do you spell that?"
MAIL = "Which email address should I send it to?"
STORY = (
    "Your appointment with Doctor Lee is on Tuesday the fourth at a quarter past two. Please come ten minutes early "
    "and bring your insurance card, and if you take any medicine regularly, a list of it would help us a lot."
)

SENTENCES = (
    "My tooth has been hurting since yesterday.", "Do you have anything free next week?", "Is there parking nearby?",
    "I'd like to know what a cleaning costs.", "The crown you made me fell out.", "Does my insurance pay for that?",
    "I'm running fifteen minutes late.", "My son needs a checkup.", "Do I have to fast before that?",
    "When can I pick up the x-rays?", "I never received the bill.", "Can somebody call me back after six?",
    "We have just moved here.", "Which doctor will I be seeing?",
)  # fmt: skip
HESITATIONS = (
    ("I'm looking for", "an appointment in the afternoon."), ("I'd rather have", "the early one."),
    ("Does the doctor", "speak Spanish?"), ("My daughter has", "a broken tooth."),
    ("We were there on", "Friday afternoon."), ("My husband and I", "both need an appointment."),
    ("It hurts when I", "drink something cold."), ("I need to cancel the", "appointment for my husband."),
    ("So, uh,", "I wanted to ask about the price."), ("We live on", "Cedar Avenue."),
    ("Is it okay if", "my mother comes with me?"), ("Can you also", "send me a reminder?"),
    ("He can come on Monday or", "on Thursday morning."), ("The last time I", "waited for an hour."),
    ("Let me see,", "next Thursday would work."), ("I'm allergic to", "penicillin."),
)  # fmt: skip
AFTER_ALL = (
    ("I have a question.", "How long does it take?"), ("I can come on Monday.", "Or Tuesday, if that is better."),
)  # fmt: skip
DICTATED = (
    (PHONE, ("four one five", "six six two", "zero nine one eight")),
    (PHONE, ("oh seven seven", "double four", "nine one three two")),
    (PIN, ("two nine", "eight one", "five five")),
    (HELLO, ("My membership number is", "three one seven", "two two six")),
)  # fmt: skip
SPELLED = ((SPELL, ("K. O. W.", "A. L.", "S. K. I.")), (NAME, ("H. U.", "G. H. E. S.")))
ADDRESSES = (("maria", "at green dot com"), ("tom dot baker at", "mail dot net"))
ANSWERS = (
    "Yes, it does.",
    "No, it doesn't.",
    "Yeah.",
    "Perfect.",
    "Not really.",
    "That's fine.",
    "Yep.",
    "I'm afraid not.",
)
SHORT = ("Monday.", "Just one.", "Doctor Lee.", "In the morning.")
INTERRUPTIONS = (
    "Sorry, could you repeat the day?", "Tuesday doesn't work for me.", "Hang on, let me get a pen.",
    "What do I need to bring?", "No, I wanted Wednesday.", "Can we do it later?", "Wait, wait.", "Is that this week?",
    "Actually, I have to cancel.", "I don't have insurance.",
)  # fmt: skip
LISTENING = ("Uh-huh.", "Mm.", "Right, right.", "Yes.", "All right.", "Got it.", "Aha.", "Sure.")


def held_out(quick: bool = False) -> list[Situation]:
    """All of them; every sixth for a quick look."""
    found = [*_turns(), *_over_agent(), *_nothing()]
    return found[::6] if quick else found


def _turns() -> Iterator[Situation]:
    for text in SENTENCES:
        yield Situation("sentence", "turn", (text,), asked=HELLO, voice=VOICE)
    for text in ANSWERS:
        yield Situation("yes or no", "turn", (text,), asked=SURE, voice=VOICE)
    for text in SHORT:
        yield Situation("short answer", "turn", (text,), asked="And which one would you prefer?", voice=VOICE)
    for parts in HESITATIONS:
        for pause_ms in (450, 750):
            yield Situation("hesitation", "turn", parts, pause_ms, asked=HELLO, voice=VOICE)
    for number, text in enumerate(SENTENCES[:8]):
        yield Situation(
            "voices beside", "turn", (text,), asked=HELLO, voice=VOICE, beside_db=-16.0 - 2 * (number % 4)
        )
    for parts in AFTER_ALL:
        yield Situation("one more thing", "turn", parts, 550, asked=HELLO, voice=VOICE)
    for asked, groups in DICTATED:
        for pause_ms in (600, 850):
            yield Situation("dictated number", "turn", groups, pause_ms, asked=asked, voice=VOICE)
    for asked, letters in SPELLED:
        for pause_ms in (550, 800):
            yield Situation("spelled name", "turn", letters, pause_ms, asked=asked, voice=VOICE)
    for address in ADDRESSES:
        yield Situation("address", "turn", address, 700, asked=MAIL, voice=VOICE)


def _over_agent() -> Iterator[Situation]:
    for number, text in enumerate(INTERRUPTIONS):
        for at in (1300.0 + 310 * (number % 6), 4200.0 + 250 * (number % 4)):
            yield Situation("interruption", "interruption", (text,), asked=STORY, voice=VOICE, at_ms=at)
    for number, (echo_db, delay_ms) in enumerate(((-8.0, 90), (-16.0, 180), (-20.0, 120), (-28.0, 260))):
        quiet = Situation("echo", "no interruption", asked=STORY, echo_db=echo_db, delay_ms=delay_ms)
        yield quiet
        yield replace(
            quiet,
            group="interruption, echo",
            kind="interruption",
            parts=(INTERRUPTIONS[-1 - number],),
            voice=VOICE,
            at_ms=2700.0,
        )
    for number, text in enumerate(LISTENING):
        for at in (1500.0 + 330 * (number % 5), 4700.0 + 270 * (number % 3)):
            yield Situation("backchannel", "no interruption", (text,), asked=STORY, voice=VOICE, at_ms=at)
    for number in range(9):
        sound = ("cough", "knock", "typing")[number % 3]
        yield Situation("noise", "no interruption", asked=STORY, sound=sound, at_ms=1900.0 + 430 * number)
    for level in (-16.0, -20.0, -24.0):
        yield Situation("babble", "no interruption", asked=STORY, sound="babble", level_db=level)


def _nothing() -> Iterator[Situation]:
    for number in range(6):
        sound = ("typing", "cough", "knock")[number % 3]
        yield Situation("nothing said", "no turn", sound=sound, at_ms=900.0, noise_db=-52.0 - number)
