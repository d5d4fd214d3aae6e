"""Who answered, by how long the first words last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_app import running
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra import CallSession
from voxtra.calls.amd import AnswerDetector, AnswerResult
from voxtra.errors import ConfigurationError


def heard(*pieces: tuple[str, int], **options: Any) -> AnswerResult | None:
    """What is decided after ``("voice", ms), ("silence", ms) ...``, in frames of 20 ms."""
    detector = AnswerDetector(0, **options)
    now = 0.0
    for kind, length in pieces:
        for _ in range(length // 20):
            now += 20
            if detector.frame(0.9 if kind == "voice" else 0.1, now) is not None:
                return detector.result
    return detector.result


def voice(ms: int) -> tuple[str, int]:
    return "voice", ms


def silence(ms: int) -> tuple[str, int]:
    return "silence", ms


@pytest.mark.parametrize(
    ("pieces", "who", "why", "delay"),
    [
        ([silence(600), voice(400), silence(2000)], "human", "short_greeting", 1700),
        (
            [silence(600), voice(300), silence(200), voice(400), silence(2000)],
            "human",
            "short_greeting",
            2200,
        ),
        ([silence(300), voice(5000)], "machine", "long_greeting", 2120),
        ([silence(300), voice(900), silence(300), voice(900)], "machine", "long_greeting", 2120),
        ([silence(9000)], "unsure", "silence", 3500),
        ([silence(3400), voice(1700), silence(600), voice(9000)], "machine", "long_greeting", 5800),
        ([silence(3400), voice(400), silence(9000)], "human", "short_greeting", 4500),
    ],
)
def test_a_first_utterance(pieces: list[tuple[str, int]], who: str, why: str, delay: int) -> None:
    result = heard(*pieces)
    assert result is not None
    assert (result.who, result.why) == (who, why)
    assert abs(result.delay_ms - delay) <= 40


@pytest.mark.parametrize("click", [20, 40, 80])
def test_a_click_is_no_word(click: int) -> None:
    """That of the line as it is answered made a machine a person before its greeting began."""
    result = heard(silence(200), voice(click), silence(1200), voice(9000))
    assert result is not None
    assert (result.who, result.why) == ("machine", "long_greeting")
    assert heard(silence(200), voice(click), silence(9000)) == AnswerResult("unsure", 3500, "silence")
    clicks = [each for _ in range(20) for each in (voice(click), silence(400))]
    again = heard(voice(400), *clicks)
    assert again is not None
    assert again.who == "human", "nor do clicks make a word longer"


@pytest.mark.parametrize("gap", [20, 40])
def test_a_word_has_gaps(gap: int) -> None:
    result = heard(silence(200), voice(60), silence(gap), voice(60), silence(2000))
    assert result is not None
    assert (result.who, result.why) == ("human", "short_greeting")


def test_too_long_to_wait_for() -> None:
    assert heard(silence(5000), voice(400), silence(2000), initial_silence_ms=9000) == AnswerResult(
        "unsure", 6000, "timeout"
    )


def test_words_and_a_hang_up() -> None:
    detector = AnswerDetector(100)
    assert detector.words("Hello, please leave", 400) is None
    assert detector.words("Please Leave a Message after", 600) == AnswerResult("machine", 500, "words")
    assert detector.hang_up(900) == AnswerResult("machine", 500, "words")
    assert AnswerDetector(100).hang_up(900) == AnswerResult("unsure", 800, "hangup")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["voice", "silence"]), st.integers(0, 1500)), max_size=20))
def test_it_is_decided_in_time_and_stands(pieces: list[tuple[str, int]]) -> None:
    result = heard(*pieces, silence(7000))
    assert result is not None
    assert 0 < result.delay_ms <= 6000


# ---- the verb


@pytest.mark.parametrize(
    "arguments", [{"method": "amd"}, {"timeout": 0}, {"timeout": "6"}, {"timeout": float("nan")}]
)
async def test_arguments_that_can_not_be(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> None:
    said: list[str] = []

    async def handler(call: CallSession) -> None:
        try:
            await call.detect_machine(**arguments)
        except ConfigurationError as error:
            said.append(str(error))

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    (name, value) = next(iter(arguments.items()))
    assert said
    assert f"{name}={value!r}" in said[0]


async def test_a_line_on_which_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A muted phone with silence suppression sends nothing at all: no frame, and yet time passes."""
    monkeypatch.setattr("voxtra.sounds.AnswerDetector", lambda began, **rest: AnswerDetector(
        began, initial_silence_ms=100, **rest))  # fmt: skip
    results: list[AnswerResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.detect_machine(timeout=4))

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over(3)
    assert (results[0].who, results[0].why) == ("unsure", "silence")
    assert 100 <= results[0].delay_ms < 2000


async def test_the_call_ends_first(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[AnswerResult] = []

    async def handler(call: CallSession) -> None:
        results.append(await call.detect_machine())

    async with running(monkeypatch, handler) as world:
        world.call()
        async with asyncio.timeout(2):
            while not (world.transport.lines and not world.transport.lines[0].paused):
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        world.ari.hang_up("caller")
        await world.over()
    assert (results[0].who, results[0].why) == ("unsure", "hangup")
