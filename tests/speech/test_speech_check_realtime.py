"""The check of models that hear and speak: ours pass, and each rule is missed by one that breaks it."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from fakes.realtime_server import RealtimeServer, Reply

from voxtra.errors import LLMError
from voxtra.speech import Fallback, SpeechToSpeech
from voxtra.speech.base import ReplyAudio, ReplyEnded, ReplyStarted, SpeechEvent, SpeechStream, StreamLost
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.testing import ScriptedRealtime, check_realtime

SPEECH = struct.pack("<8000h", *([1000, -1000] * 4000))


@pytest.fixture
async def server():
    fake = RealtimeServer()
    fake.replies = [Reply(text="Good morning.", ms=200) for _ in range(12)]
    fake.heard = ["hello"] * 4
    runner = await fake.start()
    yield fake
    await runner.cleanup()


def openai(server: RealtimeServer, **options: Any) -> OpenAIRealtime:
    return OpenAIRealtime(websocket_base_url=server.url, api_key="k", model="m", **options)


async def test_openais_models_pass(server) -> None:
    await check_realtime(openai(server), speech=SPEECH, reply_s=30)


async def test_one_that_ends_turns_passes(server) -> None:
    await check_realtime(openai(server, turn_detection="server_vad"), speech=SPEECH, reply_s=30)


async def test_several_as_one_pass(server) -> None:
    await check_realtime(Fallback(openai(server), openai(server)), speech=SPEECH, reply_s=30)


class Bent(SpeechToSpeech):
    """The scripted model, with one thing wrong."""

    name = "bent"

    def __init__(self, **flaws: Any) -> None:
        self.flaws = flaws

    async def open(self, *, on_event: Any, **wanted: Any) -> SpeechStream:
        def tell(event: SpeechEvent) -> None:
            for each in self.flaws.get("events", lambda event: [event])(event):
                on_event(each)

        model = ScriptedRealtime(["Yes."] * 12, latency=0.01)
        stream = await model.open(on_event=tell, **{"rate": 8000, "codec": "ulaw"} | wanted)
        for name, flaw in self.flaws.items():
            if name != "events":
                setattr(stream, name, flaw.__get__(stream) if callable(flaw) else flaw)
        return stream


def without(kind: type) -> Any:
    return lambda event: [] if isinstance(event, kind) else [event]


def slow(stream: Any, pcm: bytes) -> None:
    import time

    time.sleep(0.15)


FLAWS = {
    "with its tag": {
        "events": lambda e: [ReplyEnded(e.reply, "finished")] if isinstance(e, ReplyEnded) else [e]
    },
    "one reply begins": {"events": lambda e: [e, e] if isinstance(e, ReplyStarted) else [e]},
    "a reply has sound": {"events": without(ReplyAudio)},
    "whole samples": {
        "events": lambda e: [ReplyAudio(e.reply, e.item, e.pcm[:-1])] if isinstance(e, ReplyAudio) else [e]
    },
    "the stream must last": {
        "events": lambda e: [StreamLost(LLMError("gone"))] if isinstance(e, ReplyStarted) else [e]
    },
    "a stream's rate is Hz": {"rate": 0},
    "what was cleared is no turn": {"clear": lambda stream: stream.commit()},
    "must be taken": {"commit": lambda stream: None},
    "must not block the event loop": {"push": slow},
    "cancelled must end": {"cancel": lambda stream: stream._asked.clear() or stream._task.cancel()},
}


@pytest.mark.parametrize("rule", FLAWS)
async def test_a_rule_that_is_broken_is_named(rule: str) -> None:
    flaws = FLAWS[rule]
    if rule == "cancelled must end":
        flaws = {"events": lambda e: [] if isinstance(e, ReplyEnded) and e.reason == "cancelled" else [e]}
    with pytest.raises(AssertionError, match=f"bent: .*{rule}"):
        await check_realtime(Bent(**flaws), speech=SPEECH, reply_s=0.5)


async def test_one_that_talks_on_after_the_end_is_found() -> None:
    async def close(stream: Any) -> None:
        asyncio.get_running_loop().call_later(0.05, stream._tell, ReplyStarted("late"))

    with pytest.raises(AssertionError, match="no event comes after close"):
        await check_realtime(Bent(close=close), speech=SPEECH, reply_s=30)


async def test_the_scripted_model_keeps_the_rules_too() -> None:
    await check_realtime(Bent(), speech=SPEECH, reply_s=30)
