"""Whatever the history is, Claude and Gemini get turns they take."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import LLMError
from voxtra.speech.base import ToolCall
from voxtra.speech.messages import BEGIN, GO_ON, Result, Text, Turn, turns
from voxtra.speech.realtime_protocol import items_of


def asked(*ids):
    return [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids]


WORDS = st.sampled_from(["", " ", "yes", "what?"])
IDS = st.sampled_from("abcd")
MESSAGES = st.lists(
    st.one_of(
        st.builds(lambda text: {"role": "system", "content": text}, WORDS),
        st.builds(lambda text: {"role": "user", "content": text}, WORDS),
        st.builds(lambda text: {"role": "assistant", "content": text}, WORDS),
        st.builds(
            lambda text, ids: {"role": "assistant", "content": text, "tool_calls": asked(*ids)},
            WORDS,
            st.lists(IDS, unique=True, max_size=3),
        ),
        st.builds(lambda i, text: {"role": "tool", "tool_call_id": i, "content": text}, IDS, WORDS),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_turns_alternate_and_every_tool_call_is_answered_at_once(messages):
    before = json.dumps(messages)
    _, made = turns(messages)
    assert json.dumps(messages) == before
    assert made[0].role == made[-1].role == "user"
    for earlier, later in itertools.pairwise(made):
        assert earlier.role != later.role
        called = [part.id for part in earlier.parts if isinstance(part, ToolCall)]
        answered = [part.id for part in later.parts if isinstance(part, Result)]
        assert sorted(called) == sorted(answered)
        assert all(isinstance(part, Result) for part in later.parts[: len(answered)])
    assert all(turn.parts for turn in made)
    assert not any(isinstance(part, Text) and not part.text.strip() for turn in made for part in turn.parts)
    said = [m["content"] for m in messages if m["role"] in ("user", "assistant") and m["content"].strip()]
    kept = [part.text for turn in made for part in turn.parts if isinstance(part, Text)]
    assert [text for text in kept if text in ("yes", "what?")] == said


@settings(max_examples=100, deadline=None)
@given(MESSAGES)
def test_a_realtime_conversation_gets_no_result_without_its_call(messages):
    known = set()
    for item in items_of(messages):
        if item["type"] == "function_call":
            known.add(item["call_id"])
        elif item["type"] == "function_call_output":
            assert item["call_id"] in known
        else:
            assert item["content"][0]["text"].strip()


def test_instructions_are_taken_out_and_an_empty_conversation_begins():
    assert turns(
        [{"role": "system", "content": "Be short."}, {"role": "developer", "content": "Be kind."}]
    ) == (
        "Be short.\n\nBe kind.",
        [Turn("user", [Text(BEGIN)])],
    )
    assert turns([{"role": "assistant", "content": "Hello."}])[1] == [
        Turn("user", [Text(BEGIN)]),
        Turn("assistant", [Text("Hello.")]),
        Turn("user", [Text(GO_ON)]),
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "robot", "content": "x"},
        {"content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}]},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"arguments": "[]"}}]},
        {"role": "assistant", "content": "", "tool_calls": ["a"]},
    ],
)
def test_what_has_no_known_form_is_told(message):
    with pytest.raises(LLMError):
        turns([message])
