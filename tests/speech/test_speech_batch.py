import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech.base import Transcript
from voxtra.speech.batch import MAX_SEGMENTS, MAX_WAITING, BatchSTT, join, quietest_cut

FRAME = 320


def frame(number: int) -> bytes:
    """20 ms at 8 kHz that says which frame it is."""
    return np.full(FRAME // 2, number % 30_000, "<i2").tobytes()


class NumberSTT(BatchSTT):
    """Hears the numbers of the frames: its text is "first-last" of each run."""

    name = "numbers"

    def __init__(self, *, stubborn: bool = False, partial_interval_ms: int = 0) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fail: Exception | None = None
        self.stubborn = stubborn
        self.partial_interval_ms = partial_interval_ms
        self.is_busy = False

    @property
    def busy(self) -> bool:
        return self.is_busy

    async def transcribe(self, pcm, *, rate, language=None, hints=()):
        heard = np.frombuffer(pcm, "<i2")[:: FRAME // 2].tolist()
        self.calls.append(heard)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            if not self.stubborn:
                raise
            await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        return Transcript(" ".join(map(str, heard)), is_final=True, confidence=0.5)


class Call:
    def __init__(self, stt: BatchSTT, **options) -> None:
        self.heard: list[Transcript] = []
        self.errors: list[Exception] = []
        self.stream = stt.open(
            rate=8000, on_transcript=self.heard.append, on_error=self.errors.append, **options
        )
        self.at = 0

    def say(self, frames: int) -> None:
        for _ in range(frames):
            self.at += 1
            self.stream.push(frame(self.at))

    @property
    def finals(self) -> list[list[int]]:
        return [list(map(int, heard.text.split())) for heard in self.heard if heard.is_final]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_pause_is_answered_with_the_speech_and_its_preroll():
    call = Call(NumberSTT())
    call.say(100)
    call.stream.speech_started()
    call.say(10)
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [list(range(86, 111))]  # 15 frames = 300 ms before
    await call.stream.close()


async def test_the_preroll_may_be_set_for_a_call():
    call = Call(NumberSTT())
    call.stream.keep_before(100)
    call.say(100)
    call.stream.speech_started()
    call.say(10)
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [list(range(96, 111))]  # 5 frames = 100 ms before
    await call.stream.close()


async def test_speech_that_goes_on_supersedes_the_answer_under_way():
    stt = NumberSTT()
    call = Call(stt)
    call.stream.speech_started()
    call.say(5)
    stt.gate.clear()
    call.stream.speech_stopped()
    await settle()
    assert stt.calls == [[1, 2, 3, 4, 5]]
    call.say(3)
    call.stream.speech_started()
    call.say(2)
    stt.gate.set()
    await settle()
    assert call.heard == []
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [list(range(1, 11))]
    await call.stream.close()


async def test_each_answer_replaces_the_one_before_until_the_turn_ends():
    call = Call(NumberSTT())
    call.stream.speech_started()
    call.say(2)
    call.stream.speech_stopped()
    await settle()
    call.stream.speech_started()
    call.say(2)
    call.stream.speech_stopped()
    await settle()
    call.stream.next_turn()
    call.stream.speech_started()
    call.say(1)
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [[1, 2], [1, 2, 3, 4], [5]]
    await call.stream.close()


async def test_a_pause_without_a_word_is_answered_with_nothing():
    call = Call(NumberSTT())
    call.stream.speech_stopped()
    await settle()
    assert call.heard == [Transcript("", is_final=True, confidence=1.0)]
    await call.stream.close()


@pytest.mark.parametrize("stubborn", [False, True])
async def test_an_answer_for_a_turn_that_is_over_never_comes(stubborn):
    stt = NumberSTT(stubborn=stubborn)
    call = Call(stt)
    call.stream.speech_started()
    call.say(5)
    stt.gate.clear()
    call.stream.speech_stopped()
    await settle()
    call.stream.next_turn()
    stt.gate.set()
    await settle()
    assert call.heard == []
    await call.stream.close()


async def test_partials_come_while_speaking_and_not_when_busy():
    stt = NumberSTT(partial_interval_ms=100)
    call = Call(stt)
    call.stream.speech_started()
    for _ in range(12):
        call.say(1)
        await settle()
    assert [len(heard.text.split()) for heard in call.heard] == [5, 10]
    assert not any(heard.is_final for heard in call.heard)
    stt.is_busy = True
    call.say(30)
    await settle()
    assert len(call.heard) == 2
    await call.stream.close()


async def test_a_late_partial_does_not_follow_the_final():
    stt = NumberSTT(stubborn=True, partial_interval_ms=100)
    call = Call(stt)
    stt.gate.clear()
    call.stream.speech_started()
    call.say(6)
    await settle()
    call.stream.speech_stopped()
    await settle()
    stt.gate.set()
    await settle()
    assert [heard.is_final for heard in call.heard] == [True]
    await call.stream.close()


async def test_a_long_turn_is_cut_and_joined_in_order():
    stt = NumberSTT()
    call = Call(stt)
    call.stream.speech_started()
    for _ in range(7):
        call.say(500)
        await settle()
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [list(range(1, 3501))]
    assert all(len(heard) <= 1400 for heard in stt.calls)
    assert len(stt.calls) >= 3
    await call.stream.close()


async def test_a_pause_in_a_long_turn_settles_what_was_said():
    stt = NumberSTT()
    call = Call(stt)
    call.stream.speech_started()
    call.say(700)  # 14 s
    call.stream.speech_stopped()
    await settle()
    call.stream.speech_started()
    call.say(50)
    call.stream.speech_stopped()
    await settle()
    assert [len(heard) for heard in stt.calls] == [700, 50]
    assert call.finals[-1] == list(range(1, 751))
    await call.stream.close()


async def test_an_engine_that_is_too_slow_costs_words_not_memory():
    stt = NumberSTT()
    call = Call(stt)
    stt.gate.clear()
    call.stream.speech_started()
    most = 0
    for _ in range(40):
        call.say(500)  # 400 s in all
        await asyncio.sleep(0)
        most = max(most, call.stream.buffered)
    assert most <= (MAX_WAITING + 1) * 28 * 16000 + 4800
    assert "can't keep up" in str(call.errors[0])
    stt.gate.set()
    call.stream.speech_stopped()
    await settle()
    assert call.finals[-1][-1] == call.at
    await call.stream.close()


async def test_an_error_of_the_engine_is_told_and_the_stream_goes_on():
    stt = NumberSTT()
    call = Call(stt)
    for fault, words in ((STTError("no luck"), "no luck"), (ValueError("odd"), "numbers: ValueError: odd")):
        stt.fail = fault
        call.stream.speech_started()
        call.say(2)
        call.stream.speech_stopped()
        await settle()
        assert isinstance(call.errors[-1], STTError)
        assert str(call.errors[-1]) == words
        call.stream.next_turn()
    stt.fail = None
    call.stream.speech_started()
    call.say(1)
    call.stream.speech_stopped()
    await settle()
    assert call.finals == [[5]]
    await call.stream.close()


async def test_nothing_comes_after_close():
    stt = NumberSTT()
    call = Call(stt)
    call.stream.speech_started()
    call.say(2)
    stt.gate.clear()
    call.stream.speech_stopped()
    await settle()
    closing = asyncio.create_task(call.stream.close())
    await settle()
    stt.gate.set()
    await closing
    await call.stream.close()
    call.say(2)
    call.stream.speech_started()
    call.stream.speech_stopped()
    await settle()
    assert call.heard == call.errors == []
    assert call.stream.buffered == 0


async def test_two_calls_never_hear_each_other():
    stt = NumberSTT()
    one, other = Call(stt), Call(stt)
    other.at = 1000
    for call in (one, other):
        call.stream.speech_started()
    for _ in range(10):
        one.say(1)
        other.say(1)
    for call in (one, other):
        call.stream.speech_stopped()
    await settle()
    assert one.finals == [list(range(1, 11))]
    assert other.finals == [list(range(1001, 1011))]
    for call in (one, other):
        await call.stream.close()


def test_a_rate_that_cannot_be_is_refused():
    with pytest.raises(ConfigurationError, match="rate = 4000"):
        NumberSTT().open(rate=4000, on_transcript=print, on_error=print)


def test_joining_weighs_by_words():
    joined = join(
        [Transcript("a b c", confidence=1.0), Transcript(" "), Transcript("d", confidence=0.0)], is_final=True
    )
    assert joined == Transcript("a b c d", is_final=True, confidence=0.75)
    assert join([], is_final=False) == Transcript("", is_final=False)


def test_the_cut_falls_into_the_pause():
    rng = np.random.default_rng(1)
    sound = rng.integers(-8000, 8000, 8000 * 20).astype("<i2")
    sound[8000 * 15 : 8000 * 15 + 2400] //= 100
    cut = quietest_cut(sound.tobytes(), 8000)
    assert 15.0 <= cut / 16000 <= 15.3


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(1, 80)),
        st.tuples(st.sampled_from(["started", "stopped", "next", "run", "hold", "fail", "heal"]), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, stubborn=st.booleans())
def test_whatever_the_order_no_words_of_an_old_turn_come_and_memory_is_bounded(steps, stubborn):
    async def play() -> None:
        stt = NumberSTT(stubborn=stubborn, partial_interval_ms=200)
        call = Call(stt)
        begun = [0]  # last frame pushed before each turn
        seen: dict[int, int] = {}  # frame -> turn whose transcript held it

        def check(heard: Transcript) -> None:
            numbers = list(map(int, heard.text.split()))
            assert numbers == sorted(set(numbers)), "a frame twice, or out of order"
            turn = len(begun) - 1
            for number in numbers:
                assert number > begun[turn] - 15, "older than the turn and its pre-roll"
                assert seen.setdefault(number, turn) == turn, "in two turns"

        call.stream._on_transcript = check
        for step, count in steps:
            if step == "push":
                call.say(count)
            elif step == "started":
                call.stream.speech_started()
            elif step == "stopped":
                call.stream.speech_stopped()
            elif step == "next":
                call.stream.next_turn()
                begun.append(call.at)
            elif step == "run":
                await settle()
            elif step in ("hold", "heal"):
                (stt.gate.clear if step == "hold" else stt.gate.set)()
                stt.fail = None
            else:
                stt.fail = STTError("now and then")
            assert call.stream.buffered <= (MAX_WAITING + 1) * 28 * 16000 + 4800
        if not stubborn:
            await settle()
            assert len(call.stream._tasks) <= 3
        stt.gate.set()
        await settle()
        await call.stream.close()
        assert not call.stream._tasks

    asyncio.run(play())


async def test_a_turn_without_end_keeps_its_newest_segments():
    call = Call(NumberSTT())
    call.stream.speech_started()
    for _ in range(MAX_SEGMENTS + 10):
        call.say(1401)
        await settle()
    assert len(call.stream._segments) == MAX_SEGMENTS
    await call.stream.close()
