"""Calls as spans, as OpenTelemetry's SDK gets them."""

from __future__ import annotations

import sys

import pytest
from test_metrics_call import shop
from test_metrics_prometheus import app_of

from voxtra.errors import LLMError, MissingExtraError
from voxtra.speech.base import Usage
from voxtra.testing import FakeCall, ScriptedLLM, run_call, tool

pytest.importorskip("opentelemetry.sdk")
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from voxtra.metrics.otel import trace_calls


def spans_of(llm: ScriptedLLM, caller: object, *, handler: object = shop) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = app_of(handler)
    tracing = trace_calls(app, provider.get_tracer("test"))
    run_call(app, caller, llm=llm, check=False)  # type: ignore[arg-type]
    assert tracing.calls == {}
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


def ms(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e6


def test_a_call_is_a_tree_of_spans() -> None:
    async def caller(call: FakeCall) -> None:
        await call.hears("Hello")
        await call.says("Where is my order?")
        await call.hears("It is on")
        await call.interrupts("Well, goodbye.")
        await call.hears("Bye")

    llm = ScriptedLLM(
        [
            ["One moment.", tool("look_up", number=7), Usage(100, 20)],
            ["It is on its way and will be with you on Friday at noon.", Usage(150, 10)],
            ["Bye bye.", tool("end_call")],
        ]
    )
    spans = spans_of(llm, caller)

    (call,) = [span for span in spans if span.parent is None]
    turns = [span for span in spans if span.name == "turn"]
    assert call.name == "call"
    assert dict(call.attributes or {})["voxtra.call.outcome"] == "answered"
    assert [turn.attributes["voxtra.turn.number"] for turn in turns if turn.attributes] == [1, 2]
    assert call.context is not None
    for turn in turns:
        assert turn.parent is not None
        assert turn.parent.span_id == call.context.span_id
    first = turns[0].context
    assert first is not None
    inside = [span for span in spans if span.parent is not None and span.parent.span_id == first.span_id]
    names = [span.name for span in inside]
    assert names == [
        "endpointing", "stt", "chat", "tts", "speech", "execute_tool look_up", "chat", "speech",
    ]  # fmt: skip
    by_name = {span.name: span for span in reversed(inside)}
    assert ms(by_name["endpointing"]) == pytest.approx(500, abs=0.1)
    assert ms(by_name["chat"]) == pytest.approx(200, abs=1)
    assert ms(by_name["tts"]) == pytest.approx(50, abs=0.1)
    assert ms(by_name["execute_tool look_up"]) == pytest.approx(700, abs=0.1)
    assert dict(by_name["chat"].attributes or {})["gen_ai.usage.input_tokens"] == 100
    assert [event.name for event in turns[0].events] == ["barge_in"]
    for span in inside:  # nothing sticks out of its turn
        assert (turns[0].start_time or 0) <= (span.start_time or 0)
        assert (span.end_time or 0) <= (turns[0].end_time or 0) + 1_000_000


def test_an_error_is_on_the_span_where_it_happened() -> None:
    async def caller(call: FakeCall) -> None:
        await call.says("Where is my order?")
        await call.hears("sorry")
        await call.hangs_up()

    spans = spans_of(ScriptedLLM([LLMError("the model is down")]), caller)
    (chat,) = [span for span in spans if span.name == "chat"]
    assert chat.status.description == "the model is down"
    assert [event.name for event in chat.events] == ["exception"]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voxtra\[otel\]'"):
        trace_calls(app_of(shop))
