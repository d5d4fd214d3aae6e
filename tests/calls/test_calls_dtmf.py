from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.calls.dtmf import KEYS, DigitCollector, Digits, KeyPattern
from voxtra.errors import ConfigurationError


def collector(max_digits: int = 4, timeout_s: float | None = 5.0, **options: Any) -> DigitCollector:
    return DigitCollector(max_digits, timeout_s, now=100.0, **options)


def test_complete() -> None:
    digits = collector(2)
    assert digits.push("1", 101) is None
    result = digits.push("2", 102)
    assert (result, digits.result) == ("12", "12")
    assert isinstance(result, Digits)
    assert (result.reason, result.terminator) == ("finished", "")
    assert digits.push("3", 103) == "12"
    assert digits.expire().reason == "finished"


def test_keys_can_be_copied_with_their_reason() -> None:
    """They are kept in metadata, which somebody copies, or sends to another process."""
    digits = Digits("12", "terminator", "#")
    for copied in (
        copy.copy(digits),
        copy.deepcopy({"pin": digits})["pin"],
        pickle.loads(pickle.dumps(digits)),
    ):
        assert (copied, copied.reason, copied.terminator) == ("12", "terminator", "#")


@pytest.mark.proves("failure 22")
def test_the_terminator_is_no_digit_and_alone_is_no_timeout() -> None:
    digits = collector()
    result = digits.push("#", 101)
    assert result == ""
    assert result is not None
    assert (result.reason, result.terminator) == ("terminator", "#")
    assert collector(terminators="").push("#", 101) is None
    star = collector(terminators="*#")
    star.push("1", 101)
    assert star.push("*", 102) == "1"


@pytest.mark.proves("failure 22")
def test_deadlines() -> None:
    digits = collector(timeout_s=5.0, inter_digit_s=2.0)
    assert digits.deadline == 105.0
    digits.push("1", 104.0)
    assert digits.deadline == 106.0
    assert collector(timeout_s=None).deadline is None
    assert collector(timeout_s=0).deadline == 100.0
    result = digits.expire()
    assert (result, result.reason) == ("1", "timeout")


def test_a_hang_up_keeps_what_was_pressed() -> None:
    digits = collector()
    digits.push("7", 101)
    result = digits.hang_up()
    assert (result, result.reason) == ("7", "hangup")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_digits": 0}, "max_digits=0"),
        ({"max_digits": "4"}, "max_digits='4'"),
        ({"max_digits": 1.5}, "max_digits=1.5"),
        ({"timeout_s": -1}, "timeout=-1"),
        ({"timeout_s": "5"}, "timeout='5'"),
        ({"timeout_s": float("nan")}, "timeout=nan"),
        ({"inter_digit_s": 0}, "inter_digit_timeout=0"),
        ({"inter_digit_s": None}, "inter_digit_timeout=None"),
        ({"terminators": "#x"}, "terminators='#x': 'x' is no key"),
        ({"terminators": None}, "terminators=None"),
    ],
)
def test_bad_arguments(options: dict[str, Any], said: str) -> None:
    arguments = {"max_digits": 1, "timeout_s": 1.0, **options}
    with pytest.raises(ConfigurationError) as error:
        collector(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


steps = st.lists(
    st.one_of(st.sampled_from(KEYS), st.sampled_from(["expire", "hang_up"])),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(steps=steps, max_digits=st.integers(1, 8), terminators=st.sets(st.sampled_from(KEYS)))
def test_any_order_of_keys_time_and_end(steps: list[str], max_digits: int, terminators: set[str]) -> None:
    digits = collector(max_digits, 5.0, terminators="".join(terminators))
    pressed = ""
    now = 100.0
    for step in steps:
        now += 0.5
        before = digits.result
        if step in ("expire", "hang_up"):
            getattr(digits, step)()
        else:
            digits.push(step, now)
            pressed += step
        if before is not None:
            assert digits.result is before, "a result stands"
        if digits.result is None:
            assert digits.deadline == (now + 3.0 if pressed else 105.0)
    result = digits.result
    if result is None:
        assert len(pressed) < max_digits
        assert not terminators & set(pressed)
        return
    assert pressed.startswith(result)
    assert len(result) <= max_digits
    assert not terminators & set(result)
    assert (result.reason == "terminator") == bool(result.terminator)
    assert (len(result) == max_digits) == (result.reason == "finished")
    if result.terminator:
        assert pressed.startswith(result + result.terminator)


@pytest.mark.parametrize(
    ("patterns", "keys", "text", "reason"),
    [
        (["_XXXX"], "1234", "1234", "finished"),
        (["1", "2", "40"], "40", "40", "finished"),
        (["1", "2", "40"], "3", "3", "invalid"),
        (["_2XX", "0"], "0", "0", "finished"),
        (["_2XX", "2"], "2", "2", "finished"),  # after the wait for more
        (["_9."], "9123#", "9123", "terminator"),
        (["_[1-3]Z"], "20", "20", "invalid"),
        (["_N!"], "2", "2", "finished"),
        (["*21#", "_2XX"], "*21#", "*21#", "finished"),  # a key of the pattern is no terminator
        (["*21#", "_2XX"], "*2#", "*2", "terminator"),
        (["_#9X", "_*."], "#95", "#95", "finished"),
        (["_*."], "*9#", "*9", "terminator"),
        (["_X[#*]"], "1#", "1#", "finished"),
    ],
)
def test_patterns(patterns: list[str], keys: str, text: str, reason: str) -> None:
    collector = DigitCollector(1, 10, patterns=patterns, now=0.0)
    for at, key in enumerate(keys):
        collector.push(key, float(at))
    result = collector.result or collector.expire()
    assert (result, result.reason) == (text, reason)


@pytest.mark.parametrize("wrong", ["", "_", "_2Y", "_[]", "xyz"])
def test_a_pattern_that_can_not_be(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="pattern"):
        KeyPattern(wrong)
