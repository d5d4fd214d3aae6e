"""Scenario files are read, or refused in one line that names the mend."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, LLMError
from voxtra.evaluation import load_scenarios
from voxtra.evaluation.steps import VERBS, Step, read_step
from voxtra.speech.base import ToolCall

GOOD = """\
caller: [{says: Hello}, hangs_up]
"""


def write(folder: Path, text: str, name: str = "angry_customer.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    write(tmp_path, f"{GOOD}---\nname: second\n{GOOD}")
    write(tmp_path, GOOD, "b.yml")
    write(tmp_path, "no scenario", "readme.txt")
    found = load_scenarios([tmp_path])
    assert [each.name for each in found] == ["angry customer", "second", "b"]
    assert found[0].file == tmp_path / "angry_customer.yaml"
    assert found[0].caller == (Step("says", text="Hello"), Step("hangs_up"))


def test_all_that_can_be_written(tmp_path: Path) -> None:
    text = """\
app: app.py:app
number: "200"
llm:
  - Hello there.
  - {say: One moment., tool: book, arguments: {people: 4}}
  - {fails: it is down}
caller:
  - {interrupts: "Wait!", after: 1.5}
  - {noise: 0.3, after: 1}
  - {says: one two, gap: 0.4, confidence: 0.5}
  - {presses: "12#", gap: 1}
  - silence: 2
  - ended
expect:
  agent_said: hello
  tools: [one, {name: two, arguments: {a: 1}}]
  turns: 2
  interruptions: {min: 1}
"""
    (found,) = load_scenarios([write(tmp_path, text)])
    assert found.caller[0] == Step("interrupts", text="Wait!", options={"after": 1.5})
    assert str(found.caller[1]) == "noise 0.3, after 1"
    assert found.expect.agent_said == ("hello",)
    assert [tool.name for tool in found.expect.tools or ()] == ["one", "two"]
    assert 2 in (found.expect.turns or ())
    assert 3 not in (found.expect.turns or ())
    assert 9 in (found.expect.interruptions or ())
    first, second, third = found.replies or []
    assert first == ["Hello there."]
    assert second == ["One moment.", ToolCall("scripted-2", "book", {"people": 4})]
    assert isinstance(third[0], LLMError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("caler: [hangs_up]", "caler is no key: did you mean 'caller'?"),
        (
            "caller: [hangs_up]\nexpect: {agent_sad: x}",
            "expect.agent_sad is no key: did you mean 'agent_said'?",
        ),
        ("caller: [hangs_up]\nexpect: {agent_said: '('}", "expect.agent_said[1]: no regular expression"),
        ("caller: [hangs_up]\nexpect: {tools: [{nam: x}]}", "expect.tools[1].name: Field required"),
        ("caller: [hangs_up]\nllm: [{sya: x}]", "llm[1].sya is no key: did you mean 'say'?"),
        ("caller: [hangsup]", "caller[1]: 'hangsup' is no step: did you mean 'hangs_up'?"),
        ("caller: [{says: Hi, confidense: 1}]", "says has no 'confidense': did you mean 'confidence'?"),
        ("caller: [{says: Hi, presses: '1'}]", "says and presses are two steps"),
        ("caller: [{presses: 12}]", 'in quotes, please:  presses: "12"'),
        ("caller: [{silence: long}]", "silence: 'long': a number, 0 or more"),
        ("caller: [{hangs_up: 1}]", "it takes nothing"),
        ("about: nobody calls", "give either  caller:  (steps)  or  persona:"),
        ("caller: [", "angry_customer.yaml: while parsing"),
        ("[]", "a scenario is a mapping"),
    ],
)
def test_what_can_not_be(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_scenarios([write(tmp_path, text)])
    assert said in str(caught.value)
    assert "angry_customer.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file or folder"):
        load_scenarios([tmp_path / "x.yaml"])
    with pytest.raises(ConfigurationError, match=r"no \.yaml file in this folder"):
        load_scenarios([tmp_path])
    with pytest.raises(ConfigurationError, match="no scenario"):
        load_scenarios([write(tmp_path, "")])


values = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
names = st.sampled_from([*VERBS, "after", "gap", "x"]) | st.integers()


@given(values | st.dictionaries(names, values, max_size=3))
def test_any_step_is_read_or_refused(given_step: object) -> None:
    try:
        step = read_step(given_step)
    except ConfigurationError:
        return
    assert str(step).startswith(step.verb)


def test_the_scenarios_of_the_guide_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"
    blocks = re.findall(r"^```yml\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        load_scenarios([write(tmp_path, block)])
