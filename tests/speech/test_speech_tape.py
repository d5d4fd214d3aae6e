"""The tape and the words of a turn: whatever drops, comes late or twice, no sound is lost and no word doubled."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import STTError, TTSError
from voxtra.speech.sdk import as_error, explain, retry_after, said, websocket_url
from voxtra.speech.tape import Heard, Tape, TurnText

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=40)),
        st.tuples(st.just("read"), st.integers(1, 50)),
        st.tuples(st.just("settle"), st.integers(-10, 60)),
        st.tuples(st.just("forget"), st.integers(-10, 60)),
        st.tuples(st.just("rewind"), st.none()),
    ),
    max_size=60,
)


@given(steps=STEPS, limit=st.integers(1, 80))
@settings(max_examples=200, deadline=None)
def test_a_tape_gives_what_it_was_given_in_order_and_keeps_its_bound(steps, limit):
    tape, whole = Tape(limit), b""
    for what, how in steps:
        if what == "append":
            tape.append(how)
            whole += how
        elif what == "read":
            at = tape.cursor
            assert tape.read(how) == whole[at : at + how]
        elif what == "rewind":
            assert tape.rewind() == tape.start == tape.cursor
        else:
            # a place relative to what is kept: what is settled was sent, what is forgotten need not have been
            place = min(tape.start + how, tape.end)
            sent = tape.cursor
            getattr(tape, what)(place)
            assert tape.start <= sent or what == "forget"
        assert tape.start <= tape.cursor <= tape.end == len(whole)
        assert tape.end - tape.start <= limit
        assert tape.waiting == tape.end - tape.cursor


def test_what_a_full_tape_lost_before_it_was_sent_is_counted():
    tape = Tape(10)
    tape.append(bytes(8))
    tape.read(4)
    tape.append(bytes(8))
    assert (tape.lost, tape.start, tape.cursor) == (2, 6, 6)


def stretch(text, begin, end, **more):
    words = text.split()
    step = (end - begin) / max(len(words), 1)
    middles = tuple((word, begin + (at + 0.5) * step) for at, word in enumerate(words))
    return Heard(text, begin, end, words=middles, **more)


def test_partials_are_replaced_and_finals_kept():
    text = TurnText()
    text.hear(stretch("one", 0, 500), 0)
    text.hear(stretch("one two", 0, 800), 0)
    assert text.transcript(is_final=False).text == "one two"
    assert text.open
    text.hear(stretch("One two.", 0, 1000, is_final=True, confidence=0.5), 0)
    text.hear(stretch("three", 1000, 1200, confidence=1.0), 0)
    whole = text.transcript(is_final=True)
    assert (whole.text, whole.is_final) == ("One two. three", True)
    assert whole.confidence == pytest.approx((2 * 0.5 + 1) / 3)


def test_what_was_heard_twice_counts_once():
    text = TurnText()
    assert text.hear(stretch("one", 0, 500, is_final=True), 0)
    assert not text.hear(stretch("one", 0, 500, is_final=True), 0)
    assert not text.hear(stretch("one", 100, 400), 0)
    assert text.transcript(is_final=True).text == "one"


def test_a_connection_counts_its_time_from_its_own_begin():
    text = TurnText()
    text.hear(stretch("one", 0, 500, is_final=True), 0)
    text.hear(stretch("two", 0, 400, is_final=True), 500)
    assert text.transcript(is_final=True).text == "one two"
    assert text.settled == 900


def test_words_across_two_turns_go_where_they_were_said():
    text = TurnText()
    text.next(1000)
    assert not text.hear(stretch("the last turn", 0, 1000, is_final=True), 0)
    text.hear(stretch("old old new new", 500, 1500, is_final=True), 0)
    assert text.transcript(is_final=True).text == "new new"
    without = TurnText()
    without.next(1000)
    without.hear(Heard("mostly old", 0, 1200, is_final=True), 0)
    assert not without.known
    without.hear(Heard("mostly new", 900, 2000, is_final=True), 0)
    assert without.transcript(is_final=True).text == "mostly new"


@given(
    stretches=st.lists(
        st.tuples(st.sampled_from(["", "a", "b c"]), st.floats(0, 5000), st.floats(0, 5000), st.booleans()),
        max_size=30,
    ),
    turn=st.floats(0, 5000),
)
@settings(max_examples=200, deadline=None)
def test_no_order_of_stretches_breaks_it(stretches, turn):
    text = TurnText()
    for at, (words, begin, length, final) in enumerate(stretches):
        if at == 5:
            text.next(turn)
        before = text.settled
        text.hear(stretch(words, begin, begin + length, is_final=final), 0)
        assert text.settled >= before
        assert text.transcript(is_final=True).text.split() == text.transcript(is_final=False).text.split()
    text.next(1e9)
    assert text.transcript(is_final=True).text == ""


def test_a_turn_without_end_is_bounded():
    text = TurnText()
    for at in range(2000):
        text.hear(Heard("word", at * 10, at * 10 + 10, is_final=True), 0)
    assert len(text.transcript(is_final=True).text.split()) == TurnText.MAX_STRETCHES


class Failure(Exception):
    def __init__(self, **more):
        self.__dict__ |= more


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Failure(status_code=400, body={"detail": {"message": "no"}}), ("400 no", 400, 0)),
        (Failure(status_code=429, body="x  y", headers={"retry-after": "3"}), ("429 x y", 429, 3)),
        (Failure(status_code=500, body=None, message="oh"), ("500 oh", 500, 0)),
        (
            Failure(response=Failure(status_code=403, body=bytearray(b'{"err_msg": "no"}'), headers={})),
            ("403 no", 403, 0),
        ),
        (Failure(rcvd=Failure(code=1011, reason="bored")), ("closed by the server: 1011 bored", 0, 0)),
        (OSError("gone"), ("OSError: gone", 0, 0)),
        (KeyError(), ("KeyError", 0, 0)),
    ],
)
def test_whatever_an_sdk_raises_has_words(problem, words):
    assert explain(problem) == words
    error = as_error(TTSError, "voice", problem)
    assert str(error) == f"voice: {words[0]}"
    assert isinstance(error, TTSError)
    assert getattr(error, "status", 0) == words[1]
    assert isinstance(as_error(STTError, "ear", problem), STTError)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("2", 2), ("0.5", 0.5), ("-1", 0), ("1e9", 3600), ("Sat, 21 Nov 2026", 0), (None, 0)],
)
def test_retry_after(value, seconds):
    assert retry_after({"Retry-After": value} if value else {}) == seconds
    assert retry_after(None) == 0


def test_words_of_a_refusal_whatever_its_form():
    assert said({"error": {"message": "a"}}) == "a"
    assert said({"detail": [{"msg": "b", "message": "c"}, "d"]}) == "c; d"
    assert said({"other": 1}) == "{'other': 1}"
    assert said({}) == said(None) == ""
    assert len(said("x" * 999)) == 300


def test_the_same_address_for_websockets():
    assert websocket_url("https://a/v1") == "wss://a/v1"
    assert websocket_url("http://a") == "ws://a"
    assert websocket_url("wss://a") == "wss://a"
