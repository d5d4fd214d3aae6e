"""A filler that can't be said is not said, and nothing else fails of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
from agent_fakes import RATE, HandLine

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import ConversationResult
from voxtra.agent.mouth import Mouth, Patience
from voxtra.agent.tools import tool
from voxtra.errors import TTSError
from voxtra.speech.base import LLM, TTS, Speech
from voxtra.testing import CallResult, FakeCall, FakeTTS, ScriptedLLM, run_call
from voxtra.testing import tool as calls


class Choosy(FakeTTS):
    """Speaks all but the words given: these it refuses, or never begins."""

    words: tuple[str, ...] = ()
    hangs = False
    refused: ClassVar[list[str]] = []

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        if any(word in text for word in self.words):
            self.refused.append(text)
            if self.hangs:
                await asyncio.sleep(1000)
            raise TTSError("choosy: not these words")
        async for speech in super().synthesize(text, voice=voice, language=language):
            yield speech


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A voice that does not say some words; returns what it refused."""

    def these(*words: str, hangs: bool = False) -> list[str]:
        refused: list[str] = []
        kind = type("Refuses", (Choosy,), {"words": words, "hangs": hangs, "refused": refused})
        monkeypatch.setattr("voxtra.testing.fake_office.FakeTTS", kind)
        return refused

    return these


def talk(agent: Agent, caller: Any, llm: LLM) -> tuple[CallResult, ConversationResult]:
    results: list[ConversationResult] = []
    app = VoxtraApp(stt="local", tts="local", llm=llm)

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(agent))

    result = run_call(app, caller)
    return result, results[0]


@pytest.mark.parametrize("hangs", [False, True])
def test_while_a_tool_is_at_work(refuse: Any, hangs: bool) -> None:
    @tool(filler="Let me look.")
    async def find() -> str:
        """Finds."""
        await asyncio.sleep(15)
        return "found"

    async def caller(call: FakeCall) -> None:
        await call.says("Please find it.")
        await call.hears("I have found it", timeout=60)
        await call.hangs_up()

    refused = refuse("Let me look", "One moment", hangs=hangs)
    agent = Agent(tools=[find], filler=["One moment."])
    result, outcome = talk(agent, caller, ScriptedLLM([[calls("find")], "I have found it."]))
    assert refused
    assert (outcome.reason, outcome.failures) == ("hangup", 0)
    assert [m["content"] for m in result.history if m["role"] == "tool"] == ["found"]


def test_an_apology_that_cannot_be_said_either(refuse: Any) -> None:
    @tool
    def again() -> str:
        """Again."""
        return "again"

    async def caller(call: FakeCall) -> None:
        await call.says("Go round and round.")
        await call.silence(3)
        await call.hangs_up()

    refused = refuse("Sorry")
    agent = Agent(tools=[again], max_tool_rounds=1, apology="Sorry, that did not work.")
    _, outcome = talk(agent, caller, ScriptedLLM([[calls("again")], [calls("again")], [calls("again")]]))
    assert refused
    assert outcome.reason == "hangup"


@pytest.mark.parametrize("hangs", [False, True])
async def test_while_a_text_halts_in_the_middle(monkeypatch: pytest.MonkeyPatch, hangs: bool) -> None:
    class Voice(TTS):
        name, rate = "voice", RATE
        refused = 0

        async def synthesize(
            self, text: str, *, voice: str | None = None, language: str | None = None
        ) -> AsyncIterator[Speech]:
            if text == "uh":
                self.refused += 1
                await asyncio.sleep(9 if hangs else 0)
                raise TTSError("not that")
            yield Speech(b"\x10\x20" * (RATE // 10), RATE)

    async def halts() -> AsyncIterator[str]:
        yield "This is the first part of it. "
        await asyncio.sleep(0.6)
        yield "And this is the rest."

    monkeypatch.setattr("voxtra.agent.mouth.FIRST_SPEECH_S", 0.1)
    line, tts = HandLine(), Voice()
    patience = Patience(lambda: "uh", filler_after_s=0.1, limit_s=30)
    say = asyncio.ensure_future(Mouth(line, tts, lambda *_: None).say(halts(), patience=patience))
    async with asyncio.timeout(10):
        while not say.done():
            line.tick()
            await asyncio.sleep(0.002)
    assert tts.refused
    assert say.result().reason == "finished"
    assert say.result().heard.endswith("the rest.")
