from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from voxtra.testing.fake_sound import FRAME_BYTES, hum, labelled, read, spoken

TEXTS = st.text(st.characters(codec="utf-16", exclude_categories=("Cs", "Co", "Cn"), exclude_characters="\0"))


def heard(pcm: bytes) -> str:
    pcm += bytes(-len(pcm) % FRAME_BYTES)
    units = b""
    for at in range(0, len(pcm), FRAME_BYTES):
        units += read(pcm[at : at + FRAME_BYTES]).text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le")


@given(TEXTS.filter(bool))
def test_what_is_said_is_heard(text: str) -> None:
    assert heard(spoken(text)) == text


@given(TEXTS, st.floats(1, 3))
def test_a_label_is_heard_whole_at_the_beginning(text: str, seconds: float) -> None:
    pcm = labelled(text[:40], seconds)
    assert heard(pcm) == text[:40]
    assert abs(len(pcm) / 16000 - seconds) < 0.001


def test_length_and_shortest_length() -> None:
    assert len(spoken("hello")) == 5 * 60 * 16
    assert len(spoken("no", shortest_ms=420)) == 420 * 16
    assert heard(spoken("no", shortest_ms=420)) == "no"


def test_nothing_is_heard_before_its_sound_has_ended() -> None:
    pcm = spoken("ab")
    assert heard(pcm[: FRAME_BYTES * 5]) == "a"
    assert heard(pcm[: FRAME_BYTES * 6]) == "ab"


def test_silence_noise_and_real_sound_are_no_words() -> None:
    assert read(bytes(FRAME_BYTES)) == (False, "", None)
    assert read(hum(0.02)) == (True, "", None)
    assert read(bytes(range(256)) + bytes(range(64))).text == ""
    assert read(bytes(range(256)) + bytes(range(64))).voice


def test_confidence_travels() -> None:
    pcm = spoken("hm", confidence=0.4)
    assert [read(pcm[at : at + FRAME_BYTES]).confidence for at in (0, FRAME_BYTES)] == [0.4, None]
    assert heard(pcm) == "hm"
