"""Rules for words: what is complete, what is not, and what a question asks for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.turns import Expect, TextRules
from voxtra.turns.endpoint import expected, is_backchannel, plain, words_of
from voxtra.turns.words import ENGLISH, LANGUAGES, Words

FINISHED = (
    "Book a table for four people.",
    "What are your opening hours?",
    "Where are you from?",
    "Who is it for?",
    "I think so.",
    "Yes.",
    "No, thank you.",
    "Stop.",
    "That's all.",
    "I don't know.",
    "I'm calling about my invoice.",
    "Peter Johnson.",
    "Two.",
    "Tomorrow at five.",
    "Could you please connect me?",
    "It doesn't work.",
    "What time is it?",
    "Do you know what it is?",
    "I would like the blue one.",
    "Not yet.",
    "Room 12.",
    "It costs 25 dollars.",
    "555-1234.",
    "0207 946 1234",
    "Can you tell me where you are?",
    "I'd like that.",
    "Yes I do.",
    "Come in.",
)
UNFINISHED = (
    "I would like to",
    "My number is",
    "My name is",
    "Book a table for",
    "I need help with my",
    "Can I",
    "Could you please?",
    "The address is",
    "and",
    "I want to change the",
    "because",
    "Well,",
    "I was wondering if",
    "um",
    "Yes, but",
    "It is for two adults and",
    "I'd like a",
    "from London to",
    "let me see",
    "hold on",
    "My order number is 44",
    "it's five five five",
    "B R O",
    "I have a question about",
    "Is there",
    "I can't find the...",
)


def wish(text: str, asked: str = "How can I help you?", **options: Expect) -> float:
    rules = TextRules(asked=lambda: asked)
    rules.expect = options.get("expect")
    found = rules(text, True)
    return 0.0 if found is None else found.silence_ms


@pytest.mark.parametrize("text", FINISHED)
def test_finished(text):
    assert wish(text) == 0


@pytest.mark.parametrize("text", UNFINISHED)
def test_unfinished(text):
    assert wish(text) >= 1000


@pytest.mark.parametrize(
    ("question", "kind", "length"),
    [
        ("What is your phone number?", "digits", 0),
        ("Please tell me your eight-digit order number.", "digits", 8),
        ("Enter the 4 digit code, please.", "digits", 4),
        ("Could you spell your last name?", "letters", 0),
        ("Can you give me your email address?", "email", 0),
        ("Would you like a table?", "yes_no", 0),
        ("Great. And is that correct?", "yes_no", 0),
        ("Your number is 5 5 5, is that right?", "yes_no", 0),
        ("Is your phone number still 5 5 5?", "yes_no", 0),
        ("Please say yes or no.", "yes_no", 0),
        ("I found your order number. Would you like to hear more?", "yes_no", 0),
        ("Do you want tea or coffee?", "anything", 0),
        ("Could you tell me your name?", "anything", 0),
        ("How can I help you?", "anything", 0),
        ("Your order number is 4 4 1 2.", "anything", 0),
        ("", "anything", 0),
    ],
)
def test_what_a_question_asks_for(question, kind, length):
    assert expected(question) == Expect(kind, length)


@pytest.mark.parametrize(
    "text", ["Yes.", "no", "Yes, please.", "No thank you", "That's right.", "Sure!", "not really"]
)
def test_a_complete_answer_is_quick_where_it_was_asked_for(text):
    assert wish(text, "Is that right?") == 250
    assert wish(text) == 0


@pytest.mark.parametrize("text", ["Yes, but", "No, I want to", "Yes and my number is"])
def test_an_answer_that_goes_on_is_waited_for(text):
    assert wish(text, "Is that right?") >= 1600


def test_digits_are_counted_where_their_number_is_known():
    eight = Expect("digits", 8)
    assert wish("one two three", expect=eight) == 1600
    assert wish("1 2 3 4 5", expect=eight) == 1600
    assert wish("12 34 56 78", expect=eight) == 250
    assert wish("one two double three four five six seven", expect=eight) == 250
    assert wish("It's 1234-5678.", expect=eight) == 250
    assert wish("I don't have it", expect=eight) == 0


def test_an_address_is_over_when_it_has_all_its_parts():
    asked = "What is your email address?"
    assert wish("john dot smith", asked) == 1600
    assert wish("john dot smith at", asked) == 1600
    assert wish("John dot Smith at example dot com.", asked) == 0
    assert wish("john.smith@example.com", asked) == 0


def test_spelled_letters_are_waited_for():
    asked = "Could you spell that?"
    assert wish("S M", asked) == 1600
    assert wish("BRO", asked) == 1600, "a recogniser makes a word of them"
    assert wish("B. R. O. W. N.", expect=Expect("letters", 5)) == 250
    assert wish("b as in bravo r as in romeo", expect=Expect("letters", 2)) == 250


@pytest.mark.parametrize("text", ["Mm-hmm.", "uh-huh", "Okay.", "I see.", "Yeah, right.", "oh great"])
def test_backchannels(text):
    assert is_backchannel(plain(text), ENGLISH)


@pytest.mark.parametrize(
    "text", ["No.", "Stop", "wait", "okay stop", "right now", "yes I want that one please", ""]
)
def test_no_backchannels(text):
    assert not is_backchannel(plain(text), ENGLISH)


def test_a_language_without_a_table_is_left_alone():
    rules = TextRules("de-DE", asked=lambda: "Is that right?")
    assert rules("yes", True) is None
    assert rules("my number is", True) is None
    assert rules.over_agent("mhm") is None
    assert words_of("en-GB") is words_of(None) is ENGLISH


def test_a_language_is_a_table(monkeypatch):
    german = Words(hanging=frozenset({"und"}), answers=frozenset({"ja", "nein"}), backchannels=frozenset({"mhm"}),
                   asks_yes_no="^(?:ist|sind|möchten)")  # fmt: skip
    monkeypatch.setitem(LANGUAGES, "de", german)
    asked = "Guten Tag."
    rules = TextRules("de-AT", asked=lambda: asked)
    found = rules("Ein Tisch für zwei und", True)
    assert found is not None
    assert found.silence_ms == 1600
    asked = "Möchten Sie das?"
    answer = rules("Ja.", True)
    assert answer is not None
    assert answer.why == "answered"
    assert rules.over_agent("Mhm.") is None, "after a question it may be an answer"


@given(st.text(max_size=60), st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read(text, asked):
    rules = TextRules(asked=lambda: asked)
    found = rules(text, True)
    assert found is None or 200 <= found.silence_ms <= 2500
    rules.over_agent(text)
