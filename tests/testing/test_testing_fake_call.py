"""What a caller can do on a fake call, and what a test is told when it goes otherwise."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from voxtra import CallEndedError, CallSession, CallState, Router, VoxtraApp
from voxtra.errors import PipelineNotConfiguredError
from voxtra.events import EventType
from voxtra.testing import (
    DeadlockError,
    ExpectationError,
    FakeCall,
    FakeCallError,
    ScriptedLLM,
    run_call,
    tool,
)


async def echo(call: CallSession) -> None:
    await call.answer()
    await call.say("Say something.")
    while user := await call.listen(timeout=10):
        await call.say(f"You said {user.text}.")
    await call.say("Goodbye.")


def test_a_conversation_with_its_times() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("something")
        await call.says("Hello there")
        assert await call.hears("You said hello there") == ". You said Hello there"
        await call.silence(5)
        await call.hangs_up()

    result = run_call(echo, caller, number="200", caller_id="+4930123")

    assert result.lines == ["agent: Say something.", "caller: Hello there", "agent: You said Hello there."]
    greeting, said, answer = result.transcript
    assert greeting.start < 0.1
    assert greeting.end == pytest.approx(greeting.start + 15 * 0.06, abs=0.05)
    assert said.end == pytest.approx(said.start + 11 * 0.06, abs=0.05)
    assert said.start - greeting.end == pytest.approx(0.4, abs=0.1)
    assert answer.start - said.end == pytest.approx(0.5, abs=0.15)  # silence_threshold_ms, and the TTS
    assert result.state is CallState.COMPLETED
    assert result.end.reason == "hangup"
    assert result.end.cause == 16
    assert result.call.ended_by == "caller"
    assert result.session.caller_id == "+4930123"
    assert result.session.called_number == "200"
    assert result.duration == pytest.approx(result.call.now, abs=0.5)  # the app takes a moment to stop


def test_ten_minutes_of_talk_in_well_under_a_second() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("something")
        while call.now < 600:
            await call.says("And another thing")
            await call.hears("You said and another thing.")
            await call.silence(4)
        await call.hangs_up()

    began = time.process_time()
    result = run_call(echo, caller)
    spent = time.process_time() - began
    assert result.duration > 600
    assert len(result.transcript) > 100
    assert spent < 3, f"{spent:.2f} s"


def test_ten_minutes_of_silence_cost_nothing() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        assert await call.listen(timeout=600) is None

    async def caller(call: FakeCall) -> None:
        await call.ended(timeout=700)

    began = time.process_time()
    assert run_call(handler, caller).duration == pytest.approx(600, abs=1)
    assert time.process_time() - began < 1


def test_interruption_cuts_the_history_to_what_was_heard() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.say(call.agent.stream("hello"))
        user = await call.listen(timeout=5)
        await call.say((await call.agent.respond(user)).text)

    async def caller(call: FakeCall) -> None:
        await call.hears("one two three")
        await call.interrupts("Stop, please")
        await call.hears("all right")

    llm = ScriptedLLM(["One two three four five six seven eight nine ten.", "All right."])
    result = run_call(handler, caller, llm=llm)
    cut = result.transcript[0]
    assert cut.reason == "interrupted"
    assert cut.text in ("One two three four", "One two three four five", "One two three four five six")
    assert result.history[1] == {"role": "assistant", "content": cut.text}
    assert result.call.heard.startswith(cut.text[:-2])
    assert llm.requests[1] == [*result.history[:2], {"role": "user", "content": "Stop, please"}]
    assert EventType.BARGE_IN in [event.type for event in result.events]


def test_a_say_that_may_not_be_interrupted_is_not() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("This is the law and you have to hear it.", interruptible=False)

    async def caller(call: FakeCall) -> None:
        await call.interrupts("No no no no")
        await call.hears("have to hear it.")

    assert run_call(handler, caller).transcript[0].reason == "finished"


def test_a_cough_pauses_and_does_not_interrupt() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("This goes on for some time, whatever the caller coughs.")

    async def caller(call: FakeCall) -> None:
        await call.hears("goes on")
        await call.noise(0.1)
        await call.hears("whatever the caller coughs.")

    said = run_call(handler, caller).transcript[0]
    assert said.reason == "finished"
    assert 0.1 < said.end - said.start - len(said.text) * 0.06 < 1.0


def test_yes_and_no_are_answers() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("No")
        await call.hears("You said no.")
        await call.hangs_up()

    run_call(echo, caller)


def test_confidence_reaches_the_handler() -> None:
    async def handler(call: CallSession) -> None:
        user = await call.listen(timeout=5)
        call.metadata["sure"] = user.confidence

    async def caller(call: FakeCall) -> None:
        await call.says("mumble mumble", confidence=0.3)

    assert run_call(handler, caller).metadata == {"sure": 0.3}


def test_keys() -> None:
    async def handler(call: CallSession) -> None:
        pressed: list[str] = []

        @call.on_dtmf
        async def each(digit: str) -> None:
            pressed.append(digit)

        await call.answer()
        await call.say("Enter your number.")
        number = await call.listen_dtmf(max_digits=8, timeout=5)
        call.metadata |= {"number": str(number), "reason": number.reason, "pressed": pressed}
        call.metadata["none"] = await call.listen_dtmf(timeout=2)

    async def caller(call: FakeCall) -> None:
        await call.hears("number.")
        await call.presses("123#")
        await call.ended()

    result = run_call(handler, caller)
    assert result.metadata == {"number": "123", "reason": "terminator", "pressed": [*"123#"], "none": None}
    assert result.digits == "123#"
    assert result.lines[-1] == "caller: [123#]"


def test_prompts() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.play_file(["hello-world", "digits:42"])
        result = await call.play_file("long", interrupt_by="dtmf")
        call.metadata["reason"] = result.reason
        await call.play_url("https://example.com/jingle.wav")

    async def caller(call: FakeCall) -> None:
        prompt = await call.hears_prompt("hello-world")
        assert prompt.end is None
        await call.hears_prompt("long")
        await call.silence(3)
        await call.presses("5")
        await call.hears("<https://example.com/jingle.wav>")

    result = run_call(
        handler, caller, prompts={"hello-world": 1.5, "long": 60, "https://example.com/jingle.wav": 4}
    )
    assert [(p.media, p.reason) for p in result.prompts] == [
        ("sound:hello-world", "finished"), ("digits:42", "finished"), ("sound:long", "stopped"),
    ]  # fmt: skip
    assert [round(p.end - p.start, 1) for p in result.prompts[:2]] == [1.5, 1.0]
    assert 3 < result.prompts[2].end - result.prompts[2].start < 3.5
    assert result.metadata["reason"] == "interrupted"
    assert "agent: <sound:long> -- stopped" in result.lines


def test_a_prompt_is_interrupted_by_voice() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        result = await call.play_file("long", interrupt_by="speech")
        call.metadata["reason"] = result.reason

    async def caller(call: FakeCall) -> None:
        await call.interrupts("Enough!", after=2)

    result = run_call(handler, caller, prompts={"long": 60})
    assert result.metadata["reason"] == "interrupted"
    assert result.prompts[0].end - result.prompts[0].start == pytest.approx(2, abs=0.2)


def test_a_prompt_that_is_not_there_fails_the_handler_and_the_test() -> None:
    async def handler(call: CallSession) -> None:
        await call.play_file("nowhere")

    with pytest.raises(Exception, match="could not play sound:nowhere"):
        run_call(handler, prompts={"nowhere": None})


def test_what_fails_in_the_handler_fails_the_test_with_the_call_so_far() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("Now it comes.")
        raise KeyError("flaw")

    async def caller(call: FakeCall) -> None:
        await call.hears("This is never said")

    with pytest.raises(KeyError, match="flaw") as caught:
        run_call(handler, caller)
    assert "agent: Now it comes." in "".join(caught.value.__notes__)
    result = run_call(handler, check=False)
    assert [type(error) for error in result.errors] == [KeyError]


@pytest.mark.parametrize("how", ["disable", "root level", "own level", "disabled", "alone"])
def test_a_failure_is_one_also_where_logging_is_silenced(how: str) -> None:
    async def handler(call: CallSession) -> None:
        raise KeyError("flaw")

    log, root = logging.getLogger("voxtra.call"), logging.getLogger()
    before = log.level, root.level, log.disabled, log.propagate
    try:
        if how == "disable":
            logging.disable(logging.CRITICAL)
        elif how == "alone":
            log.propagate = False
        elif how == "disabled":
            log.disabled = True
        else:
            (log if how == "own level" else root).setLevel(logging.CRITICAL + 1)
        silenced = log.level, root.level, log.disabled, log.propagate, logging.root.manager.disable
        with pytest.raises(KeyError, match="flaw"):
            run_call(handler)
        assert (log.level, root.level, log.disabled, log.propagate, logging.root.manager.disable) == silenced
    finally:
        logging.disable(logging.NOTSET)
        log.setLevel(before[0])
        root.setLevel(before[1])
        log.disabled, log.propagate = before[2:]


def test_the_caller_hangs_up_in_the_middle() -> None:
    ends: list[str] = []

    async def handler(call: CallSession) -> None:
        call.on_hangup(lambda: asyncio.sleep(0, ends.append("on_hangup")))
        result = await call.say("A very long speech about nothing in particular.")
        ends.append(result.reason)
        with pytest.raises(CallEndedError):
            await call.say("Hello?")

    async def caller(call: FakeCall) -> None:
        await call.hears("very long")
        await call.hangs_up()

    result = run_call(handler, caller)
    assert sorted(ends) == ["hangup", "on_hangup"]
    assert result.transcript[0].reason == "hangup"


def test_refusal() -> None:
    async def handler(call: CallSession) -> None:
        await call.hangup("busy")

    result = run_call(handler)
    assert (result.call.hangup_reason, result.call.cause, result.call.is_up) == ("busy", 17, False)
    assert result.duration == 0


def test_hold_by_either_side() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.hold()
        call.metadata["held"] = call.state
        await asyncio.sleep(5)
        await call.unhold()
        await call.say("Back again.")
        await call.listen(timeout=10)

    async def caller(call: FakeCall) -> None:
        await call.answered()
        await call.silence(1)
        assert call.on_music
        await call.hears("Back")
        assert not call.on_music
        await call.holds()
        await call.silence(2)
        await call.resumes()
        await call.hangs_up()

    result = run_call(handler, caller)
    assert result.metadata["held"] is CallState.ON_HOLD
    kinds = [event.type for event in result.events]
    assert kinds.count(EventType.CALL_HELD) == kinds.count(EventType.CALL_RESUMED) == 2


def test_recordings_leave_no_file() -> None:
    async def handler(call: CallSession) -> None:
        await call.record_start("test-call")
        await call.say("This is recorded.")

    (recording,) = run_call(handler).recordings
    assert recording.name == "test-call"
    assert recording.duration_seconds == pytest.approx(1.1, abs=0.2)


def test_audio_stream_is_the_callers_sound() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        chunks = 0
        async for chunk in call.audio_stream():
            assert len(chunk.data) == 160
            chunks += 1
            if chunks == 250:
                return

    assert run_call(handler).duration == pytest.approx(5, abs=0.2)


def test_routes_decide() -> None:
    router = Router()

    @router.route(extension="10*", metadata={"department": "sales"})
    async def sales(call: CallSession) -> None:
        await call.say("Sales.")

    @router.default()
    async def other(call: CallSession) -> None:
        await call.say("Reception.")

    result = run_call(router, number="101")
    assert result.lines == ["agent: Sales."]
    assert result.metadata == {"department": "sales"}
    assert run_call(router, number="7").lines == ["agent: Reception."]


def test_an_app_without_speech_has_none_here_either() -> None:
    app = VoxtraApp()

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.say("Hello")

    with pytest.raises(PipelineNotConfiguredError):
        run_call(app)


def test_an_app_is_as_it_was_afterwards() -> None:
    app = VoxtraApp()
    hooks: list[str] = []
    app.on_startup(lambda: hooks.append("up"))
    app.on_shutdown(lambda: hooks.append("down"))

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()

    before = dict(vars(app)) | {"_listeners": list(app._listeners), "_given": dict(app._given)}
    run_call(app)
    run_call(app)
    assert hooks == ["up", "down"] * 2
    for name in ("_doors", "_sounds"):
        assert name not in vars(app) or vars(app)[name] == getattr(type(app), name).__get__(app)
    assert app._listeners == before["_listeners"]
    assert app._given == before["_given"]
    assert app.recording_sink is None


def test_tool_calls() -> None:
    async def handler(call: CallSession) -> None:
        user = await call.listen(timeout=5)
        reply = await call.agent.respond(user)
        await call.agent.add_tool_result(reply.tool_calls[0]["id"], {"free": True})
        await call.say((await call.agent.respond()).text)

    async def caller(call: FakeCall) -> None:
        await call.says("A table for four, please")
        await call.hears("it is booked")

    llm = ScriptedLLM([tool("book", people=4), "It is booked."])
    result = run_call(handler, caller, llm=llm)
    assert [(c["name"], c["arguments"]) for c in result.tool_calls] == [("book", {"people": 4})]
    assert llm.requests[1][-1]["content"] == '{"free": true}'
    assert llm.left == 0


def test_the_same_call_is_the_same_each_time() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("something")
        await call.says("First")
        await call.hears("you said")
        await call.interrupts("Second", after=0.4)
        await call.presses("1")
        await call.hangs_up()

    first, second = run_call(echo, caller), run_call(echo, caller)
    assert first.transcript == second.transcript
    assert [event.type for event in first.events] == [event.type for event in second.events]


def test_the_wait_of_a_turn_is_measured_on_the_virtual_clock() -> None:
    async def handler(call: CallSession) -> None:
        user = await call.listen(timeout=5)
        await call.say((await call.agent.respond(user)).text)

    async def caller(call: FakeCall) -> None:
        await call.says("How long do I wait?")
        await call.hears("not long")

    result = run_call(handler, caller, llm=ScriptedLLM(["Not long."], latency=2.0))
    (started,) = (event for event in result.events if event.type is EventType.AGENT_SPEECH_STARTED)
    latency = started.data["latency"]
    assert latency["llm"] == 2000
    assert latency["tts"] == 50
    assert latency["total"] == pytest.approx(2550, abs=100)


def test_a_failure_is_told_through_middleware_and_apology() -> None:
    app = VoxtraApp(tts="local", stt="local", apology="Something went wrong.")
    seen: list[str] = []

    @app.middleware
    async def around(call: CallSession, proceed: Callable[[CallSession], Awaitable[None]]) -> None:
        seen.append("before")
        await proceed(call)

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        raise KeyError("flaw")

    async def caller(call: FakeCall) -> None:
        await call.hears("something went wrong")

    with pytest.raises(KeyError):
        run_call(app, caller)
    assert run_call(app, caller, check=False).lines == ["agent: Something went wrong."]
    assert seen == ["before"] * 2


def test_a_start_that_never_ends_is_no_test_that_never_ends() -> None:
    app = VoxtraApp()

    @app.on_startup
    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"forever \(test_testing_fake_call"):
        run_call(app)


def test_a_person_or_a_machine() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        call.metadata["who"] = (await call.detect_machine()).who

    async def person(call: FakeCall) -> None:
        await call.says("Hello?")

    async def machine(call: FakeCall) -> None:
        await call.says("You have reached the mailbox of Anna. Please leave a message after the tone.")

    assert run_call(handler, person).metadata == {"who": "human"}
    assert run_call(handler, machine).metadata == {"who": "machine"}


def test_keys_that_the_app_sends() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.send_dtmf("12#")

    assert run_call(handler).call.keys == "12#"


# ---- a test that is wrong is told so


def fails(script: object, match: str, **options: object) -> None:
    with pytest.raises(ExpectationError, match=match):
        run_call(echo, script, **options)


def test_words_that_never_come() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Good evening", timeout=3)

    fails(caller, r"waited 3 s for the words 'Good evening'(.|\n)*agent: Say something\.")


def test_words_after_the_end() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Good evening")

    fails(caller, r"ended by the app before the words 'Good evening'(.|\n)*agent: Goodbye\.")


def test_nobody_to_interrupt() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("something.")
        await call.silence(1)
        await call.interrupts("Hey", timeout=2)

    fails(caller, "waited 2 s for somebody to interrupt")


def test_too_late_to_interrupt() -> None:
    async def caller(call: FakeCall) -> None:
        await call.interrupts("Hey", after=3)

    fails(caller, "can't interrupt after 3 s: the other side was done after 0.9")


def test_a_handler_that_never_ends() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await asyncio.Event().wait()

    with pytest.raises(
        ExpectationError, match=r"still up.*The handler is at .*handler \(test_testing_fake_call"
    ):
        run_call(handler)


def test_hears_takes_expressions_and_goes_forward() -> None:
    async def caller(call: FakeCall) -> None:
        assert await call.hears(re.compile(r"some\w+")) == "Say something"
        with pytest.raises(ExpectationError):
            await call.hears("Say", timeout=1)
        await call.hangs_up()

    run_call(echo, caller)


@pytest.mark.parametrize(
    ("step", "match"),
    [
        (lambda call: call.says(""), r"says\(''\)"),
        (lambda call: call.says("x", confidence=2), "confidence=2"),
        (lambda call: call.interrupts(None), r"interrupts\(None\)"),
        (lambda call: call.hears(" "), "give the words"),
        (lambda call: call.presses("1x"), r"presses\('1x'\)"),
        (lambda call: call.presses(5), r"presses\(5\)"),
        (lambda call: call.silence(-1), "silence"),
        (lambda call: call.noise(0), "noise"),
    ],
)
def test_verbs_that_make_no_sense(step: object, match: str) -> None:
    async def caller(call: FakeCall) -> None:
        await step(call)

    with pytest.raises(FakeCallError, match=match):
        run_call(echo, caller)


def test_arguments_that_make_no_sense() -> None:
    async def caller(call: FakeCall) -> None:
        raise AssertionError("not called")

    with pytest.raises(FakeCallError, match="without calling it"):
        run_call(echo, caller(None))
    with pytest.raises(FakeCallError, match="async def caller"):
        run_call(echo, print)
    with pytest.raises(FakeCallError, match="a VoxtraApp, a Router, or a handler"):
        run_call(7)
    with pytest.raises(FakeCallError, match="must be  async def"):
        run_call(lambda call: None)
    with pytest.raises(FakeCallError, match="number=100: write it as text"):
        run_call(echo, number=100)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"prompts": {"a": "2"}}, r"prompts\['a'\]='2': seconds"),
        ({"prompts": 5}, "prompts=5: a dict"),
        ({"dialplan": {"voxtra-queue": "busy"}}, "a Dialplan"),
        ({"endpoints": ["PJSIP/anna"]}, "a dict"),
    ],
)
def test_a_world_that_can_not_be(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(FakeCallError, match=match):
        run_call(echo, **wrong)


def test_a_model_that_has_nothing_left_to_say() -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.agent.respond("Hi")
        await call.agent.respond("And now?")

    with pytest.raises(ExpectationError, match="has 1 replies and was asked once more, after 'And now"):
        run_call(handler, llm=ScriptedLLM(["Hello."]))
