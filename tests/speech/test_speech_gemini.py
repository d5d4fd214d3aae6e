"""The Gemini client against a server of our own that speaks the real protocol, well and badly."""

import asyncio
import base64

import pytest
from fakes.gemini_server import HELLO, GeminiServer, call, chunk, text

from voxtra.errors import ConfigurationError, LLMError
from voxtra.speech import load_as
from voxtra.speech.base import LLM, TextDelta, ToolCall, Usage
from voxtra.speech.gemini import GeminiLLM
from voxtra.testing import check_llm

MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}]
PARAMETERS = {"type": "object", "properties": {"name": {"type": "string"}}}
TOOL = {"name": "look_up", "description": "Finds.", "parameters": PARAMETERS}
BARE = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
SIGNATURE = base64.b64encode(b"signed").decode()


@pytest.fixture
async def server():
    fake = GeminiServer()
    runner = await fake.start()
    yield fake
    await runner.cleanup()


def made(server, **timeouts):
    return GeminiLLM(model="m", base_url=server.url, api_key="k", max_retries=0, **timeouts)


async def answer(llm, messages=MESSAGES, **options):
    return [event async for event in llm.stream(messages, **options)]


async def test_text_comes_in_pieces_and_the_usage_last(server, llm):
    server.answers = [HELLO]
    assert await answer(llm, tools=[TOOL, BARE]) == [
        TextDelta("Grüß "),
        TextDelta("Gott."),
        Usage(7, 5),
    ]
    (request,) = server.requests
    assert request["systemInstruction"]["parts"] == [{"text": "Be short."}]
    assert request["contents"] == [{"role": "user", "parts": [{"text": "Hi"}]}]
    (declared,) = request["tools"]
    assert declared["functionDeclarations"] == [
        {"name": "look_up", "description": "Finds.", "parameters_json_schema": PARAMETERS},
        {"name": "now", "description": ""},
    ]
    assert server.headers[0]["x-goog-api-key"] == "k"


@pytest.mark.parametrize("size", [1, 3, 7, 64, 1000])
async def test_however_the_bytes_are_split_the_words_are_the_same(server, llm, size):
    async def split(request):
        return await server.stream(request, [HELLO[at : at + size] for at in range(0, len(HELLO), size)])

    server.answers = [split]
    assert await answer(llm) == [TextDelta("Grüß "), TextDelta("Gott."), Usage(7, 5)]


async def test_parallel_tool_calls_go_back_with_their_names_and_signatures(server, llm):
    server.answers = [
        chunk(text("One moment."))
        + chunk(call("look_up", SIGNATURE, id_="1", name="Ada"))
        + chunk(call("now"), finish="STOP"),
        HELLO,
    ]
    said, first, second = await answer(llm)
    assert said == TextDelta("One moment.")
    assert isinstance(first, ToolCall)
    assert isinstance(second, ToolCall)
    assert (first.name, first.arguments, second.name, second.arguments) == (
        "look_up", {"name": "Ada"}, "now", {},
    )  # fmt: skip
    assert first.id != second.id
    asked = [
        {"id": first.id, "type": "function", "function": {"name": "look_up", "arguments": '{"name": "Ada"}'}},
        {"id": second.id, "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ]
    await answer(
        llm,
        [
            *MESSAGES,
            {"role": "assistant", "content": "One moment.", "tool_calls": asked},
            {"role": "tool", "tool_call_id": second.id, "content": "noon"},
            {"role": "tool", "tool_call_id": first.id, "content": '{"born": 1815}'},
        ],
    )
    _, model, results = server.requests[1]["contents"]
    assert model == {
        "role": "model",
        "parts": [
            {"text": "One moment."},
            {
                "functionCall": {"id": "1", "name": "look_up", "args": {"name": "Ada"}},
                "thoughtSignature": SIGNATURE,
            },
            {"functionCall": {"name": "now", "args": {}}},
        ],
    }
    assert results == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "now", "response": {"result": "noon"}}},
            {"functionResponse": {"id": "1", "name": "look_up", "response": {"born": 1815}}},
        ],
    }


async def test_tool_calls_of_another_model_are_marked_as_such_and_all_are_answered(server, llm):
    server.answers = [HELLO]
    asked = [
        {"id": name, "type": "function", "function": {"name": "now", "arguments": "{}"}} for name in "ab"
    ]
    await answer(llm, [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": asked}])
    _, model, results = server.requests[0]["contents"]
    skip = base64.b64encode(b"skip_thought_signature_validator").decode()
    assert [part.get("thoughtSignature") for part in model["parts"]] == [skip, None]
    assert ["error" in part["functionResponse"]["response"] for part in results["parts"]] == [True, True]


async def test_thoughts_are_not_said(server, llm):
    server.answers = [
        chunk({"text": "Hm.", "thought": True}) + chunk(text("Hello.")) + chunk(text(""), finish="MAX_TOKENS")
    ]
    assert await answer(llm) == [TextDelta("Hello.")]


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (400, "INVALID_ARGUMENT", "no such field"),
        (401, "UNAUTHENTICATED", "API key not valid"),
        (429, "RESOURCE_EXHAUSTED", "quota exceeded"),
        (503, "UNAVAILABLE", "The model is overloaded"),
        (529, "OVERLOADED", "too many callers"),
    ],
)
async def test_a_refusal_carries_the_servers_words(server, llm, status, kind, message):
    server.answers = [server.refusal(status, kind, message)]
    with pytest.raises(LLMError, match=rf"gemini \(m\): {status} {message}") as caught:
        await answer(llm)
    assert caught.value.status == status
    assert len(server.requests) == 1


async def test_a_busy_server_is_asked_again(server):
    server.answers = [server.refusal(503, "UNAVAILABLE", "later"), HELLO]
    llm = GeminiLLM(model="m", base_url=server.url, max_retries=1)
    assert (await answer(llm))[0] == TextDelta("Grüß ")
    await llm.close()


async def test_an_error_inside_the_stream_is_told(server, llm):
    error = b'data: {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}\n\n'
    server.answers = [chunk(text("One ")) + error]
    with pytest.raises(LLMError, match=r"gemini \(m\): 503 overloaded"):
        await answer(llm)


async def test_a_socket_that_breaks_in_the_middle_is_an_error_after_the_words(server, llm):
    async def breaks(request):
        return await server.stream(request, [chunk(text("One "))], pause=0.05, drop=True)

    server.answers = [breaks]
    reply = llm.stream(MESSAGES)
    assert await anext(reply) == TextDelta("One ")
    with pytest.raises(LLMError, match=r"gemini \(m\): "):
        await anext(reply)


async def test_a_reply_without_an_end_broke_off(server, llm):
    server.answers = [chunk(text("One "))]
    with pytest.raises(LLMError, match="broke off"):
        await answer(llm)


@pytest.mark.parametrize("reason", ["SAFETY", "MALFORMED_FUNCTION_CALL", "A_NEW_ONE"])
@pytest.mark.filterwarnings("ignore:A_NEW_ONE")
async def test_a_reply_that_ended_badly_is_told(server, llm, reason):
    server.answers = [chunk(text("One "), finish=reason)]
    with pytest.raises(LLMError, match=reason):
        await answer(llm)


async def test_what_was_blocked_is_told(server, llm):
    server.answers = [b'data: {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}\n\n']
    with pytest.raises(LLMError, match="PROHIBITED_CONTENT"):
        await answer(llm)


@pytest.mark.parametrize(
    "garbage",
    [
        b"data: {nonsense\n\n",
        b"data: [1, 2]\n\n",
        b"data: \xff\xfe\n\n",
        b"<html>no</html>",
        b'data: {"candidates": 7}\n\n',
        b'data: {"candidates": [{"content": {"parts": [{"text": 5}]}}]}\n\n',
    ],
)
async def test_garbage_is_an_error_of_ours(server, llm, garbage):
    server.answers = [garbage + (b"" if b"[1" in garbage else HELLO)]
    with pytest.raises(LLMError):
        await answer(llm)


async def test_the_first_piece_has_a_deadline(server, hasty):
    async def slow(request):
        await asyncio.sleep(5)

    async def silent(request):
        return await server.stream(request, [], last_pause=5)

    for behaviour in (slow, silent):
        server.answers = [behaviour]
        with pytest.raises(LLMError, match=r"did not begin to answer within 0\.3 s"):
            await answer(hasty)


async def test_each_further_piece_has_a_deadline(server, impatient):
    async def stalls(request):
        return await server.stream(request, [chunk(text("One "))], last_pause=5)

    server.answers = [stalls]
    with pytest.raises(LLMError, match=r"went silent within 0\.3 s"):
        await answer(impatient)


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_leaving_in_mid_stream_hangs_up_on_the_server(server, llm, way):
    async def endless(request):
        return await server.stream(request, [chunk(text("la "))] * 1000, pause=0.02)

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


async def test_nobody_there_is_told():
    llm = GeminiLLM(model="m", base_url="http://127.0.0.1:9", max_retries=0)
    async with asyncio.timeout(5):
        with pytest.raises(LLMError, match=r"gemini \(m\): "):
            await answer(llm)
    await llm.close()


async def test_it_keeps_the_rules_of_an_llm(server, llm):
    server.answers = [HELLO]
    await check_llm(llm)


async def test_it_has_a_name(server):
    llm = load_as(LLM, "gemini", model="m", base_url=server.url)
    assert isinstance(llm, GeminiLLM)
    await llm.close()


def test_what_is_missing_is_named(monkeypatch):
    for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="set GEMINI_API_KEY"):
        GeminiLLM()
    with pytest.raises(ConfigurationError, match="must begin with http"):
        GeminiLLM(base_url="localhost:1")
    with pytest.raises(ConfigurationError, match="did you mean 'temperature'"):
        GeminiLLM(temprature=1)
