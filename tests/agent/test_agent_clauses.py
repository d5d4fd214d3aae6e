"""Clauses: where they end, and that the pieces a text comes in change nothing."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.agent.clauses import MAX_CLAUSE, ClauseSplitter, clauses

TEXT = st.text(
    st.one_of(st.sampled_from(list("ab 7.!?…\n\t\"')。 ")), st.characters(codec="utf-8")), max_size=600
)
SPOKEN = st.lists(
    st.sampled_from(
        ["Dr. ", "Yes. ", "I see", " ", "3.", "5 p.m. ", "a. b. ", "word " * 60, "x" * 500, "\n", "!? "]
    ),
    max_size=30,
).map("".join)


def split(pieces):
    splitter = ClauseSplitter()
    out = [clause for piece in pieces for clause in splitter.push(piece)]
    rest = splitter.flush()
    return [*out, rest] if rest else out


def bare(text):
    return "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \n ", []),
        ("Hello", ["Hello"]),
        ("How are you today? I am fine.", ["How are you today?", "I am fine."]),
        ("Yes. I can do that for you. Bye.", ["Yes. I can do that for you.", "Bye."]),
        ("I asked Dr. Smith about it. He agreed.", ["I asked Dr. Smith about it.", "He agreed."]),
        ("It costs 3.50 pounds in all. Fine?", ["It costs 3.50 pounds in all.", "Fine?"]),
        ("We open at 9 a.m. on Mondays. Come!", ["We open at 9 a.m. on Mondays.", "Come!"]),
        ('She said "come in now." Then she left.', ['She said "come in now."', "Then she left."]),
        ("What on earth?! No idea whatever... Well", ["What on earth?!", "No idea whatever...", "Well"]),
        ("First of all this\nand then that\n", ["First of all this", "and then that"]),
        ("You are number 3.\nPlease hold", ["You are number 3.", "Please hold"]),
        ("多谢您的来电，请稍等一下好吗。我马上回来", ["多谢您的来电，请稍等一下好吗。", "我马上回来"]),
        ("Too   many\t spaces here.  Yes", ["Too many spaces here.", "Yes"]),
    ],
)
def test_where_a_clause_ends(text, expected):
    assert split([text]) == expected


def test_a_clause_stands_as_soon_as_what_follows_is_known():
    splitter = ClauseSplitter()
    assert splitter.push("How are you today?") == []
    assert splitter.push(" ") == ["How are you today?"]


def test_text_without_an_end_is_cut_at_a_space():
    parts = split(["word " * 200])
    assert len(parts) > 3
    assert all(len(part) <= MAX_CLAUSE and set(part.split()) == {"word"} for part in parts)


@given(TEXT | SPOKEN, st.lists(st.integers(0, 600), max_size=8))
@settings(max_examples=300, deadline=None)
def test_any_split_gives_the_same_clauses_and_loses_nothing(text, cuts):
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    whole = split([text])
    assert split(pieces) == whole
    assert split(text) == whole, "one character at a time"
    assert bare("".join(whole)) == bare(text)
    assert all(clause and len(clause) <= MAX_CLAUSE for clause in whole)


def test_a_long_text_is_cut_in_a_moment():
    text = "x" * 100_000
    assert "".join(split([text])) == text


async def test_a_stream_is_cut_while_it_comes_and_closed_with_its_clauses():
    closed = []

    async def pieces():
        try:
            yield "How are you today? I "
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    cut = clauses(pieces())
    assert await anext(cut) == "How are you today?"
    await cut.aclose()
    assert closed == [True]


async def test_any_iterable_will_do():
    class Pieces:
        def __init__(self):
            self.left = ["How are you", " today? ", "Well"]

        def __aiter__(self):
            return self

        async def __anext__(self):
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    assert [clause async for clause in clauses(Pieces())] == ["How are you today?", "Well"]
    assert [clause async for clause in clauses("Plain text")] == ["Plain text"]
