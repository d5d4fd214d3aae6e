"""Calls, agents and errors of the client, against an engine of the wire."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from fake_engine import KEY, ORG, FakeEngine

from voxtra.errors import VoxtraError
from voxtra.voice import AgentSpec, AsyncVoice, Call, TurnDetection, Voice, VoiceError

NUMBERS = {"to": "+15551234567", "from_": "+15558675309", "trunk_id": "trunk_main"}


@pytest.fixture
def call(v: Voice) -> Call:
    return v.calls.originate(**NUMBERS)  # type: ignore[arg-type]


# ---- construction


@pytest.mark.proves("Voice(base_url=, api_key=, org_id=)", "VoiceError")
@pytest.mark.parametrize("name", ["base_url", "api_key", "org_id"])
@pytest.mark.parametrize("value", ["", "  ", None, 7])
def test_what_is_empty_is_named(name: str, value: Any) -> None:
    given: dict[str, Any] = {"base_url": "https://engine.test", "api_key": "k", "org_id": "o"} | {name: value}
    with pytest.raises(VoiceError, match=rf"^{name} = .*should be") as raised:
        Voice(**given)
    assert raised.value.field == name
    assert raised.value.code == "BAD_ARGUMENT"


@pytest.mark.parametrize(
    "url",
    ["engine.test", "ftp://engine.test", "https://", "http://h:99999", "http://h?x=1", "http://a..b", "http://.",
     "http://" + "a" * 300, "http://me:pass@engine.test", "http://[::1", "https:/engine.test", "http://h#x"],
)  # fmt: skip
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(VoiceError, match="should be the engine's address, like https"):
        Voice(base_url=url, api_key="k", org_id="o")


@pytest.mark.parametrize(
    "host", ["a:b:c", "h:99999", "a..b", "http://h", "h/x", "u:p@h", "[::1", " ", 5, None]
)
def test_a_relay_host_that_is_none(host: Any) -> None:
    for kind in (Voice, AsyncVoice):
        with pytest.raises(VoiceError, match=r"^relay_host = .*should be the relay's host") as raised:
            kind(base_url="https://engine.test", api_key="k", org_id="o", relay_host=host)
        assert raised.value.field == "relay_host"


@pytest.mark.parametrize("place", ["a..b", "[::1", "h:99999", "x" * 300, "", "127.0.0.1:1"])
@pytest.mark.parametrize("scheme", ["ws", "ftp", "file", "https"])
def test_an_engine_that_names_a_relay_that_is_none(
    v: Voice, call: Call, engine: FakeEngine, scheme: str, place: str
) -> None:
    engine.extra = {"websocket": f"{scheme}://{place}"}
    with pytest.raises(VoiceError) as raised:
        v.audio_bridge.attach(call.sid, on_uplink=lambda *_: None, transport="websocket")
    assert raised.value.code in ("NETWORK", "BAD_REPLY")


def test_an_engine_that_answers_in_riddles(v: Voice, engine: FakeEngine) -> None:
    for answer in (b"[" * 5000, b'{"result":' * 3000, b"\xff\xfe", b'{"result":{}}', b"1"):
        engine.fail = [answer]
        with pytest.raises(VoiceError) as raised:
            v.calls.get(sid="call_00000001")
        assert raised.value.code == "BAD_REPLY"


@pytest.mark.proves("voice case 1", "v.calls, v.audio_bridge, v.agents")
def test_a_trailing_slash_is_stripped(engine: FakeEngine) -> None:
    with Voice(base_url=engine.url + "/", api_key=KEY, org_id=ORG) as v:
        assert v.base_url == engine.url
        assert v.calls.originate(**NUMBERS).status == "dialing"  # type: ignore[arg-type]


def test_an_unknown_argument_names_the_nearest() -> None:
    with pytest.raises(VoiceError, match=r"Voice\(\): .*baseUrl.*did you mean 'base_url'"):
        Voice(baseUrl="https://engine.test", api_key="k", org_id="o")  # type: ignore[call-arg]


def test_an_extra_argument(v: Voice, call: Call) -> None:
    with pytest.raises(
        VoiceError, match=r"originate\(\): .*'ringTimeoutSec'; did you mean 'ring_timeout_sec'"
    ):
        v.calls.originate(**NUMBERS, ringTimeoutSec=3)  # type: ignore[call-arg]
    with pytest.raises(VoiceError, match=r"originate\(\): missing a required.*'from_'"):
        v.calls.originate(to="+15551234567", trunk_id="t")  # type: ignore[call-arg]
    with pytest.raises(VoiceError, match=r"Calls.get\(\): too many positional"):
        v.calls.get(call.sid)  # type: ignore[misc]
    with pytest.raises(VoiceError, match=r"attach\(\): .*onUplink.*did you mean 'on_uplink'"):
        v.audio_bridge.attach(call.sid, onUplink=print)  # type: ignore[call-arg]


def test_it_is_a_voxtra_error_and_never_shows_the_key(v: Voice) -> None:
    assert issubclass(VoiceError, VoxtraError)
    assert KEY not in repr(v.calls._http)


# ---- calls


@pytest.mark.proves(
    "calls.originate(to=, from_=, trunk_id=)", "Call.sid, to, from_, started_at, trunk_id, agent"
)
def test_originate(v: Voice, engine: FakeEngine) -> None:
    call = v.calls.originate(**NUMBERS, agent="healthcare-assistant", ring_timeout_sec=300)  # type: ignore[arg-type]
    assert (call.status, call.to, call.from_) == ("dialing", "+15551234567", "+15558675309")
    assert (call.trunk_id, call.trunkId, call.agent) == ("trunk_main", "trunk_main", "healthcare-assistant")
    assert call.started_at == call.startedAt == "2026-05-04T12:00:00Z"
    assert repr(call) == f"<Call {call.sid} dialing +15558675309 -> +15551234567>"
    (sent,) = engine.inputs("voice.calls.originate")
    assert sent == {
        "orgId": ORG, "to": "+15551234567", "from": "+15558675309", "trunkId": "trunk_main",
        "agent": "healthcare-assistant", "ringTimeoutSec": 300,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "5551234567"}, r"^to = '5551234567': should be an E.164 number"),
        ({"from_": ""}, r"^from_ = '': should be an E.164"),
        ({"trunk_id": "a/b"}, r"^trunk_id = 'a/b'"),
        ({"agent": ""}, r"^agent = '': should be the id of an agent"),
        ({"agent": 7}, r"^agent = 7: should be an agent's id, a dict or an AgentSpec"),
        ({"agent": {"modelCodec": "mp3"}}, r"^agent: model_codec = 'mp3': "),
        ({"agent": {"model_codek": "opus"}}, r"^agent: model_codek: .*did you mean 'model_codec'"),
        (
            {"agent": {"turnDetection": {"bargeConfirm": 3}}},
            r"bargeConfirm: there is no such.*'bargeConfirmMs'",
        ),
        ({"agent": {"turnDetection": {"bargeConfirmMs": -3}}}, r"turn_detection.bargeConfirmMs = -3: "),
        ({"agent": {"turnDetection": {"type": "silero", "min_speech_ms": "x"}}}, r"min_speech_ms = 'x': "),
        ({"ring_timeout_sec": "long"}, r"^ring_timeout_sec = 'long'"),
    ],
)
def test_a_bad_argument_is_named_and_not_sent(
    v: Voice, engine: FakeEngine, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(VoiceError, match=said) as raised:
        v.calls.originate(**NUMBERS | given)
    assert raised.value.code == "BAD_ARGUMENT"
    assert engine.asked == []


@pytest.mark.proves("Call.refresh()")
def test_get_and_refresh(v: Voice, engine: FakeEngine, call: Call) -> None:
    engine.happen(call.sid, "status", status="in_progress")
    assert call.status == "dialing"
    assert v.calls.get(sid=call.sid).status == "in_progress"
    assert call.status == "dialing"  # a snapshot
    assert call.refresh() is call
    assert call.status == "in_progress"


def test_get_of_no_call(v: Voice) -> None:
    with pytest.raises(VoiceError, match=r"voice\.calls\.get: there is no such call") as raised:
        v.calls.get(sid="call_00000099")
    error = raised.value
    assert (error.code, error.status, error.field, error.request_id) == ("NOT_FOUND", 404, "sid", "req_1")


def test_transfer(engine: FakeEngine, call: Call) -> None:
    sid = call.sid
    call.transfer(to="+15557654321")
    call.transfer("+15557654322")
    call.transfer(agent="billing-bot")
    call.transfer(agent={"modelCodec": "opus"})
    sent = engine.inputs("voice.calls.transfer")
    assert [(each["to"], each["agent"] if isinstance(each["agent"], str | None) else "") for each in sent] == [
        ("+15557654321", None), ("+15557654322", None), (None, "billing-bot"), (None, "")
    ]  # fmt: skip
    assert sent[3]["agent"]["modelCodec"] == "opus"
    assert call.sid == sid


def test_transfer_takes_exactly_one(engine: FakeEngine, call: Call) -> None:
    for given in ({}, {"to": "+15557654321", "agent": "billing-bot"}):
        with pytest.raises(VoiceError, match="exactly one"):
            call.transfer(**given)  # type: ignore[arg-type]
    assert engine.inputs("voice.calls.transfer") == []


def test_hangup_tolerates_an_ended_call(engine: FakeEngine, call: Call) -> None:
    call.hangup()
    engine.fail = [("GONE", "the call has ended"), ("NOT_FOUND", "there is no such call")]
    call.hangup()
    call.hangup()
    engine.fail = [("FORBIDDEN", "this key may only read")]
    with pytest.raises(VoiceError, match="this key may only read"):
        call.hangup()


def test_another_org_is_refused_by_its_key(engine: FakeEngine) -> None:
    with (
        Voice(base_url=engine.url, api_key="wrong", org_id=ORG) as v,
        pytest.raises(VoiceError, match="no such key") as raised,
    ):
        v.calls.get(sid="call_00000001")
    assert raised.value.status == 401


def test_what_a_newer_engine_adds_is_passed_over(v: Voice, engine: FakeEngine) -> None:
    engine.extra = {"colour": "green"}
    assert v.calls.originate(**NUMBERS).status == "dialing"  # type: ignore[arg-type]


# ---- agents


@pytest.mark.proves("AgentSpec", "TurnDetection")
def test_an_agent_by_id_dict_or_model(v: Voice, engine: FakeEngine, call: Call) -> None:
    v.agents.attach(call.sid, "healthcare-assistant")
    v.agents.attach(call.sid, {"modelCodec": "opus"})
    v.agents.attach(call.sid, {"turn_detection": {"silence_threshold_ms": 300}})
    v.agents.attach(call.sid, AgentSpec(turn_detection=TurnDetection(barge_confirm_ms=0)))
    v.agents.attach(call.sid, {"turnDetection": {"type": "server_vad", "min_speech_ms": 200}})
    by_id, codec, snake, model, cascade = [each["agent"] for each in engine.inputs("voice.agents.attach")]
    assert by_id == "healthcare-assistant"
    assert (codec["modelCodec"], codec["inputRateHz"], codec["outputRateHz"]) == ("opus", 16000, 24000)
    assert codec["turnDetection"] == {
        "responseMinSpeechMs": 600, "commitMinIntervalMs": 1500, "cancelMinIntervalMs": 400, "bargeConfirmMs": 300,
        "ttsGuardMs": 200, "silenceThresholdMs": 500, "minSpeechMs": 300, "prefixPaddingMs": 200,
    }  # fmt: skip
    assert snake["turnDetection"] == codec["turnDetection"] | {"silenceThresholdMs": 300}
    assert model["turnDetection"]["bargeConfirmMs"] == 0
    assert cascade["turnDetection"]["type"] == "server_vad"
    v.agents.detach(call.sid)
    assert engine.inputs("voice.agents.detach") == [{"orgId": ORG, "sid": call.sid}]


# ---- failures of the network


def test_a_call_is_placed_once_though_its_answer_was_lost(v: Voice, engine: FakeEngine) -> None:
    engine.fail = ["drop", "drop"]
    call = v.calls.originate(**NUMBERS)  # type: ignore[arg-type]
    assert list(engine.rows) == [call.sid]
    keys = {headers["Idempotency-Key"] for _, _, headers in engine.asked}
    assert len(engine.asked) == 3
    assert len(keys) == 1
    assert v.calls.originate(**NUMBERS).sid != call.sid  # type: ignore[arg-type]


def test_two_requests_with_one_key_are_one_call(v: Voice) -> None:
    one = v.calls.originate(**NUMBERS, idempotency_key="order-7")  # type: ignore[arg-type]
    assert v.calls.originate(**NUMBERS, idempotency_key="order-7").sid == one.sid  # type: ignore[arg-type]


def test_a_transfer_is_not_sent_twice(engine: FakeEngine, call: Call) -> None:
    engine.fail = ["drop"]
    with pytest.raises(VoiceError, match="no connection") as raised:
        call.transfer("+15557654321")
    assert raised.value.code == "NETWORK"
    assert len(engine.inputs("voice.calls.transfer")) == 1


def test_an_engine_at_its_limit_is_asked_again_when_it_says(v: Voice, engine: FakeEngine) -> None:
    engine.fail = [("TOO_MANY_REQUESTS", "calls a second")]
    with pytest.raises(VoiceError, match="calls a second"):
        v.calls.originate(**NUMBERS)  # type: ignore[arg-type]
    refuse = engine._refuse
    engine._refuse = lambda *a: refuse(*a, **{"Retry-After": "1"})  # type: ignore[assignment]
    engine.fail = [("TOO_MANY_REQUESTS", "calls a second")]
    began = time.monotonic()
    v.calls.originate(**NUMBERS)  # type: ignore[arg-type]
    assert time.monotonic() - began >= 1


def test_no_engine_there() -> None:
    with (
        Voice(base_url="http://127.0.0.1:9", api_key="k", org_id="o") as v,
        pytest.raises(VoiceError, match=re.escape("no connection to http://127.0.0.1:9")) as raised,
    ):
        v.calls.get(sid="call_00000001")
    assert raised.value.code == "NETWORK"


@pytest.mark.proves("a timeout of 30 s")
def test_an_engine_that_never_answers(engine: FakeEngine) -> None:
    engine.fail = ["hang"]
    with (
        Voice(base_url=engine.url, api_key=KEY, org_id=ORG, timeout_s=0.3) as v,
        pytest.raises(VoiceError, match=r"no answer from .* within 0.3 s") as raised,
    ):
        v.calls.get(sid="call_00000001")
    assert raised.value.code == "TIMEOUT"


def test_something_else_at_that_address(v: Voice, engine: FakeEngine, call: Call) -> None:
    engine.fail = ["html"]
    with pytest.raises(VoiceError, match=r"answered 502 .*text/html.*is base_url right"):
        call.transfer("+15557654321")
    engine.fail = ["html"]
    assert v.calls.get(sid=call.sid).sid == call.sid  # a gateway that failed once, asked for what only reads


def test_a_closed_voice_says_so(engine: FakeEngine) -> None:
    v = Voice(base_url=engine.url, api_key=KEY, org_id=ORG)
    call = v.calls.originate(**NUMBERS)  # type: ignore[arg-type]
    v.close()
    v.close()
    with pytest.raises(VoiceError, match="closed") as raised:
        call.hangup()
    assert raised.value.code == "CLOSED"
