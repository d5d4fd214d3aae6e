"""Does a recogniser keep the rules of :class:`voxtra.speech.STT`?"""

from __future__ import annotations

import asyncio
import difflib
import threading
from collections.abc import Callable

from voxtra.errors import ConfigurationError, STTError
from voxtra.speech.base import STT, STTStream, Transcript
from voxtra.testing.check_rules import FRAME_S, SENTENCE, Rules, frames, spoken

NOTICED = 3
"""Frames until a VAD notices speech."""
PAUSE = 15
"""Frames of silence until it reports the pause."""


async def check_stt(
    provider: STT,
    *,
    speech: bytes | None = None,
    expect: str = "",
    rate: int = 8000,
    final_s: float = 5.0,
    real_time: bool = False,
) -> None:
    """Check that ``provider`` keeps the rules of an STT; it is closed at the end.

    Args:
        provider: what is checked.
        speech: 16-bit PCM at ``rate`` that holds one phrase; None: a sentence by the embedded voice
            (``voxtra[local]``).
        expect: its words; at least half of them must be heard. "" with your own ``speech``: any words.
        rate: Hz.
        final_s: longest wait for a final transcript, in s.
        real_time: push a frame each 20 ms, as a call does; else as fast as it goes.

    Raises:
        AssertionError: a rule is broken; names the rule and what was found.
        MissingExtraError: no ``speech`` was given, and the embedded voice is not installed.
    """
    sound = frames(await spoken(speech, rate), rate)
    wanted = expect or (SENTENCE if speech is None else "")
    with Rules(provider) as rules:
        await rules.warms_up_twice(provider)
        check = _Check(provider, rules, sound, wanted, rate, final_s, FRAME_S if real_time else 0.0)
        await check.turns()
        await check.silence()
        await check.two_calls()
        await check.closing()
        check.other_rates()
        await rules.closes_twice(provider)


class _Call:
    """One call's recogniser, and what it says."""

    def __init__(self, provider: STT, rules: Rules, rate: int) -> None:
        self._rules = rules
        self._loop_thread = threading.get_ident()
        self.rate = rate
        self.heard: list[Transcript] = []
        self.errors: list[Exception] = []
        self.closed = False
        self._news = asyncio.Event()
        self._flaw: str = ""
        stream = rules.swift(
            lambda: provider.open(rate=rate, on_transcript=self._told, on_error=self._failed), "open()"
        )
        rules.expect(isinstance(stream, STTStream), "open() must give an STTStream", type(stream).__name__)
        self.stream: STTStream = stream

    def _told(self, transcript: Transcript) -> None:
        self._note(isinstance(transcript, Transcript), f"on_transcript was given {transcript!r}")
        self._note(0 <= transcript.confidence <= 1, f"confidence = {transcript.confidence}")
        self.heard.append(transcript)

    def _failed(self, problem: Exception) -> None:
        self._note(isinstance(problem, STTError), f"on_error was given {type(problem).__name__}: {problem}")
        self.errors.append(problem)

    def _note(self, true: bool, flaw: str) -> None:
        if threading.get_ident() != self._loop_thread:
            self._flaw = "a callback came on another thread than the event loop's"
        elif self.closed:
            self._flaw = "a callback came after close()"
        elif not true:
            self._flaw = flaw
        self._news.set()

    def sound(self) -> None:
        """Raise the AssertionError when a callback was not as it must be."""
        self._rules.expect(not self._flaw, "callbacks must keep to the contract", self._flaw)

    @property
    def finals(self) -> list[Transcript]:
        return [transcript for transcript in self.heard if transcript.is_final]

    def do(self, act: Callable[[], None], what: str) -> None:
        self._rules.swift(act, what)

    async def push(self, sound: list[bytes], step: float, *, noticed: int | None = None) -> None:
        for number, frame in enumerate(sound):
            self.do(lambda frame=frame: self.stream.push(frame), "push()")  # type: ignore[misc]
            if number == noticed:
                self.do(self.stream.speech_started, "speech_started()")
            await asyncio.sleep(step)

    async def speak(self, sound: list[bytes], step: float) -> None:
        await self.push(sound, step, noticed=NOTICED)
        await self.push([bytes(self.rate // 50 * 2)] * PAUSE, step)

    async def final(self, limit: float, what: str) -> Transcript:
        """The answer to a pause reported now."""
        before, failed = len(self.finals), len(self.errors)
        self.do(self.stream.speech_stopped, "speech_stopped()")
        try:
            async with asyncio.timeout(limit):
                while len(self.finals) == before:
                    self._news.clear()
                    self._rules.expect(len(self.errors) == failed, what, f"on_error: {self.errors[-1:]}")
                    await self._news.wait()
        except TimeoutError:
            self._rules.broken(what, f"no final transcript within {limit:g} s")
        self.sound()
        return self.finals[-1]

    async def close(self) -> None:
        await self._rules.within(5, self.stream.close(), "close() of a stream must come to an end", STTError)
        self.closed = True


class _Check:
    def __init__(
        self,
        provider: STT,
        rules: Rules,
        sound: list[bytes],
        wanted: str,
        rate: int,
        final_s: float,
        step: float,
    ) -> None:
        self._provider, self._rules, self._sound = provider, rules, sound
        self._wanted, self._rate, self._limit, self._step = wanted, rate, final_s, step

    def _call(self) -> _Call:
        return _Call(self._provider, self._rules, self._rate)

    async def turns(self) -> None:
        """A turn, one that goes on after a pause, and the next."""
        call = self._call()
        await call.speak(self._sound, self._step)
        first = await call.final(self._limit, "a pause must be answered by a final transcript")
        self._rules.expect(first.text.strip(), "speech must be heard", "the final transcript is empty")
        if self._wanted:
            like = likeness(first.text, self._wanted)
            rule = f"the words {self._wanted!r} must be heard"
            self._rules.expect(like >= 0.5, rule, f"{first.text!r}")
        await call.speak(self._sound, self._step)
        both = await call.final(self._limit, "a second pause in the turn must be answered too")
        rule = "a final must hold all of the turn, also what was said before its pauses"
        more = len(both.text.split()) > len(first.text.split())
        self._rules.expect(more, rule, f"first {first.text!r}, then {both.text!r}")
        call.do(call.stream.next_turn, "next_turn()")
        await call.speak(self._sound, self._step)
        third = await call.final(self._limit, "a pause in the next turn must be answered")
        rule = "next_turn() must forget the words of the turn before"
        alike = len(third.text.split()) < len(both.text.split())
        self._rules.expect(alike, rule, f"{both.text!r} before, {third.text!r} in the next turn")
        await call.close()
        await self._rules.allow_tasks()  # of the first call; those after it may leave no more

    async def silence(self) -> None:
        """A pause in which nothing was said has an answer too: an empty one."""
        call = self._call()
        await call.push([bytes(self._rate // 50 * 2)] * 25, self._step)
        nothing = await call.final(self._limit, "a pause without speech must be answered")
        self._rules.expect(not nothing.text.strip(), "silence must be no words", repr(nothing.text))
        await call.close()

    async def two_calls(self) -> None:
        """No call hears another one's words."""
        one, two = self._call(), self._call()
        await asyncio.gather(
            one.speak(self._sound, self._step),
            two.push([bytes(self._rate // 50 * 2)] * len(self._sound), self._step),
        )
        said = await one.final(self._limit, "a pause must be answered while another call is on")
        silent = await two.final(self._limit, "a pause must be answered while another call is on")
        self._rules.expect(said.text.strip(), "two calls at once must both be heard", repr(said.text))
        self._rules.expect(not silent.text.strip(), "no call may hear another one's words", repr(silent.text))
        await asyncio.gather(one.close(), two.close())

    async def closing(self) -> None:
        """Closed in mid-work: no callback, no task, and calls that come late do no harm."""
        call = self._call()
        await call.speak(self._sound, 0)
        call.do(call.stream.speech_stopped, "speech_stopped()")
        await call.close()
        await self._rules.within(5, call.stream.close(), "a second close() must come to an end", STTError)
        for act in (call.stream.speech_started, call.stream.speech_stopped, call.stream.next_turn):
            call.do(act, f"{act.__name__}() after close()")
        call.do(lambda: call.stream.push(self._sound[0]), "push() after close()")
        await asyncio.sleep(0.2)
        call.sound()
        await self._rules.nothing_left("close() of a stream")

    def other_rates(self) -> None:
        """A rate that can't be is a ConfigurationError, at once."""
        try:
            self._provider.open(rate=-1, on_transcript=print, on_error=print)
        except ConfigurationError:
            return
        except Exception as problem:
            raise AssertionError(
                f"{self._provider.name}: open(rate=-1) must raise ConfigurationError: {problem!r}"
            ) from problem
        self._rules.broken("open(rate=-1) must raise ConfigurationError", "it did not")


def likeness(heard: str, wanted: str) -> float:
    """0..1: how many of the wanted words were heard, in order."""
    ours, theirs = (
        ["".join(letter for letter in word if letter.isalnum()) for word in text.lower().split()]
        for text in (heard, wanted)
    )
    matches = difflib.SequenceMatcher(a=theirs, b=ours, autojunk=False).get_matching_blocks()
    return sum(match.size for match in matches) / max(len(theirs), 1)
