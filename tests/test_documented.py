"""The documented names that need no call: values, defaults, forms, families of errors."""

from __future__ import annotations

import inspect
import logging
import warnings
from datetime import UTC
from typing import Any

import pytest

import voxtra
from voxtra import (
    AudioChunk,
    AudioCodec,
    CallDirection,
    CallSession,
    CallState,
    CompositeSink,
    EventType,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    Router,
    VoxtraApp,
    VoxtraEvent,
    WebhookSink,
    errors,
    events,
)
from voxtra.router import DispatchRule, RouteNotFoundError
from voxtra.testing import Dialplan, FakeCall, run_call


@pytest.mark.proves(
    "voxtra.VoxtraApp",
    "voxtra.CallSession",
    "voxtra.ARIClient",
    "voxtra.AudioChunk",
    "voxtra.SIPTrunk",
    "voxtra.VoxtraEvent",
    "voxtra.EventType",
    "voxtra.RecordingSink",
    "voxtra.RecordingMetadata",
    "voxtra.LocalFileSink",
    "voxtra.WebhookSink",
    "voxtra.CompositeSink",
    "voxtra.__version__",
)
def test_top_level_names() -> None:
    for name in (
        "VoxtraApp", "CallSession", "ARIClient", "AudioChunk", "SIPTrunk", "VoxtraEvent", "EventType",
        "RecordingSink", "RecordingMetadata", "LocalFileSink", "WebhookSink", "CompositeSink",
    ):  # fmt: skip
        assert inspect.isclass(getattr(voxtra, name))
    assert voxtra.__version__


@pytest.mark.proves("CallDirection", "CallState", "AudioCodec")
def test_values_of_enums() -> None:
    assert set(CallDirection) == {"inbound", "outbound"}
    assert set(CallState) == {
        "ringing", "answered", "in_progress", "on_hold", "transferring", "completed", "failed",
    }  # fmt: skip
    assert set(AudioCodec) == {"ulaw", "alaw", "pcm_s16le", "opus"}
    assert (CallState.RINGING, CallState.IN_PROGRESS, CallState.ON_HOLD) == (
        "ringing",
        "in_progress",
        "on_hold",
    )
    assert (CallState.COMPLETED, CallState.FAILED) == ("completed", "failed")
    assert (CallDirection.INBOUND, CallDirection.OUTBOUND) == ("inbound", "outbound")
    assert (AudioCodec.ULAW, AudioCodec.ALAW, AudioCodec.PCM_S16LE) == ("ulaw", "alaw", "pcm_s16le")


@pytest.mark.proves("AudioChunk(data, sample_rate, channels, codec, timestamp_ms, duration_ms, sequence)")
def test_audio_chunk() -> None:
    chunk = AudioChunk(b"\xff" * 160)
    given = AudioChunk(
        data=b"\xff" * 160, sample_rate=8000, channels=1, codec=AudioCodec.ULAW, timestamp_ms=0,
        duration_ms=20, sequence=0,
    )  # fmt: skip
    assert chunk == given


def test_event_types() -> None:
    documented = {
        "call.started", "call.ringing", "call.answered", "call.ended", "call.failed", "call.transferred",
        "media.started", "media.stopped", "audio.frame.received", "audio.frame.sent",
        "user.speech.started", "user.speech.ended", "user.transcript", "user.transcript.partial",
        "agent.thinking", "agent.response", "agent.speech.started", "agent.speech.ended", "dtmf.received",
        "barge_in", "silence.detected", "turn.ended", "error", "session.created", "session.destroyed",
    }  # fmt: skip
    assert documented <= set(EventType)


@pytest.mark.proves(
    "VoxtraEvent(id, type, session_id, timestamp, data)",
    "UserTranscriptEvent(text, confidence, is_final)",
    "AgentResponseEvent(text, tool_calls)",
    "ErrorEvent(error_type, message)",
)
def test_event_classes() -> None:
    event = VoxtraEvent(type=EventType.CALL_STARTED, session_id="1", data={"a": 1})
    assert event.timestamp.tzinfo is UTC
    assert event.id != VoxtraEvent(type=EventType.CALL_STARTED).id
    said = events.UserTranscriptEvent(text="Yes please", confidence=0.9)
    assert (said.type, said.is_final, said.text, said.confidence) == (
        "user.transcript",
        True,
        "Yes please",
        0.9,
    )
    reply = events.AgentResponseEvent(text="Hello")
    assert (reply.type, reply.tool_calls) == ("agent.response", [])
    assert (events.DTMFEvent(digit="1").type, events.DTMFEvent(digit="1").digit) == ("dtmf.received", "1")
    error = events.ErrorEvent(error_type="ValueError", message="so")
    assert (error.type, error.error_type, error.message) == ("error", "ValueError", "so")
    assert events.CallStartedEvent().type == "call.started"
    ended = events.CallEndedEvent(reason="hangup", duration_seconds=1.5)
    assert (ended.type, ended.reason, ended.duration_seconds) == ("call.ended", "hangup", 1.5)


@pytest.mark.proves("call.listen() reads as a string")
def test_a_transcript_reads_as_a_string() -> None:
    said = events.UserTranscriptEvent(text="Yes please")
    assert "Yes" in said
    assert said.lower() == "yes please"
    assert f"{said}!" == str(said) + "!" == "Yes please!"
    assert said.split() == ["Yes", "please"]
    assert said == "Yes please" != said.text.lower()
    assert said != "no"
    assert (said[:3], [*said][-1], len(said)) == ("Yes", "e", 10)
    assert ("You said " + said, said + "!") == ("You said Yes please", "Yes please!")
    assert {"Yes please": 1}.get(said) == 1  # type: ignore[call-overload]
    other = events.UserTranscriptEvent(text="Yes please")
    assert said == said != other, "two utterances are two, whatever their words"
    assert events.AgentResponseEvent(text="Yes please") != said
    assert events.UserTranscriptEvent(text="")  # something was said, though no words: it is not None


@pytest.mark.proves(
    "VoxtraError",
    "ConfigurationError",
    "CallError",
    "SessionError",
    "PipelineError",
    "ProvisioningError",
    "TelephonyError",
    "TelephonyConnectionError",
    "MediaError",
    "CodecError",
    "AudioSocketError",
    "ProviderError",
    "STTError",
    "TTSError",
    "LLMError",
)
@pytest.mark.parametrize(
    ("parent", "children"),
    [
        (
            "VoxtraError",
            "ConfigurationError CallError RouteNotFoundError SessionError PipelineError ProvisioningError "
            "TelephonyError MediaError ProviderError",
        ),
        ("TelephonyError", "TelephonyConnectionError"),
        ("MediaError", "CodecError AudioSocketError"),
        ("ProviderError", "STTError TTSError LLMError"),
    ],
)
def test_families_of_errors(parent: str, children: str) -> None:
    for child in children.split():
        assert issubclass(getattr(errors, child), getattr(errors, parent))
    assert issubclass(errors.PipelineNotConfiguredError, RuntimeError)
    assert issubclass(errors.NotConnectedError, RuntimeError)


@pytest.mark.proves(
    "RecordingMetadata(session_id, name, file_path, duration_seconds, format, extra)",
    "RecordingSink.on_recording_complete(metadata)",
)
def test_forms_of_recording() -> None:
    metadata = RecordingMetadata("1", "first")
    assert metadata == RecordingMetadata(
        session_id="1", name="first", file_path="", duration_seconds=None, format="wav", extra={}
    )
    with pytest.raises(TypeError):
        RecordingSink()  # type: ignore[abstract]
    sinks = [
        LocalFileSink("calls"),
        WebhookSink("https://example.com/r", signing_secret="s", timeout_seconds=10),
    ]
    assert isinstance(CompositeSink(*sinks), RecordingSink)
    assert all(inspect.iscoroutinefunction(sink.on_recording_complete) for sink in sinks)


@pytest.mark.proves(
    "call.hangup(reason)",
    "call.hold(moh_class)",
    "call.play_file(filename, lang)",
    "call.say(interruptible=)",
    "call.listen(timeout=)",
    "call.record_start(name, fmt)",
    "call.listen_dtmf(max_digits=, timeout=)",
)
def test_arguments_of_verbs() -> None:
    """Documented arguments, in their order, with their defaults; more may follow."""
    documented: dict[str, list[tuple[str, Any]]] = {
        "hangup": [("reason", "normal")],
        "hold": [("moh_class", "default")],
        "transfer_to": [("endpoint", inspect.Parameter.empty)],
        "play_file": [("filename", inspect.Parameter.empty), ("lang", "")],
        "play_url": [("url", inspect.Parameter.empty)],
        "say": [("text", inspect.Parameter.empty), ("interruptible", True)],
        "listen": [("timeout", None)],
        "listen_dtmf": [("max_digits", 1), ("timeout", 10)],
        "send_dtmf": [("dtmf", inspect.Parameter.empty)],
        "record_start": [("name", ""), ("fmt", "wav"), ("sink", None)],
        "record_stop": [],
        "bridge_with": [("other", inspect.Parameter.empty)],
        "transfer_to_queue": [("queue", ""), ("metadata", None)],
    }
    for verb, arguments in documented.items():
        parameters = list(inspect.signature(getattr(CallSession, verb)).parameters.values())[1:]
        assert [(p.name, p.default) for p in parameters[: len(arguments)]] == arguments, verb


@pytest.mark.proves("call.transfer_to_queue(name)")
@pytest.mark.parametrize("named", [("sales",), {"queue": "sales"}, {"queue_name": "sales"}])
def test_a_queue_by_either_of_its_names(named: Any) -> None:
    """The two documents name the argument differently."""

    async def handler(call: CallSession) -> None:
        place, by_name = (named, {}) if isinstance(named, tuple) else ((), named)
        await call.transfer_to_queue(*place, **by_name)

    async def caller(call: FakeCall) -> None:
        await call.ended()
        assert call.continued == ("voxtra-queue", "sales")

    run_call(handler, caller, dialplan={"voxtra-queue": Dialplan(1)})


@pytest.mark.proves("@app.on_call")
def test_on_call_in_all_its_forms() -> None:
    app = VoxtraApp()

    async def handler(call: CallSession) -> None: ...

    with pytest.warns(DeprecationWarning, match="on_call"):
        app.on_call(extension="100")(handler)
    with pytest.warns(DeprecationWarning, match="on_call"):
        app.on_call(number="+44*")(handler)
    with pytest.warns(DeprecationWarning, match="on_call"):
        assert app.on_call(handler) is handler
    other = VoxtraApp()
    with pytest.warns(DeprecationWarning, match="on_call"):
        other.on_call()(handler)
    assert [(route.extension, route.number) for route in app.router.routes] == [("100", None), (None, "+44*")]
    assert other.router


@pytest.mark.proves(
    "Router.route",
    "Router.default",
    "Router.add_dispatch_rule",
    "Router.resolve(extension, number, call_info)",
    "RouteNotFoundError",
    "DispatchRule.matches(extension, number)",
    "dispatch rule as an async function",
    "order: routes, rules, default",
    "trailing * in a route",
)
async def test_a_router_as_documented() -> None:
    router = Router()

    class Weekend(DispatchRule):
        def matches(self, *, extension: str, number: str, **info: Any) -> bool:
            return extension == "900"

    async def vip(*, extension: str, number: str, **info: Any) -> bool:
        return number == "+4420"

    async def one(call: CallSession) -> None: ...
    async def two(call: CallSession) -> None: ...
    async def three(call: CallSession) -> None: ...
    async def rest(call: CallSession) -> None: ...

    router.route(extension="100", number="+49*", name="sales", metadata={"team": "sales"})(one)
    router.add_dispatch_rule(Weekend(), two)
    router.add_dispatch_rule(vip, three)

    async def found(extension: str, number: str) -> object:
        return (await router.resolve(extension=extension, number=number, call_info={})).handler

    assert await found("100", "+4930") is one
    assert await found("900", "+4930") is two
    assert await found("100", "+4420") is three
    with pytest.raises(RouteNotFoundError):
        await found("200", "1")
    router.default()(rest)
    assert await found("200", "1") is rest
    assert (await router.resolve(extension="100", number="+49", call_info={})).metadata == {"team": "sales"}


@pytest.mark.proves("VoxtraApp(debug=)")
def test_debug_logs_everything() -> None:
    logger = logging.getLogger("voxtra")
    before = logger.level
    try:
        VoxtraApp(debug=True)
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(before)


@pytest.mark.proves("@app.default_route()")
def test_default_and_its_other_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert VoxtraApp.default is VoxtraApp.default_route
