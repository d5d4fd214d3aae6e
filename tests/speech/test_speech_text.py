import pytest

from voxtra.speech.hints import snap
from voxtra.speech.spoken import spoken


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Call 555-0123.", "Call 5 5 5, 0 1 2 3."),
        (
            "Call (212) 555-0199 or +1 415 555 2671.",
            "Call 2 1 2, 5 5 5, 0 1 9 9 or plus 1, 4 1 5, 5 5 5, 2 6 7 1.",
        ),
        ("+4915112345678", "plus 4 9 1, 5 1 1, 2 3 4, 5 6 7 8"),
        ("Your PIN is 0042.", "Your PIN is 0 0 4 2."),
        ("Your code is 481516!", "Your code is 4 8 1, 5 1 6!"),
        ("Order #4321 costs $12.50.", "Order 4 3 2 1 costs $12.50."),
        ("extension 100", "extension 1 0 0"),
    ],
)
def test_numbers_that_are_said_digit_by_digit(text, said):
    assert spoken(text) == said


@pytest.mark.parametrize(
    "text",
    ["2026-10-12", "10/12/2026", "12.10.2026", "1,250 dollars", "$1250000.50", "from 10-12 people", "in 2019",
     "12 345 678 people",     "order 500 units", "9:30am-5pm", "3.14159", "no digits", ""],
)  # fmt: skip
def test_amounts_dates_and_times_stay(text):
    assert spoken(text) == text


DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.mark.parametrize(
    ("text", "hints", "answer"),
    [
        ("2.", DIGITS, "two"),
        ("Too", DIGITS, "two"),
        ("ate", DIGITS, "eight"),
        ("Seben.", DIGITS, "seven"),
        ("Yeah.", ["yes", "no"], "yes"),
        ("Know", ["yes", "no"], "no"),
        ("billing", ["Billing", "Sales"], "Billing"),
        ("Bilding.", ["Billing", "Sales"], "Billing"),
    ],
)
def test_an_isolated_word_becomes_the_expected_answer(text, hints, answer):
    snapped, confidence = snap(text, hints, 0.4)
    assert snapped == answer
    assert confidence >= 0.5


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("I would like to speak to someone", ["yes", "no"]),
        ("Banana.", ["yes", "no"]),
        ("", ["yes"]),
        ("Too", ["yes", "no"]),
        ("sail", ["sale", "sell", "seal"]),
        ("yes", []),
    ],
)
def test_anything_else_stays_as_heard(text, hints):
    assert snap(text, hints, 0.4) == (text, 0.4)
