"""Several speech-to-speech models as one: a caller is answered by the next when one fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from voxtra import CallSession, VoxtraApp
from voxtra.agent.agent import Agent
from voxtra.agent.conversation import ConversationResult
from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech import Fallback
from voxtra.speech.base import StreamLost
from voxtra.speech.fallback_realtime import FallbackRealtime
from voxtra.testing import FakeCall, ScriptedRealtime, run_call, run_virtual


def talk(
    caller: Any, *models: ScriptedRealtime, greeting: str = ""
) -> tuple[ConversationResult, dict[str, int]]:
    both = Fallback(*models, retry_s=300)
    app = VoxtraApp(realtime=both)
    results: list[ConversationResult] = []

    @app.default()
    async def handler(call: CallSession) -> None:
        results.append(await call.converse(Agent(instructions="Be kind.", greeting=greeting)))

    @app.on_shutdown
    async def done() -> None:
        await both.close()

    run_call(app, caller)
    assert [model.live for model in models] == [0] * len(models)
    return results[0], dict(zip("ab", both.failures.values(), strict=False))


async def asks_twice(call: FakeCall) -> None:
    await call.says("Are you there?")
    await call.hears("Yes")
    await call.says("Still there?")
    await call.hears("Sure")
    await call.hangs_up()


def test_the_first_has_the_call_and_the_next_is_left_alone() -> None:
    one, other = ScriptedRealtime(["Yes.", "Sure."]), ScriptedRealtime()
    result, failures = talk(asks_twice, one, other)
    assert (result.reason, failures, other.opened) == ("hangup", {"a": 0, "b": 0}, [])


def test_one_that_cannot_be_reached_costs_the_caller_nothing_but_time() -> None:
    one, other = ScriptedRealtime(refuses=9), ScriptedRealtime(["Yes.", "Sure."])
    result, failures = talk(asks_twice, one, other)
    assert (result.reason, result.failures, failures) == ("hangup", 0, {"a": 1, "b": 0})


@pytest.mark.parametrize("failure", [ConnectionError("gone"), LLMError("overloaded")])
def test_one_that_breaks_off_hands_over_what_was_said(failure: Exception) -> None:
    one, other = ScriptedRealtime(["Yes.", failure]), ScriptedRealtime(["Sure."])
    result, failures = talk(asks_twice, one, other)
    assert (result.reason, result.turns, failures) == ("hangup", 2, {"a": 1, "b": 0})
    assert [message["content"] for message in other.opened[0].history][:2] == ["Are you there?", "Yes."]
    assert other.opened[0].instructions == "Be kind."
    assert other.heard in ([], ["Still there?"])  # in the history, or as it was spoken


def test_one_that_says_nothing_is_not_waited_for() -> None:
    class Dumb(ScriptedRealtime):
        def reply(self) -> Any:
            self._latency = 1000.0
            return ["too late"]

    one, other = Dumb(), ScriptedRealtime(["Yes.", "Sure."])
    result, failures = talk(asks_twice, one, other)
    assert (result.reason, failures, other.heard) == (
        "hangup",
        {"a": 1, "b": 0},
        ["Are you there?", "Still there?"],
    )


def test_a_greeting_is_said_by_whoever_can() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Welcome")
        await call.hangs_up()

    result, failures = talk(caller, ScriptedRealtime(refuses=9), ScriptedRealtime(), greeting="Welcome.")
    assert (result.reason, failures) == ("hangup", {"a": 1, "b": 0})


def test_when_nobody_can_the_conversation_fails() -> None:
    async def caller(call: FakeCall) -> None:
        assert await call.ended() == "app"

    result, _ = talk(caller, ScriptedRealtime(refuses=9), ScriptedRealtime(refuses=9))
    assert result.reason == "failed"


def test_the_last_one_keeps_a_conversation_in_which_a_reply_failed() -> None:
    one = ScriptedRealtime([LLMError("overloaded"), "Yes.", "Sure."])
    result, failures = talk(asks_twice, one, ScriptedRealtime(refuses=9))
    assert (result.reason, failures["b"]) == ("hangup", 1)


def test_models_that_need_different_sound_are_refused() -> None:
    class Ends(ScriptedRealtime):
        name = "other"
        ends_turns = True

    with pytest.raises(
        ConfigurationError, match="other ends turns: give all of them the same turn_detection"
    ):
        Fallback(ScriptedRealtime(), Ends())


def test_requests_that_become_one_reply_are_one() -> None:
    """Two keys while a greeting is heard: the model merges requests that wait and are alike, and owes nothing more."""

    class Merges(ScriptedRealtime):
        async def open(self, **options: Any) -> Any:
            stream = await super().open(**options)
            respond = stream.respond

            def merged(instructions: str = "", *, tag: str = "") -> None:
                if (instructions, tag) not in stream._asked:  # type: ignore[attr-defined]
                    respond(instructions, tag=tag)

            stream.respond = merged  # type: ignore[method-assign]
            return stream

    async def run() -> None:
        events: list[object] = []
        both = Fallback(Merges(["Hello there.", "Yes."], latency=1), ScriptedRealtime())
        stream = await both.open(rate=8000, codec="ulaw", on_event=events.append)
        stream.respond()
        await asyncio.sleep(1.5)  # it is said
        stream.respond()
        stream.respond()
        stream.respond()
        await asyncio.sleep(60)
        assert [type(event).__name__ for event in events].count("ReplyEnded") == 2
        assert not any(isinstance(event, StreamLost) for event in events)
        await stream.close()
        await both.close()

    run_virtual(run())


def test_what_a_model_still_says_that_was_not_opened_is_nobodys() -> None:
    class Tells(ScriptedRealtime):
        async def open(self, *, on_event: Any, **options: Any) -> Any:
            asyncio.get_running_loop().call_later(0.1, on_event, StreamLost(LLMError("gone")))
            raise LLMError("no connection")

    async def run() -> None:
        events: list[object] = []
        both = Fallback(Tells(), ScriptedRealtime(), retry_s=60)
        stream = await both.open(rate=8000, codec="ulaw", on_event=events.append)
        await asyncio.sleep(1)
        assert events == []
        assert both.failures == {"scripted realtime": 1, "scripted realtime #2": 0}
        await stream.close()
        await both.close()

    run_virtual(run())


def test_one_that_failed_is_tried_in_the_background_and_comes_back() -> None:
    async def run() -> None:
        one, other = ScriptedRealtime(refuses=2), ScriptedRealtime()
        both = Fallback(one, other, retry_s=1, longest_retry_s=8)
        assert isinstance(both, FallbackRealtime)
        stream = await both.open(rate=8000, codec="ulaw", on_event=lambda event: None)
        assert other.live == 1
        await stream.close()
        await stream.close()
        await asyncio.sleep(8)
        assert not both.standbys.all[0].down
        stream = await both.open(rate=8000, codec="ulaw", on_event=lambda event: None)
        assert (one.live, other.live) == (1, 0)
        await stream.close()
        await both.close()

    run_virtual(run())
