"""Conformance checks that any speech provider can run: what voxtra relies on, rule by rule.

Each is an async function that raises an AssertionError naming the rule that is broken. They make real
requests, a dozen or so, and close the provider at the end.
"""

from __future__ import annotations

import asyncio
import copy
import statistics
import time
from typing import Any

from voxtra.errors import ConfigurationError, LLMError, TTSError, VoxtraError
from voxtra.speech.base import LLM, TTS, VAD, LLMEvent, Speech, TextDelta, ToolCall, Usage, VADStream
from voxtra.testing.check_recogniser import check_stt
from voxtra.testing.check_rules import Rules, frames, generator, spoken
from voxtra.types import Message

__all__ = ["check_llm", "check_stt", "check_tts", "check_vad"]

TEXT = "Hello. Your table is booked for seven o'clock."


async def check_tts(
    provider: TTS,
    *,
    text: str = TEXT,
    voice: str | None = None,
    language: str | None = None,
    first_s: float = 5.0,
) -> None:
    """Check that ``provider`` keeps the rules of a TTS; it is closed at the end.

    Args:
        provider: what is checked.
        text: a sentence or two, a few seconds of speech.
        voice: passed on.
        language: passed on.
        first_s: longest wait for the first sound, in s.

    Raises:
        AssertionError: a rule is broken; names the rule and what was found.
    """
    with Rules(provider) as rules:
        await rules.warms_up_twice(provider)
        rate = getattr(provider, "rate", None)
        rules.expect(isinstance(rate, int) and rate >= 8000, "rate must be Hz, 8000 or more", rate)

        async def say(what: str) -> list[Speech]:
            chunks: list[Speech] = []
            source = rules.swift(
                lambda: provider.synthesize(what, voice=voice, language=language), "synthesize()"
            )
            speech = generator(rules, source, "what synthesize() gives")
            limit = first_s
            while (
                chunk := await rules.within(limit, anext(speech, None), "sound must come", TTSError)
            ) is not None:
                _check_speech(rules, chunk, chunks)
                chunks.append(chunk)
                limit = 30.0
            return chunks

        chunks = await say(text)
        await rules.allow_tasks()
        length = sum(len(chunk.pcm) / 2 / chunk.rate for chunk in chunks)
        rules.expect(
            0.2 <= length <= 1 + len(text), "a sentence must be of a sentence's length", f"{length:.2f} s"
        )
        _check_words(rules, chunks, length)
        quiet = sum(len(chunk.pcm) for chunk in await say("  \n "))
        rules.expect(quiet <= provider.rate, "text without words must be no speech", f"{quiet} bytes")

        speech = generator(rules, provider.synthesize(text, voice=voice, language=language), "")
        await rules.within(first_s, anext(speech), "sound must come", TTSError)
        await rules.within(2, speech.aclose(), "closing the generator must end the request at once", TTSError)
        await rules.nothing_left("closing the generator")
        await _cancelled(rules, say(text), "synthesize()")
        twice = await asyncio.gather(say(text), say(text))
        rules.expect(
            all(twice), "two calls at once must both be spoken to", [len(chunks) for chunks in twice]
        )
        await _no_such_voice(rules, provider, text)
        await rules.closes_twice(provider)


def _check_speech(rules: Rules, chunk: object, before: list[Speech]) -> None:
    rules.expect(isinstance(chunk, Speech), "chunks must be Speech", type(chunk).__name__)
    assert isinstance(chunk, Speech)
    rules.expect(isinstance(chunk.pcm, bytes), "pcm must be bytes", type(chunk.pcm).__name__)
    rules.expect(len(chunk.pcm) % 2 == 0, "a chunk must be whole samples", f"{len(chunk.pcm)} bytes")
    rules.expect(chunk.pcm or chunk.words, "a chunk must hold something", "an empty one")
    same = not before or before[0].rate == chunk.rate
    rules.expect(same and chunk.rate >= 8000, "the rate must be one, 8000 Hz or more", chunk.rate)


def _check_words(rules: Rules, chunks: list[Speech], length: float) -> None:
    starts = [start for chunk in chunks for _, start in chunk.words]
    rules.expect(starts == sorted(starts), "the words' times must ascend", starts)
    inside = all(0 <= start <= length * 1000 + 100 for start in starts)
    rules.expect(
        inside, "the words' times are ms from the begin of the utterance", f"{starts}, {length:.2f} s"
    )


async def _no_such_voice(rules: Rules, provider: TTS, text: str) -> None:
    try:
        async for _ in provider.synthesize(text, voice="no-such-voice"):
            pass
    except VoxtraError:
        return  # to speak with another voice is fine too
    except Exception as problem:
        raise AssertionError(
            f"{provider.name}: errors must be TTSError or ConfigurationError: {problem!r}"
        ) from problem


async def _cancelled(rules: Rules, work: Any, what: str) -> None:
    """Who waits is cancelled: that must come through, soon, and leave nothing."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.01)
    done = task.done()
    task.cancel()
    await asyncio.wait([task], timeout=2)
    rules.expect(task.done(), f"{what} must end when it is cancelled", "it goes on after 2 s")
    rules.expect(done or task.cancelled(), f"{what} must not swallow a cancellation", task)
    await rules.nothing_left(f"cancelling {what}")


TOOL: dict[str, Any] = {
    "name": "opening_hours",
    "description": "When the shop is open on a day.",
    "parameters": {"type": "object", "properties": {"day": {"type": "string"}}, "required": ["day"]},
}


async def check_llm(provider: LLM, *, question: str = "Hello, who are you?", first_s: float = 10.0) -> None:
    """Check that ``provider`` keeps the rules of an LLM; it is closed at the end.

    Args:
        provider: what is checked.
        question: what the user says.
        first_s: longest wait for the first token, in s.

    Raises:
        AssertionError: a rule is broken; names the rule and what was found.
    """
    with Rules(provider) as rules:
        await rules.warms_up_twice(provider)
        messages: list[Message] = [
            {"role": "system", "content": "You answer the telephone of a small shop, in one sentence."},
            {"role": "user", "content": question},
        ]

        async def ask(messages: list[Message], tools: tuple[dict[str, Any], ...] = ()) -> list[LLMEvent]:
            before = copy.deepcopy(messages)
            source = rules.swift(lambda: provider.stream(messages, tools=tools), "stream()")
            reply = generator(rules, source, "what stream() gives")
            events: list[LLMEvent] = []
            while (
                event := await rules.within(first_s, anext(reply, None), "the reply must come", LLMError)
            ) is not None:
                _check_event(rules, event, events, tools)
                events.append(event)
            rules.expect(messages == before, "the conversation must be left as it is", messages)
            rules.expect(
                any(not isinstance(event, Usage) for event in events),
                "a reply must say or do something",
                events,
            )
            return events

        said = await ask(messages)
        rules.expect(
            "".join(event.text for event in said if isinstance(event, TextDelta)).strip(),
            "a question without tools must be answered in words",
            said,
        )
        await rules.allow_tasks()
        await ask(messages, (TOOL,))
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": "opening_hours", "arguments": '{"day": "Monday"}'},
        }
        with_result: list[Message] = [
            *messages,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": '{"open": "9 to 5"}'},
            {"role": "user", "content": question},
        ]
        await ask(with_result, (TOOL,))
        reply = generator(rules, provider.stream(messages), "")
        await rules.within(first_s, anext(reply), "the reply must come", LLMError)
        await rules.within(2, reply.aclose(), "closing the generator must end the request at once", LLMError)
        await rules.nothing_left("closing the generator")
        await _cancelled(rules, ask(messages), "stream()")
        await asyncio.gather(ask(messages), ask(messages))
        await rules.closes_twice(provider)


def _check_event(
    rules: Rules, event: object, before: list[LLMEvent], tools: tuple[dict[str, Any], ...]
) -> None:
    rules.expect(
        isinstance(event, TextDelta | ToolCall | Usage), "events must be TextDelta, ToolCall or Usage", event
    )
    rules.expect(not any(isinstance(known, Usage) for known in before), "Usage must come last, once", before)
    if isinstance(event, TextDelta):
        rules.expect(isinstance(event.text, str) and event.text, "a TextDelta must hold text", event)
    elif isinstance(event, ToolCall):
        names = [tool["name"] for tool in tools]
        rules.expect(
            event.id and event.name in names, f"a ToolCall must have an id and be one of {names}", event
        )
        rules.expect(isinstance(event.arguments, dict), "arguments must be a decoded object", event)
        rules.expect(
            event.id not in [known.id for known in before if isinstance(known, ToolCall)],
            "each ToolCall must have an id of its own",
            event,
        )


async def check_vad(provider: VAD, *, speech: bytes | None = None, rate: int = 8000) -> None:
    """Check that ``provider`` keeps the rules of a VAD; it is closed at the end.

    Args:
        provider: what is checked.
        speech: 16-bit PCM at ``rate``, mostly speech; None: a sentence by the embedded voice
            (``voxtra[local]``).
        rate: Hz.

    Raises:
        AssertionError: a rule is broken; names the rule and what was found.
        MissingExtraError: no ``speech`` was given, and the embedded voice is not installed.
    """
    sound = frames(await spoken(speech, rate), rate)
    silence = [bytes(rate // 50 * 2)] * 50
    with Rules(provider) as rules:
        await rules.warms_up_twice(provider)

        def listen(stream: VADStream, pieces: list[bytes]) -> list[float]:
            took, found = [], []
            for piece in pieces:
                began = time.perf_counter()
                found.append(stream.push(piece))
                took.append(time.perf_counter() - began)
            cost = statistics.median(took) * 1000
            rules.expect(
                cost < 5, "a frame may cost microseconds, for all calls share the loop", f"{cost:.1f} ms"
            )
            right = all(isinstance(value, float | int) and 0 <= value <= 1 for value in found)
            rules.expect(right, "push() must give a probability, 0..1", found[:5])
            return [float(value) for value in found]

        one = rules.swift(lambda: provider.open(rate=rate), "open()")
        rules.expect(isinstance(one, VADStream), "open() must give a VADStream", type(one).__name__)
        quiet = listen(one, silence)
        rules.expect(max(quiet[10:]) < 0.5, "silence must be no speech", f"{max(quiet[10:]):.2f}")
        spoken_to = listen(one, sound)
        share = sum(value >= 0.5 for value in spoken_to) / len(spoken_to)
        rules.expect(share >= 0.3, "speech must be noticed", f"in {share:.0%} of the frames")
        two = provider.open(rate=rate)
        alone = listen(two, silence)
        rules.expect(max(alone) < 0.5, "what one call says must not be heard in another", f"{max(alone):.2f}")
        after = listen(one, silence)
        rules.expect(after[-1] < 0.5, "speech must end", f"{after[-1]:.2f} after 1 s of silence")
        try:
            provider.open(rate=-1)
        except ConfigurationError:
            pass
        else:
            rules.broken("open(rate=-1) must raise ConfigurationError", "it did not")
        await rules.closes_twice(provider)
