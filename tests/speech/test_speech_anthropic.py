"""The Anthropic client against a server of our own that speaks the real protocol, well and badly."""

import asyncio

import pytest
from fakes.anthropic_server import HELLO, AnthropicServer, event, start, stop, text, tool

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech import load_as
from voxtra.speech.anthropic import AnthropicLLM
from voxtra.speech.base import LLM, TextDelta, ToolCall, Usage
from voxtra.testing import check_llm

MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
TOOL = {"name": "look_up", "description": "Finds.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
async def server():
    fake = AnthropicServer()
    runner = await fake.start()
    yield fake
    await runner.cleanup()


def made(server, **timeouts):
    return AnthropicLLM(model="m", base_url=server.url, api_key="k", max_retries=0, **timeouts)


async def answer(llm, messages=MESSAGES, **options):
    return [event async for event in llm.stream(messages, **options)]


async def test_text_comes_in_pieces_and_the_usage_last(server, llm):
    server.answers = [HELLO]
    wrapped = {"type": "function", "function": TOOL}
    assert await answer(llm, tools=[TOOL, wrapped]) == [
        TextDelta("Grüß "),
        TextDelta("Gott."),
        Usage(10, 2),
    ]
    (request,) = server.requests
    assert request["system"] == "Be short."
    assert request["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    assert request["stream"] is True
    assert request["cache_control"] == {"type": "ephemeral"}
    known = {"name": "look_up", "description": "Finds.", "input_schema": TOOL["parameters"]}
    assert request["tools"] == [known, known]
    assert server.headers[0]["authorization"] == "Bearer k"


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
async def test_however_the_bytes_are_split_the_words_are_the_same(server, llm, size):
    async def split(request):
        return await server.stream(request, [HELLO[at : at + size] for at in range(0, len(HELLO), size)])

    server.answers = [split]
    assert await answer(llm) == [TextDelta("Grüß "), TextDelta("Gott."), Usage(10, 2)]


async def test_parallel_tool_calls_are_put_together_from_their_pieces(server, llm):
    server.answers = [
        start()
        + text(0, "One moment.")
        + tool(1, "a", "look_up", "", '{"na', 'me": "A', 'da"}')
        + tool(2, "b", "hang_up")
        + stop("tool_use")
    ]
    assert await answer(llm) == [
        TextDelta("One moment."),
        ToolCall("a", "look_up", {"name": "Ada"}),
        ToolCall("b", "hang_up", {}),
        Usage(10, 2),
    ]


async def test_pieces_of_two_tool_calls_that_cross_stay_apart(server, llm):
    def piece(index, part):
        return event(
            "content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": part}
        )

    begin = tool(0, "a", "one") + tool(1, "b", "two")
    server.answers = [
        start() + begin + piece(0, '{"x"') + piece(1, '{"y"') + piece(0, ":1}") + piece(1, ":2}") + stop()
    ]
    assert (await answer(llm))[:2] == [ToolCall("a", "one", {"x": 1}), ToolCall("b", "two", {"y": 2})]


async def test_arguments_that_are_no_json_are_told(server, llm):
    server.answers = [start() + tool(0, "a", "x", '{"a":') + stop("max_tokens")]
    with pytest.raises(LLMError, match="'x' with arguments that are no JSON object"):
        await answer(llm)


async def test_the_conversation_goes_over_with_its_tool_calls_and_results(server, llm):
    call = {"type": "function", "function": {"name": "look_up", "arguments": '{"name": "Ada"}'}}
    server.answers = [HELLO]
    await answer(
        llm,
        [
            {"role": "assistant", "content": "Welcome."},
            {"role": "user", "content": "Who is Ada?"},
            {"role": "assistant", "content": "", "tool_calls": [call | {"id": "a"}, call | {"id": "b"}]},
            {"role": "tool", "tool_call_id": "b", "content": "a poet"},
            {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
            {"role": "tool", "tool_call_id": "gone", "content": "late"},
            {"role": "assistant", "content": "I am here."},
        ],
    )
    use = {"type": "tool_use", "name": "look_up", "input": {"name": "Ada"}}
    assert server.requests[0]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "(The call begins.)"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Welcome."}]},
        {"role": "user", "content": [{"type": "text", "text": "Who is Ada?"}]},
        {"role": "assistant", "content": [use | {"id": "a"}, use | {"id": "b"}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": "a poet"},
                {
                    "type": "tool_result",
                    "tool_use_id": "a",
                    "content": "There is no result: it was not carried out, or not to its end.",
                    "is_error": True,
                },
                {"type": "text", "text": "Hello?"},
                {"type": "text", "text": "(A tool's result: late)"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "I am here."}]},
        {"role": "user", "content": [{"type": "text", "text": "(The caller says nothing.)"}]},
    ]
    assert "system" not in server.requests[0]


async def test_what_is_no_text_is_refused_before_it_is_sent(server, llm):
    picture = [{"type": "image_url", "image_url": {"url": "x"}}]
    with pytest.raises(LLMError, match="something else than text"):
        await answer(llm, [{"role": "user", "content": picture}])
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, "authentication_error", "invalid x-api-key"),
        (429, "rate_limit_error", "slow down"),
        (529, "overloaded_error", "Overloaded"),
        (400, "invalid_request_error", "max_tokens: too many"),
    ],
)
async def test_a_refusal_carries_the_servers_words(server, llm, status, kind, message):
    server.answers = [server.refusal(status, kind, message)]
    with pytest.raises(LLMError, match=rf"anthropic \(m\): {status} {message}"):
        await answer(llm)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [429, 529])
async def test_a_busy_server_is_asked_again(server, status):
    server.answers = [server.refusal(status, "overloaded_error", "Overloaded"), HELLO]
    llm = AnthropicLLM(model="m", base_url=server.url + "/v1/", max_retries=1)
    assert (await answer(llm))[0] == TextDelta("Grüß ")
    await llm.close()


async def test_an_error_inside_the_stream_is_told(server, llm):
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    server.answers = [start() + text(0, "One ") + error]
    with pytest.raises(LLMError, match=r"anthropic \(m\): overloaded_error Overloaded"):
        await answer(llm)


async def test_a_socket_that_breaks_in_the_middle_is_an_error_after_the_words(server, llm):
    async def breaks(request):
        return await server.stream(request, [start() + text(0, "One ")], pause=0.05, drop=True)

    server.answers = [breaks]
    reply = llm.stream(MESSAGES)
    assert await anext(reply) == TextDelta("One ")
    with pytest.raises(LLMError, match=r"anthropic \(m\): "):
        await anext(reply)


@pytest.mark.parametrize("whole", [start() + text(0, "One "), start() + text(0, "One ") + stop()[:-20]])
async def test_a_reply_without_an_end_broke_off(server, llm, whole):
    server.answers = [whole]
    with pytest.raises(LLMError):
        await answer(llm)


@pytest.mark.parametrize(
    "garbage",
    [
        b"event: message_start\ndata: {nonsense\n\n",
        b"event: content_block_delta\ndata: [1, 2]\n\n",
        b"event: content_block_delta\ndata: \xff\xfe\n\n",
        b"<html>no</html>",
        event("message_start", message=7),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": 5}),
    ],
)
async def test_garbage_is_an_error_of_ours(server, llm, garbage):
    server.answers = [garbage + (b"" if b"html" in garbage else stop())]
    with pytest.raises(LLMError):
        await answer(llm)


async def test_events_of_a_new_kind_are_passed_over(server, llm):
    block = {"type": "thinking", "thinking": "", "signature": ""}
    thinking = event("content_block_start", index=0, content_block=block) + event(
        "content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."}
    )
    server.answers = [start() + thinking + event("weather", sky="blue") + text(1, "Hello.") + stop()]
    assert await answer(llm) == [TextDelta("Hello."), Usage(10, 2)]


async def test_the_first_piece_has_a_deadline(server, hasty):
    async def slow(request):
        await asyncio.sleep(5)

    async def pings(request):
        return await server.stream(request, [event("ping")] * 50, pause=0.1)

    for behaviour in (slow, pings):
        server.answers = [behaviour]
        with pytest.raises(LLMError, match=r"did not begin to answer within 0\.3 s"):
            await answer(hasty)


async def test_each_further_piece_has_a_deadline(server, impatient):
    async def stalls(request):
        return await server.stream(request, [start() + text(0, "One ")], last_pause=5)

    server.answers = [stalls]
    with pytest.raises(LLMError, match=r"went silent within 0\.3 s"):
        await answer(impatient)


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_leaving_in_mid_stream_hangs_up_on_the_server(server, llm, way):
    async def endless(request):
        return await server.stream(request, [start()] + [text(0, "la ")] * 1000, pause=0.02)

    server.answers = [endless]
    reply = llm.stream(MESSAGES)
    if way == "close":
        assert await anext(reply) == TextDelta("la ")
        await reply.aclose()
    else:
        task = asyncio.ensure_future(answer(llm))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with asyncio.timeout(2):
        await server.dropped.wait()


async def test_a_refused_reply_is_told(server, llm):
    server.answers = [start() + stop("refusal")]
    with pytest.raises(LLMError, match="refused"):
        await answer(llm)


async def test_nobody_there_is_told():
    llm = AnthropicLLM(model="m", base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(LLMError, match=r"anthropic \(m\): "):
        await answer(llm)
    await llm.close()


async def test_it_keeps_the_rules_of_an_llm(server, llm):
    server.answers = [HELLO]
    await check_llm(llm)


async def test_it_has_a_name(server):
    llm = load_as(LLM, "anthropic", model="m", base_url=server.url)
    assert isinstance(llm, AnthropicLLM)
    await llm.close()


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="set ANTHROPIC_API_KEY"):
        AnthropicLLM()
    with pytest.raises(ConfigurationError, match="must begin with http"):
        AnthropicLLM(base_url="localhost:1")
    with pytest.raises(ConfigurationError, match="did you mean 'temperature'"):
        AnthropicLLM(temprature=1)
