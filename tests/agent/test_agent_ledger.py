"""The ledger: which words lie before the point where the sound stopped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.agent.ledger import Ledger


def ledger(*clauses):
    """A ledger of (text, samples) or (text, samples, words), all complete."""
    made = Ledger()
    at = 0
    for text, samples, *words in clauses:
        span = made.add(text, at)
        at += samples
        span.end, span.complete = at, True
        span.words = list(words[0]) if words else []
    return made


def test_nothing_said_nothing_heard():
    assert Ledger().heard(100) == ""
    assert Ledger().text == ""


def test_whole_clauses_and_a_part_of_the_next():
    made = ledger(("one two.", 800), ("three four five six.", 2000))
    assert made.text == "one two. three four five six."
    assert made.heard(0) == ""
    assert made.heard(800) == "one two."
    assert made.heard(1800) == "one two. three four"
    assert made.heard(2800) == made.text
    assert made.heard(99_999) == made.text


def test_a_word_counts_when_half_of_it_was_heard():
    made = ledger(("abcd efgh", 1000))  # five shares a word, 100 samples each
    assert made.heard(249) == ""
    assert made.heard(250) == "abcd"
    assert made.heard(749) == "abcd"
    assert made.heard(750) == "abcd efgh"


def test_word_timings_are_believed():
    made = ledger(("one two three", 3000, [("one", 0), ("two", 2000), ("three", 2400)]))
    assert made.heard(900) == ""
    assert made.heard(1000) == "one"
    assert made.heard(2199) == "one"
    assert made.heard(2200) == "one two"
    assert made.heard(2699) == "one two"
    assert made.heard(2700) == "one two three"


def test_a_clause_that_has_no_sound_yet_was_not_heard():
    made = ledger(("one two.", 800))
    made.add("three four.", 800, expected=900)
    assert made.heard(800) == "one two."
    assert Ledger().heard(0) == ""


def test_a_clause_still_being_made_is_measured_by_its_expected_length():
    made = Ledger()
    span = made.add("one two three four five six seven eight nine ten", 0, expected=10_000)
    span.end = 1000
    assert made.heard(1000) == "one"
    span.end = 20_000
    assert made.heard(20_000) == span.text, "it takes longer than expected: what is queued counts"
    span.end, span.complete = 1000, True
    assert made.heard(1000) == span.text


CLAUSE = st.tuples(
    st.lists(st.sampled_from(["a", "book", "tables", "extraordinary"]), min_size=1, max_size=6).map(" ".join),
    st.integers(0, 5000),
)


@given(
    st.lists(CLAUSE, max_size=5), st.booleans(), st.booleans(), st.lists(st.integers(0, 30_000), max_size=6)
)
@settings(max_examples=150, deadline=None)
def test_more_sound_is_never_fewer_words(clauses, timed, unfinished, positions):
    made = ledger(*clauses)
    for span in made.spans if timed else []:
        words = span.text.split()
        span.words = [(word, at * (span.end - span.start) // len(words)) for at, word in enumerate(words)]
    if made.spans and unfinished:
        made.spans[-1].complete = False
    everything = made.text.split()
    last = 0
    for position in sorted(positions):
        heard = made.heard(position).split()
        assert heard == everything[: len(heard)], "a beginning of what was said"
        assert len(heard) >= last
        last = len(heard)
    if not unfinished:
        assert made.heard(30_000) == made.text


@pytest.mark.parametrize("words", [[], [("ok", 0)]])
def test_a_clause_without_a_length_is_no_division_by_zero(words):
    made = ledger(("ok", 0, words))
    assert made.heard(0) == "ok"
    made.spans[0].complete = False
    assert made.heard(0) == ""
