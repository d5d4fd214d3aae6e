"""The OpenAI client against a server of our own that speaks the real protocol, well and badly."""

import asyncio
import json

import pytest
from aiohttp import web

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech.base import TextDelta, ToolCall, Usage
from voxtra.speech.openai import OpenAILLM
from voxtra.speech.sdk import LLMRefusedError

MESSAGES = [{"role": "user", "content": "Hi"}]
TOOL = {"name": "look_up", "parameters": {"type": "object", "properties": {}}}


def chunk(delta=None, finish=None, usage=None):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return b"data: " + json.dumps(body | ({"usage": usage} if usage else {})).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
HELLO = (
    chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Grüß "})
    + chunk({"content": "Gott."})
    + chunk({}, "stop")
    + chunk(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    + DONE
)


def pieces_of_tools():
    def call(index, id_=None, name=None, arguments=None):
        function = {
            key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None
        }
        return chunk(
            {
                "tool_calls": [
                    {"index": index, "type": "function", "function": function} | ({"id": id_} if id_ else {})
                ]
            }
        )

    return (
        call(0, "a", "look_up", "")
        + call(0, arguments='{"na')
        + call(0, arguments='me": "Ada"}')
        + call(1, "b", "hang_up", "")
        + chunk({}, "tool_calls")
        + DONE
    )


class FakeServer:
    def __init__(self) -> None:
        self.requests: list[dict] = []
        self.keys: list[str] = []
        self.answers = []
        self.dropped = asyncio.Event()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("Authorization", ""))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if callable(answer):
            return await answer(request)
        return await self.stream(request, [answer])

    async def stream(self, request, parts, *, pause=0.0, drop=False, last_pause=0.0):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for part in parts:
                await response.write(part)
                await asyncio.sleep(pause)
            await asyncio.sleep(last_pause)
        except (ConnectionResetError, asyncio.CancelledError):
            self.dropped.set()
            raise
        if drop:
            request.transport.abort()
        else:
            await response.write_eof()
        return response


@pytest.fixture
async def server():
    fake = FakeServer()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", fake.chat)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield fake
    await runner.cleanup()


def made(server, **timeouts):
    return OpenAILLM(model="m", base_url=server.url, api_key="k", max_retries=0, **timeouts)


async def answer(llm, **options):
    return [event async for event in llm.stream(MESSAGES, **options)]


async def test_text_comes_in_pieces_and_the_usage_last(server, llm):
    server.answers = [HELLO]
    assert await answer(llm, tools=[TOOL]) == [TextDelta("Grüß "), TextDelta("Gott."), Usage(7, 2)]
    (request,) = server.requests
    assert request["messages"] == MESSAGES
    assert request["stream"] is True
    assert request["stream_options"] == {"include_usage": True}
    assert request["tools"] == [{"type": "function", "function": TOOL}]
    assert server.keys == ["Bearer k"]


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
async def test_however_the_bytes_are_split_the_words_are_the_same(server, llm, size):
    async def split(request):
        return await server.stream(request, [HELLO[at : at + size] for at in range(0, len(HELLO), size)])

    server.answers = [split]
    assert await answer(llm) == [TextDelta("Grüß "), TextDelta("Gott."), Usage(7, 2)]


@pytest.mark.proves("failure 11")
async def test_tool_calls_are_put_together(server, llm):
    server.answers = [pieces_of_tools()]
    assert await answer(llm) == [ToolCall("a", "look_up", {"name": "Ada"}), ToolCall("b", "hang_up", {})]


async def test_several_tool_calls_that_share_an_index_stay_apart(server, llm):
    whole = [
        chunk({"tool_calls": [{"index": 0, "id": i, "function": {"name": n, "arguments": "{}"}}]})
        for i, n in (("a", "one"), ("b", "two"))
    ]
    server.answers = [b"".join(whole) + chunk({}, "tool_calls") + DONE]
    assert await answer(llm) == [ToolCall("a", "one", {}), ToolCall("b", "two", {})]


async def test_arguments_that_are_no_json_are_told(server, llm):
    bad = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "x", "arguments": '{"a":'}}]})
    server.answers = [bad + chunk({}, "tool_calls") + DONE]
    with pytest.raises(LLMError, match="'x' with arguments that are no JSON object"):
        await answer(llm)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500])
async def test_a_refusal_carries_the_servers_words(server, llm, status):
    async def refuse(request):
        return web.json_response({"error": {"message": "too much of it", "type": "x"}}, status=status)

    server.answers = [refuse]
    with pytest.raises(LLMError, match=f"{status} too much of it"):
        await answer(llm)
    assert len(server.requests) == 1


async def test_how_long_a_busy_server_wants_to_be_left_alone_is_known(server, llm):
    async def refuse(request):
        return web.json_response({"error": {"message": "later"}}, status=429, headers={"Retry-After": "30"})

    server.answers = [refuse]
    with pytest.raises(LLMRefusedError, match="429 later") as caught:
        await answer(llm)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 30)


async def test_a_busy_server_is_asked_again(server):
    async def refuse(request):
        return web.json_response({"error": {"message": "later"}}, status=429, headers={"Retry-After": "0.01"})

    server.answers = [refuse, HELLO]
    llm = OpenAILLM(model="m", base_url=server.url, max_retries=1)
    assert (await answer(llm))[0] == TextDelta("Grüß ")
    await llm.close()


async def test_a_socket_that_breaks_in_the_middle_is_an_error_after_the_words(server, llm):
    async def breaks(request):
        return await server.stream(request, [chunk({"content": "One "})], pause=0.05, drop=True)

    server.answers = [breaks]
    reply = llm.stream(MESSAGES)
    assert await anext(reply) == TextDelta("One ")
    with pytest.raises(LLMError, match=r"openai \(m\): "):
        await anext(reply)


async def test_a_reply_without_an_end_broke_off(server, llm):
    server.answers = [chunk({"content": "One "})]
    with pytest.raises(LLMError, match="broke off"):
        await answer(llm)


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {nonsense\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\xfe\n\n",
        b"<html>no</html>",
        b'data: {"choices": 7}\n\n',
        b'data: {"choices": [{"delta": {"content": 5}}]}\n\n',
    ],
)
async def test_garbage_is_an_error_of_ours(server, llm, garbage):
    server.answers = [garbage + DONE]
    with pytest.raises(LLMError):
        await answer(llm)


async def test_an_error_inside_the_stream_is_told(server, llm):
    server.answers = [b'data: {"error": {"message": "out of memory"}}\n\n']
    with pytest.raises(LLMError, match="out of memory"):
        await answer(llm)


async def test_the_first_piece_has_a_deadline(server, hasty):
    async def slow(request):
        await asyncio.sleep(5)

    async def slow_body(request):
        return await server.stream(request, [b": ping\n\n"] * 50, pause=0.1)

    for behaviour in (slow, slow_body):
        server.answers = [behaviour]
        with pytest.raises(LLMError, match=r"did not begin to answer within 0\.3 s"):
            await answer(hasty)


async def test_each_further_piece_has_a_deadline(server, impatient):
    async def stalls(request):
        return await server.stream(request, [chunk({"content": "One "})], last_pause=5)

    server.answers = [stalls]
    with pytest.raises(LLMError, match=r"went silent within 0\.3 s"):
        await answer(impatient)


async def test_closing_the_generator_hangs_up_on_the_server(server, llm):
    async def endless(request):
        return await server.stream(request, [chunk({"content": "la "})] * 1000, pause=0.02)

    server.answers = [endless]
    reply = llm.stream(MESSAGES)
    assert await anext(reply) == TextDelta("la ")
    await reply.aclose()
    async with asyncio.timeout(2):
        await server.dropped.wait()


async def test_nobody_there_is_told():
    llm = OpenAILLM(model="m", base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(LLMError, match=r"openai \(m\): "):
        await answer(llm)
    await llm.close()


async def test_a_filtered_reply_is_told(server, llm):
    server.answers = [chunk({"content": "x"}) + chunk({}, "content_filter") + DONE]
    with pytest.raises(LLMError, match="content filter"):
        await answer(llm)


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        OpenAILLM()
    with pytest.raises(ConfigurationError, match="must begin with http"):
        OpenAILLM(base_url="localhost:11434")
    with pytest.raises(ConfigurationError, match="did you mean 'temperature'") as caught:
        OpenAILLM(temprature=1)
    with pytest.raises(ConfigurationError, match="api_key") as caught:
        OpenAILLM(api_key=12345)
    assert "12345" not in str(caught.value)
