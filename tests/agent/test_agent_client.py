"""The conversation's memory: what the model is sent, and that it holds what was heard and nothing else."""

from __future__ import annotations

import asyncio

import pytest
from agent_fakes import FakeLLM

from voxtra.agent.client import AgentClient
from voxtra.errors import LLMError, PipelineNotConfiguredError
from voxtra.events import AgentResponseEvent, EventType, UserTranscriptEvent
from voxtra.speech.base import ToolCall, Usage

CALL = ToolCall("t-1", "order_status", {"order": 4321})


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


@pytest.mark.proves("failure 11")
async def test_an_answer_is_remembered_and_sent_with_the_next():
    llm = FakeLLM(["Hello ", "there.", Usage(7, 3)], ["Bye."])
    events = []
    agent = AgentClient(llm, instructions="Be kind.", emit=events.append)
    reply = await agent.respond(UserTranscriptEvent(text="Hi"))
    assert isinstance(reply, AgentResponseEvent)
    assert (str(reply), reply.tool_calls) == ("Hello there.", [])
    assert reply.data == {"input_tokens": 7, "output_tokens": 3}
    assert agent.history == [user("Hi"), assistant("Hello there.")]
    assert [event.type for event in events] == [EventType.AGENT_THINKING, EventType.AGENT_RESPONSE]
    assert events[1] is reply
    await agent.respond("Thanks")
    system = {"role": "system", "content": "Be kind."}
    assert llm.requests == [
        [system, user("Hi")],
        [system, user("Hi"), assistant("Hello there."), user("Thanks")],
    ]


async def test_without_instructions_there_is_no_system_message():
    agent = AgentClient(FakeLLM(["Yes."]))
    await agent.respond("Hi")
    assert agent.messages == agent.history


async def test_the_history_is_the_handlers_to_change():
    llm = FakeLLM(["Yes."], ["Yes."])
    agent = AgentClient(llm)
    agent.history.append(user("Hi from earlier."))
    await agent.respond("And now")
    assert llm.requests[0] == [user("Hi from earlier."), user("And now")]
    agent.messages.clear()
    assert len(agent.history) == 3, "messages is a copy"
    agent.reset()
    await agent.respond("Again")
    assert llm.requests[1] == [user("Again")]


async def test_the_event_is_stamped_with_the_times_of_the_turn():
    agent = AgentClient(FakeLLM(["Yes."], pace_s=0.001))
    await agent.respond("Hi")
    times = agent.times
    assert 0 < times.llm_started_at < times.llm_first_at <= times.llm_done_at


async def test_no_model_no_answer():
    agent = AgentClient(None)
    with pytest.raises(PipelineNotConfiguredError, match="llm"):
        await agent.respond("Hi")
    with pytest.raises(PipelineNotConfiguredError, match="llm"):
        await anext(agent.stream("Hi"))
    assert agent.history == []


# -- failure


@pytest.mark.parametrize("reply", [["fail"], ["Hello ", "fail"]])
async def test_after_a_failure_the_history_is_as_before_and_it_can_be_tried_again(reply):
    llm = FakeLLM(reply, ["Hello."])
    events = []
    agent = AgentClient(llm, emit=events.append)
    with pytest.raises(LLMError, match="out of thoughts"):
        await agent.respond("Hi")
    assert agent.history == []
    assert llm.ended == 1
    assert [event.type for event in events] == [EventType.AGENT_THINKING]
    await agent.respond("Hi")
    assert agent.history == [user("Hi"), assistant("Hello.")]


async def test_a_stream_that_fails_leaves_the_history_as_it_was():
    agent = AgentClient(FakeLLM(["Hello ", "fail"]))
    stream = agent.stream("Hi")
    assert await anext(stream) == "Hello "
    with pytest.raises(LLMError):
        await anext(stream)
    assert agent.history == []


async def test_a_response_that_is_cancelled_never_was():
    llm = FakeLLM(["Hello ", "hang"])
    agent = AgentClient(llm)
    task = asyncio.ensure_future(agent.respond("Hi"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert agent.history == []
    assert llm.ended == 1


async def test_an_answer_without_words_leaves_no_empty_message():
    agent = AgentClient(FakeLLM([]))
    reply = await agent.respond("Hi")
    assert str(reply) == ""
    assert agent.history == [user("Hi")]


# -- streams and interruptions


async def test_a_stream_gives_the_pieces_and_is_remembered_whole():
    events = []
    agent = AgentClient(FakeLLM(["Hello ", "there. ", CALL]), emit=events.append)
    assert [piece async for piece in agent.stream("Hi")] == ["Hello ", "there. "]
    assert agent.history[1]["content"] == "Hello there."
    assert agent.history[1]["tool_calls"][0]["id"] == "t-1"
    assert events[-1].tool_calls == [{"id": "t-1", "name": "order_status", "arguments": {"order": 4321}}]


async def test_a_stream_closed_early_cancels_the_request_and_keeps_what_was_made():
    llm = FakeLLM([CALL, "Hello there. ", "How are ", "hang"])
    agent = AgentClient(llm)
    stream = agent.stream("Hi")
    assert [await anext(stream), await anext(stream)] == ["Hello there. ", "How are "]
    assert llm.ended == 0
    await stream.aclose()
    assert llm.ended == 1
    assert agent.history == [user("Hi"), assistant("Hello there. How are")], "no call without a result"
    agent.cut_to_heard("Hello there.", "Hello")
    assert agent.history == [user("Hi"), assistant("Hello")]


async def test_a_stream_cancelled_while_it_waits_keeps_what_was_made():
    llm = FakeLLM(["Hello there. ", "hang"])
    agent = AgentClient(llm)

    async def read():
        async for _ in agent.stream("Hi"):
            pass

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert llm.ended == 1
    assert agent.history == [user("Hi"), assistant("Hello there.")]


async def test_a_stream_closed_before_its_first_word_keeps_what_the_caller_said():
    agent = AgentClient(FakeLLM(["hang"]))
    stream = agent.stream("Hi")
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert agent.history == [user("Hi")]


async def test_a_stream_never_read_never_was():
    agent = AgentClient(FakeLLM(["Hello."]))
    await agent.stream("Hi").aclose()
    assert agent.history == []


async def test_words_made_but_never_spoken_leave_the_history():
    agent = AgentClient(FakeLLM(["Hel", "hang"]))
    stream = agent.stream("Hi")
    await anext(stream)
    await stream.aclose()
    agent.cut_to_heard("", "")
    assert agent.history == [user("Hi")]


# -- cutting


@pytest.mark.parametrize(
    ("text", "heard", "left"),
    [
        ("One two. Three four.", "One two.", [user("Hi"), assistant("One two.")]),
        ("One two.\n Three  four.", "One", [user("Hi"), assistant("One")]),
        ("One two.", "One", [user("Hi"), assistant("One")]),
        ("One two. Three four.", "", [user("Hi")]),
        ("Something else.", "Some", [user("Hi"), assistant("One two. Three four.")]),
        ("One tw", "One", [user("Hi"), assistant("One two. Three four.")]),
        ("", "", [user("Hi"), assistant("One two. Three four.")]),
    ],
)
async def test_the_reply_is_cut_to_what_was_heard(text, heard, left):
    agent = AgentClient(FakeLLM(["One two. Three four."]))
    await agent.respond("Hi")
    agent.cut_to_heard(text, heard)
    assert agent.history == left


async def test_only_the_answer_to_what_was_said_last_is_cut():
    agent = AgentClient(FakeLLM(["Yes."], ["Yes."]))
    await agent.respond("One")
    agent.history.append(user("Two"))
    agent.cut_to_heard("Yes.", "")
    assert agent.history == [user("One"), assistant("Yes."), user("Two")]


async def test_a_reply_that_called_a_tool_stays_with_its_call():
    agent = AgentClient(FakeLLM(["Let me see.", CALL]))
    await agent.respond("Where is it?")
    await agent.add_tool_result("t-1", "shipped")
    agent.cut_to_heard("Let me see.", "")
    assert [message["role"] for message in agent.history] == ["user", "assistant", "tool"]
    assert agent.history[1]["content"] == ""
    assert agent.history[1]["tool_calls"]


# -- tools


async def test_a_tool_is_called_answered_and_its_result_sent():
    llm = FakeLLM(["Let me see.", CALL], ["It is on its way."])
    agent = AgentClient(llm)
    agent.tools = [{"name": "order_status"}]
    reply = await agent.respond("Where is order 4321?")
    assert reply.tool_calls == [{"id": "t-1", "name": "order_status", "arguments": {"order": 4321}}]
    await agent.add_tool_result(tool_id="t-1", result="Order #4321 shipped")
    final = await agent.respond("")
    assert str(final) == "It is on its way."
    assert llm.tools == [agent.tools, agent.tools]
    assert llm.requests[1] == [
        user("Where is order 4321?"),
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "t-1",
                    "type": "function",
                    "function": {"name": "order_status", "arguments": '{"order": 4321}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t-1", "content": "Order #4321 shipped"},
    ]
    assert [m["role"] for m in agent.history] == ["user", "assistant", "tool", "assistant"]


@pytest.mark.parametrize(
    ("result", "content"),
    [
        ("as it is", "as it is"),
        ({"sent": True, "to": "Zoë"}, '{"sent": true, "to": "Zoë"}'),
        (None, "null"),
        ({"at": complex(1, 2)}, '{"at": "(1+2j)"}'),
        ({(1, 2): 3}, "{(1, 2): 3}"),
    ],
)
async def test_whatever_a_tool_gives_reaches_the_model(result, content):
    agent = AgentClient(None)
    await agent.add_tool_result("t-1", result)
    assert agent.history == [{"role": "tool", "tool_call_id": "t-1", "content": content}]


async def test_a_result_stands_where_it_was_asked_for():
    """Chat models refuse a conversation in which somebody speaks between a call and its result."""

    def asks(*ids):
        calls = [
            {"id": each, "type": "function", "function": {"name": "f", "arguments": "{}"}} for each in ids
        ]
        return {"role": "assistant", "content": "", "tool_calls": calls}

    agent = AgentClient(None)
    user, reply = {"role": "user", "content": "And?"}, {"role": "assistant", "content": "Soon."}
    first, second = asks("t-1"), asks("t-1", "t-2")  # some servers number them anew in each reply
    agent.history += [first, {"role": "tool", "tool_call_id": "t-1", "content": "old"}, second, user, reply]
    for each in ("t-1", "t-2"):
        await agent.add_tool_result(each, each)
    assert [m.get("content") for m in agent.history] == ["", "old", "", "t-1", "t-2", "And?", "Soon."]
