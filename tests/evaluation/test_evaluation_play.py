"""Scenarios played in text: what goes as expected passes, what doesn't is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eval_scenes import HOURS, app_of, scenario, shop

from voxtra import CallSession
from voxtra.errors import ConfigurationError, LLMError
from voxtra.evaluation import Outcome, Scenario, evaluate
from voxtra.evaluation.report import as_json, as_lines, as_page, summary
from voxtra.testing import ScriptedLLM, tool

TALK = [{"hears": "Hello"}, {"says": "When are you open?"}, {"hears": "five"}, "hangs_up"]


def play(given: Scenario, handler: Any = shop, **options: Any) -> Outcome:
    (outcome,) = evaluate([given], lambda _: app_of(handler), **options)
    return outcome


def failed(outcome: Outcome) -> list[str]:
    return [f"{check.what}: {check.seen}" for check in outcome.checks if not check.holds]


def test_all_as_expected() -> None:
    expect = {
        "agent_said": ["nine in the morning", "^hello"],
        "agent_did_not_say": "sorry",
        "understood": "^When are you open",
        "tools": [],
        "state": "completed",
        "ended_by": "caller",
        "turns": 1,
        "max_wait_ms": 1000,
        "interruptions": 0,
        "false_interruptions": {"max": 0},
        "digits": "",
        "max_duration_s": 20,
    }
    outcome = play(scenario(caller=TALK, expect=expect))
    assert failed(outcome) == []
    assert outcome.passed
    assert len(outcome.checks) == 2 + 13
    assert [line.speaker for line in outcome.played.lines] == ["agent", "caller", "agent"]


@pytest.mark.parametrize(
    ("expect", "said"),
    [
        ({"agent_said": "ten"}, "the agent says 'ten': it said"),
        ({"agent_did_not_say": "n[a-z]ne"}, "the agent does not say 'n[a-z]ne': it said 'nine'"),
        ({"understood": "closed"}, "a turn is understood as 'closed': turns were ['When are you open?']"),
        ({"tools": ["note"]}, "tools called: note(): called: none"),
        ({"state": "failed"}, "the call's state: failed: it was 'completed'"),
        ({"ended_by": "app"}, "the call is ended by: app: it was 'caller'"),
        ({"turns": 2}, "turns: 2: there were 1"),
        ({"interruptions": {"min": 1}}, "interruptions: at least 1: there were 0"),
        ({"max_wait_ms": 100}, "waits of 100 ms at most: the longest was"),
        ({"digits": "1"}, "keys: 1: it was ''"),
        ({"max_duration_s": 2}, "a call of 2 s at most: it lasted"),
        ({"metadata": {"number": 1}}, "metadata number: 1: it was None"),
    ],
)
def test_each_expectation_can_fail(expect: dict[str, Any], said: str) -> None:
    outcome = play(scenario(caller=TALK, expect=expect))
    assert len(failed(outcome)) == 1
    assert failed(outcome)[0].startswith(said)


def test_tools_and_their_arguments() -> None:
    def called(**arguments: Any) -> list[str]:
        llm = [{"tool": "note", "arguments": {"number": "0201234"}}, "Noted."]
        caller = [{"hears": "Hello"}, {"says": "My number."}, {"hears": "Noted"}, "hangs_up"]
        expect = {"tools": [{"name": "note", "arguments": arguments}], "metadata": {"number": "/^020/"}}
        return failed(play(scenario(caller=caller, llm=llm, expect=expect)))

    assert called() == called(number="0201234") == called(number=r"/^\d+$/") == []
    assert called(number="020") == ["tools called: note(number='020'): called: note(number='0201234')"]
    assert len(called(colour="red")) == 1


def test_a_caller_whose_script_can_not_go_on() -> None:
    outcome = play(scenario(caller=[{"hears": "Good evening", "timeout": 3}, "hangs_up"]))
    assert failed(outcome) == [
        "the call goes as the caller's steps say: step 1 (hears Good evening, timeout 3): "
        "100: waited 3 s for the words 'Good evening'."
    ]
    assert [line.text for line in outcome.played.lines] == ["Hello."]  # what was said is told all the same


def test_an_app_that_fails() -> None:
    async def broken(call: CallSession) -> None:
        await call.say("Hello.")
        raise KeyError("prices")

    outcome = play(scenario(caller=[{"hears": "Hello"}, "ended"]), broken)
    assert failed(outcome) == ["nothing fails in the app: KeyError: 'prices'"]


def test_keys_prompts_and_noise() -> None:
    async def menu(call: CallSession) -> None:
        await call.play_file("welcome")
        call.metadata["keys"] = await call.listen_dtmf(max_digits=2, timeout=5)
        await call.say("Thank you.")

    steps = [{"hears_prompt": "welcome"}, {"silence": 1}, {"noise": 0.2}, {"presses": "42"}, "ended"]
    expect = {"digits": "42", "metadata": {"keys": "42"}, "ended_by": "app", "agent_said": "welcome"}
    assert failed(play(scenario(caller=steps, prompts={"welcome": 1.0}, expect=expect), menu)) == []


def test_breaking_off() -> None:
    steps = [{"hears": "Hello"}, {"says": "I would like to book a table", "hangs_up_after": 0.5}]
    outcome = play(scenario(caller=steps, llm=[], expect={"turns": 0, "ended_by": "caller"}))
    assert failed(outcome) == []
    assert outcome.played.lines[-1].cut == "hangup"
    too_late = [{"hears": "Hello"}, {"says": "No", "hangs_up_after": 9}]
    assert "all was said within 9 s" in failed(play(scenario(caller=too_late, llm=["Well."])))[0]


PERSONA = {"who": "a customer in a hurry", "goal": "the opening hours", "max_turns": 4}


def test_a_caller_played_by_a_model() -> None:
    mind = ScriptedLLM(["When are you open?", ["Thank you. Bye.", tool("hang_up")]])
    outcome = play(
        scenario(persona=PERSONA, llm=[HOURS, "Bye."], expect={"ended_by": "caller"}), make_llm=lambda: mind
    )
    assert failed(outcome) == []
    assert [line.text for line in outcome.played.lines][:3] == ["Hello.", "When are you open?", HOURS]
    assert "a customer in a hurry" in mind.requests[0][0]["content"]
    assert mind.requests[0][1:] == [{"role": "user", "content": "Hello."}]
    assert mind.requests[1][-1] == {"role": "user", "content": HOURS}
    assert {each["function"]["name"] for each in mind.tools[0]} == {"hang_up", "press_keys"}


def test_a_persona_that_presses_keys_and_one_that_is_never_content() -> None:
    async def menu(call: CallSession) -> None:
        await call.say("Press one for sales.")
        await call.listen_dtmf(max_digits=1, timeout=20)
        await call.say("Sales is closed.")

    mind = ScriptedLLM([tool("press_keys", keys="1"), ["Oh.", tool("hang_up")]])
    outcome = play(scenario(persona=PERSONA, expect={"digits": "1"}), menu, make_llm=lambda: mind)
    assert failed(outcome) == []

    stubborn = ScriptedLLM(["And?"] * 2)
    never = scenario(persona=PERSONA | {"max_turns": 2}, llm=["No.", "No.", "No."])
    assert "not content after 2 turns" in failed(play(never, make_llm=lambda: stubborn))[0]
    dead = ScriptedLLM([LLMError("no credit")])
    assert "no credit" in failed(play(scenario(persona=PERSONA), make_llm=lambda: dead))[0]


def test_a_judge() -> None:
    given = scenario(caller=TALK, judge=["It told the hours.", "It was rude."])
    verdicts = 'Sure: [{"holds": true, "why": "nine to five"}, {"holds": false, "why": "it was polite"}]'
    llm = ScriptedLLM(["I think so.", verdicts])
    outcome = play(given, make_llm=lambda: llm)
    assert failed(outcome) == ["judged: It was rude.: it was polite"]
    assert "agent: Hello.\ncaller: When are you open?" in llm.requests[0][1]["content"]
    useless = play(given, make_llm=lambda: ScriptedLLM(["Yes.", '[{"holds": "yes"}]']))
    assert "the judge gave no verdict" in failed(useless)[0]


def test_a_model_is_wanted_and_there_is_none() -> None:
    with pytest.raises(ConfigurationError, match="a persona needs a language model: name one with --llm"):
        play(scenario(persona=PERSONA))
    with pytest.raises(ConfigurationError, match="a judge needs"):
        play(scenario(caller=TALK, judge="It was kind."))


def test_reports() -> None:
    good = play(scenario(caller=TALK))
    bad = play(scenario(name="<b>rude</b>", caller=TALK, expect={"agent_said": "<script>"}))
    assert next(iter(as_lines(good))).split()[:3] == ["pass", "a", "scenario"]
    lines = list(as_lines(bad))
    assert lines[0].startswith("  FAIL  <b>rude</b>")
    assert any("caller: When are you open?" in line for line in lines)
    assert summary([good, bad]).startswith("2 scenarios, 1 passed, 1 failed")
    told = json.loads(json.dumps(as_json([good, bad])))
    assert not told["ok"]
    assert [each["passed"] for each in told["scenarios"]] == [True, False]
    page = as_page([good, bad])
    assert "&lt;b&gt;rude&lt;/b&gt;" in page
    assert "<script" not in page
    assert page.index("rude") < page.index("a scenario")  # what failed comes first
    assert page.count("<details open>") == 1
