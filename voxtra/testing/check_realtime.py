"""The conformance check of models that hear and speak themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from voxtra.errors import LLMError
from voxtra.speech.base import (
    CallerText,
    CallerTurn,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechEvent,
    SpeechStream,
    SpeechToSpeech,
    StreamLost,
)
from voxtra.testing.check_rules import Rules, frames, spoken

E = TypeVar("E")

SAY = "Say exactly: Good morning."
RATE = 8000
OPEN_S = 15.0
REPLY_S = 20.0
QUIET_S = 0.3


class _Heard:
    """What comes from one stream, and the rules that hold of it whatever comes."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.events: list[SpeechEvent] = []

    def take(self, event: SpeechEvent) -> None:
        """The next event. Looked at by ``until``: the provider may swallow what is raised here."""
        self.events.append(event)

    def check(self) -> None:
        """The order of what has come."""
        rules, live = self._rules, ""
        for event in self.events:
            match event:
                case ReplyStarted(reply=name):
                    rules.expect(name and not live, "one reply begins when the one before has ended", event)
                    live = name
                case ReplyAudio(reply=name, pcm=pcm):
                    rules.expect(name == live, "sound belongs to the reply that has begun", name)
                    rules.expect(pcm and len(pcm) % 2 == 0, "sound is whole samples", f"{len(pcm)} bytes")
                case ReplyText(reply=name) | ReplyAudioEnded(reply=name) | ReplyToolCall(reply=name):
                    rules.expect(
                        name == live, "what comes of a reply belongs to the one that has begun", event
                    )
                case ReplyEnded(reply=name):
                    rules.expect(name in ("", live), "the reply that ends is the one that has begun", event)
                    live = "" if name else live
                case StreamLost(error=error):
                    rules.broken("the stream must last", error)

    async def until(self, kind: type[E], what: str, limit: float, so: Callable[[E], bool] | None = None) -> E:
        """The first event of ``kind`` for which ``so``; fails when it does not come within ``limit`` s."""
        until = asyncio.get_running_loop().time() + limit
        while True:
            self.check()
            for event in self.events:
                if isinstance(event, kind) and (so is None or so(event)):
                    return event
            if asyncio.get_running_loop().time() > until:
                kinds = ", ".join(type(event).__name__ for event in self.events[-8:]) or "nothing"
                self._rules.broken(what, f"it did not within {limit:g} s; the last that came: {kinds}")
            await asyncio.sleep(0.01)

    def of(self, kind: type[E]) -> list[E]:
        """All of ``kind`` so far."""
        return [event for event in self.events if isinstance(event, kind)]


async def check_realtime(
    provider: SpeechToSpeech, *, speech: bytes | None = None, codec: str = "ulaw", reply_s: float = REPLY_S
) -> None:
    """Check that ``provider`` keeps the rules of a model that hears and speaks; it is closed at the end.

    Four conversations are opened, and some replies asked for.

    Args:
        provider: what is checked.
        speech: 16-bit PCM at 8000 Hz, some words; None = a sentence by the embedded voice.
        codec: of the line.
        reply_s: longest wait for a reply, and for what was said to be understood, in s.

    Raises:
        AssertionError: a rule is broken; names the rule and what was found.
        MissingExtraError: ``speech`` is None and the embedded voice is not installed.
    """
    pcm = await spoken(speech, RATE)
    with Rules(provider) as rules:
        await rules.warms_up_twice(provider)

        async def open_(**more: Any) -> tuple[SpeechStream, _Heard]:
            heard = _Heard(rules)
            work = provider.open(rate=RATE, codec=codec, on_event=heard.take, **more)
            stream = await rules.within(OPEN_S, work, "open() must come to an end", LLMError)
            rules.expect(
                isinstance(stream.rate, int) and stream.rate >= 8000, "a stream's rate is Hz", stream.rate
            )
            return stream, heard

        stream, heard = await open_(instructions="Be brief.")
        await _told(rules, stream, heard, reply_s)
        await _cut_off(rules, stream, heard, reply_s)
        await _closes(rules, stream, heard)
        await rules.nothing_left("close() of a stream")
        stream, heard = await open_(history=[{"role": "user", "content": "Hello."}])
        if not provider.ends_turns:
            await _hears(rules, stream, heard, pcm, reply_s)
        await _closes(rules, stream, heard)
        one, other = await asyncio.gather(open_(), open_())
        one[0].respond(SAY, tag="one")
        await one[1].until(ReplyEnded, "a reply must end", reply_s)
        rules.expect(not other[1].of(ReplyStarted), "calls must not hear each other", other[1].events)
        for each in (one, other):
            await _closes(rules, *each)
        await rules.nothing_left("close() of a stream")
        await rules.closes_twice(provider)


def _tagged(tag: str, event: ReplyEnded) -> bool:
    return event.tag == tag


async def _told(rules: Rules, stream: SpeechStream, heard: _Heard, limit: float) -> None:
    """It says what it is told, and whose wish it was."""
    rules.swift(lambda: stream.respond(SAY, tag="first"), "respond()")
    rules.swift(lambda: stream.respond(SAY, tag="second"), "respond()")
    for tag in ("first", "second"):
        ended = await heard.until(
            ReplyEnded,
            "each reply that is asked for must end, with its tag",
            limit,
            partial(_tagged, tag),
        )
        rules.expect(
            ended.reason == "finished", "a reply must be finished", f"{ended.reason}: {ended.detail}"
        )
        begun = [event for event in heard.of(ReplyStarted) if event.tag == tag]
        rules.expect(len(begun) == 1, "the tag comes back as the reply begins", heard.of(ReplyStarted))
        sound = [event for event in heard.of(ReplyAudio) if event.reply == begun[0].reply]
        rules.expect(sound, "a reply has sound", "none")
        over = {event.item for event in heard.of(ReplyAudioEnded)}
        rules.expect({event.item for event in sound} <= over, "the end of an utterance's sound is told", over)


async def _cut_off(rules: Rules, stream: SpeechStream, heard: _Heard, limit: float) -> None:
    """A reply that is cut off ends, no more of it comes, and the next is made."""
    rules.swift(stream.cancel, "cancel()")  # of nothing
    stream.respond(SAY, tag="cut")
    begun = await heard.until(ReplyStarted, "a reply must begin", limit, lambda event: event.tag == "cut")
    rules.swift(stream.cancel, "cancel()")
    await heard.until(
        ReplyEnded, "a reply that is cancelled must end", limit, lambda e: e.reply == begun.reply
    )
    sound = [event for event in heard.of(ReplyAudio) if event.reply == begun.reply]
    for item in {event.item for event in sound} | {"no-such-utterance"}:
        rules.swift(partial(stream.truncate, item, 100), "truncate()")
    stream.respond(SAY, tag="after")
    await heard.until(
        ReplyEnded,
        "after a reply that was cut off the next is made",
        limit,
        lambda event: event.tag == "after",
    )


async def _hears(rules: Rules, stream: SpeechStream, heard: _Heard, pcm: bytes, limit: float) -> None:
    """A turn is taken, one that is forgotten is not."""
    for frame in frames(pcm, RATE):
        rules.swift(partial(stream.push, frame), "push()")
    rules.swift(stream.clear, "clear()")
    await asyncio.sleep(QUIET_S)
    rules.expect(not heard.of(CallerTurn), "what was cleared is no turn", heard.of(CallerTurn))
    for frame in frames(pcm, RATE):
        stream.push(frame)
    rules.swift(stream.commit, "commit()")
    turn = await heard.until(CallerTurn, "a turn that is committed must be taken", limit)
    rules.expect(turn.item, "a turn with words in it must be named", repr(turn.item))
    stream.respond()
    await heard.until(ReplyEnded, "a turn must be answered", limit)
    known = {event.item for event in heard.of(CallerText)}
    rules.expect(known <= {turn.item}, "words belong to a turn that was taken", known)
    rules.expect(len(heard.of(CallerTurn)) == 1, "a turn is taken once", heard.of(CallerTurn))


async def _closes(rules: Rules, stream: SpeechStream, heard: _Heard) -> None:
    """``close`` is idempotent, and nothing comes after it."""
    stream.respond(SAY)
    for count in ("close()", "a second close()"):
        await rules.within(10, stream.close(), f"{count} of a stream must come to an end", LLMError)
    before = len(heard.events)
    await asyncio.sleep(QUIET_S)
    rules.expect(len(heard.events) == before, "no event comes after close()", heard.events[before:])
