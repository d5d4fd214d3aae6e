"""Another language in mid-call: recogniser, voice and rules go along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_fakes import HandLine, breathe
from agent_hearing import Caller
from agent_hearing import FakeSTT as FakeEars
from agent_hearing import FakeVAD as FakeVADOfLevels

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent, change_language, handoff
from voxtra.agent.client import AgentClient
from voxtra.agent.pipeline import SpeechSetup, VoicePipeline
from voxtra.errors import ConfigurationError
from voxtra.speech.base import Speech, STTStream, Transcript
from voxtra.testing import FakeCall, FakeOffice, FakeSTT, FakeTTS, FakeVAD, ScriptedLLM, run_virtual
from voxtra.testing import tool as calls
from voxtra.turns import TurnDetection


class TonguesSTT(FakeSTT):
    """Hears the fake caller, and says in which language it was opened."""

    def __init__(self, *known: str) -> None:
        self.known = known
        self.opened: list[str | None] = []
        self.live = 0

    def open(self, *, language: str | None = None, **options: Any) -> STTStream:
        if language is not None and language not in self.known:
            raise ConfigurationError(f"no {language}")
        self.opened.append(language)
        self.live += 1
        stream = super().open(language=language, **options)
        close = stream.close

        async def closed() -> None:
            self.live -= 1
            await close()

        stream.close = closed  # type: ignore[method-assign]
        return stream


class TonguesTTS(FakeTTS):
    """Remembers which language was wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.languages: list[tuple[str, str | None, str | None]] = []

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        self.languages.append((text, voice, language))
        async for speech in super().synthesize(text, voice=voice, language=language):
            yield speech


def run(handler: Any, caller: Any, llm: ScriptedLLM) -> tuple[TonguesSTT, TonguesTTS]:
    """A call with providers that know languages."""
    stt, tts = TonguesSTT("en", "de", "fr"), TonguesTTS()

    async def main() -> None:
        app = VoxtraApp(stt="local", tts="local", llm=llm)
        app.default()(handler)
        setup = SpeechSetup(stt=stt, tts=tts, vad=FakeVAD())
        app._load_speech = lambda: (setup, llm, None)  # type: ignore[method-assign]
        async with FakeOffice(app) as office:
            await office.call(caller)

    run_virtual(main())
    assert stt.live == 0
    return stt, tts


def test_a_tool_changes_recogniser_and_voice() -> None:
    agent = Agent(
        greeting="Hello.",
        voice={"en": "anna", "de": "karin"},
        language="en",
        tools=[change_language("de", "fr")],
    )

    async def handler(call: CallSession) -> None:
        await call.converse(agent)
        assert call.agent.language == "de"

    async def caller(call: FakeCall) -> None:
        await call.says("Sprechen Sie Deutsch?")
        await call.hears("Guten Tag")
        await call.says("Danke.")
        await call.hears("Bitte")
        await call.hangs_up()

    replies = [["One moment.", calls("change_language", language="de")], "Guten Tag.", "Bitte."]
    llm = ScriptedLLM(replies)
    stt, tts = run(handler, caller, llm)
    assert stt.opened == [None, "en", "de"]
    assert [(text, voice) for text, voice, _ in tts.languages] == [
        ("Hello.", "anna"), ("One moment.", "anna"), ("Guten Tag.", "karin"), ("Bitte.", "karin"),
    ]  # fmt: skip
    assert [language for _, _, language in tts.languages][2:] == ["de", "de"]
    assert [m["content"] for m in llm.requests[2] if m["role"] == "user"] == [
        "Sprechen Sie Deutsch?",
        "Danke.",
    ]


def test_an_agent_brings_its_language() -> None:
    french = Agent(name="french", language="fr", greeting="Bonjour.")
    desk = Agent(name="desk", tools=[handoff(french)])

    async def handler(call: CallSession) -> None:
        await call.converse(desk)

    async def caller(call: FakeCall) -> None:
        await call.says("En français?")
        await call.hears("Bonjour")
        await call.hangs_up()

    stt, tts = run(handler, caller, ScriptedLLM([calls("hand_off_to_french")]))
    assert stt.opened == [None, "fr"]
    assert tts.languages == [("Bonjour.", None, "fr")]


def test_a_handler_sets_it_and_is_told_what_is_wrong() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.say("Hello.")
        with pytest.raises(ConfigurationError, match="no tlh"):
            call.agent.language = "tlh"
        with pytest.raises(ConfigurationError, match="language=5: should be"):
            call.agent.language = 5  # type: ignore[assignment]
        assert call.agent.language is None
        call.agent.language = "de"
        await call.say("Guten Tag.")
        assert str(await call.listen(10)) == "Auch so."

    async def caller(call: FakeCall) -> None:
        await call.hears("Guten Tag")
        await call.says("Auch so.")
        await call.ended()

    stt, tts = run(handler, caller, ScriptedLLM([]))
    assert stt.opened == [None, "de"]
    assert [language for _, _, language in tts.languages] == [None, "de"]


@pytest.mark.parametrize("wrong", [(), ("",), (5,)])
def test_no_languages_to_choose_from(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ConfigurationError, match="name the languages"):
        change_language(*wrong)


async def test_a_turn_under_way_is_heard_to_its_end_by_who_heard_its_beginning() -> None:
    line, stt = HandLine(), FakeEars("first", "second", "third")
    agent = AgentClient(None)
    pipeline = VoicePipeline(
        line,
        SpeechSetup(stt=stt, vad=FakeVADOfLevels()),
        agent,
        turns=TurnDetection(commit_min_interval_ms=0, response_min_speech_ms=100, min_speech_ms=100),
        emit=lambda event: None,
    )
    caller = Caller(line)
    caller.speak(400)
    agent.language = "de"
    agent.language = "fr"  # twice in one turn: the last counts
    one, two, three = stt.streams
    assert (one.log, three.log) == (["started"], [])
    caller.quiet()
    await breathe()
    assert one.log == ["started", "stopped", "next"]
    assert (one.closed, two.closed, three.closed) == (1, 1, 0)
    one.on_transcript(Transcript("a ghost of the turn before", is_final=True))
    one.on_error(ValueError("gone"))
    caller.say()
    await breathe()
    assert three.log == ["started", "stopped", "next"]
    assert three.pushed > 0
    turns = [str(await pipeline.listen(0)), str(await pipeline.listen(0))]
    assert turns == ["first", "second"]
    await pipeline.close()
    assert [stream.closed for stream in stt.streams] == [1, 1, 1]
    agent.language = "en"  # nobody is there any more who could refuse
