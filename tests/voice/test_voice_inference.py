"""The preview client of an agent's leg."""

from __future__ import annotations

import pytest
from conftest import until
from fake_engine import KEY, ORG, FakeEngine

from voxtra.voice import AgentSpec, AsyncInference, AsyncVoice, Inference, TurnDetection, Voice, VoiceError

SID = "call_00000000"


@pytest.fixture
def sid(v: Voice) -> str:
    return v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t").sid


@pytest.mark.proves("Inference")
def test_attach_configure_tap_and_detach(v: Voice, engine: FakeEngine, sid: str) -> None:
    heard: list[bytes] = []
    events: list[str] = []
    with Inference(v, sid) as inference:
        inference.attach({"modelCodec": "opus"}, turn_detection={"silenceThresholdMs": 300})
        inference.configure({"bargeConfirmMs": 0})
        assert isinstance(inference.turn_detection, TurnDetection)
        assert inference.turn_detection.silence_threshold_ms == 300
        inference.on("turn_committed", lambda event: events.append(event.name))
        engine.happen(sid, "turn_committed")
        inference.tap(lambda frame, _: heard.append(frame), codec="pcm16", sample_rate=16000)
        engine.say(b"hi", 1)
        inference.publish_downlink(bytes(640))
        until(lambda: heard and events and engine.sockets[0].frames)
    assert engine.sockets[0].closed.wait(5)
    first, second = [each["agent"] for each in engine.inputs("voice.agents.attach")]
    assert first["modelCodec"] == second["modelCodec"] == "opus"
    assert first["turnDetection"]["bargeConfirmMs"] == 300
    assert second["turnDetection"]["bargeConfirmMs"] == 0
    assert second["turnDetection"]["silenceThresholdMs"] == 300
    inference.detach()
    assert inference.agent is None
    assert engine.inputs("voice.agents.detach")
    engine.happen(sid, "status", status="completed")


def test_what_needs_something_else_first(v: Voice, sid: str) -> None:
    inference = Inference(v, sid)
    with pytest.raises(VoiceError, match="attach an agent first"):
        inference.configure({"bargeConfirmMs": 0})
    with pytest.raises(VoiceError, match="open a tap first"):
        inference.publish_downlink(b"x")
    inference.attach("billing-bot")
    assert inference.turn_detection is None
    with pytest.raises(VoiceError, match="'billing-bot' is registered with its own"):
        inference.configure({"bargeConfirmMs": 0})
    with pytest.raises(VoiceError, match="bargeConfirm: there is no such setting"):
        inference.attach(turn_detection={"bargeConfirm": 0})


def test_none_is_the_apps_own_and_a_model_stands_for_itself(v: Voice, sid: str) -> None:
    inference = Inference(v, sid)
    inference.attach()
    assert inference.agent == AgentSpec()
    inference.configure(TurnDetection(min_speech_ms=100))
    assert inference.turn_detection == TurnDetection(min_speech_ms=100)
    inference.configure({"type": "silero", "minSpeechMs": 50})
    inference.configure({"type": "silero", "silenceThresholdMs": 900})
    assert inference.turn_detection is not None
    assert inference.turn_detection.to_wire() == {
        "type": "silero", "silenceThresholdMs": 900, "minSpeechMs": 50, "prefixPaddingMs": None
    }  # fmt: skip


async def test_the_async_one(engine: FakeEngine) -> None:
    async with AsyncVoice(base_url=engine.url, api_key=KEY, org_id=ORG) as v:
        call = await v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t")
        async with AsyncInference(v, call.sid) as inference:
            await inference.attach(turn_detection={"silenceThresholdMs": 300})
            await inference.configure({"minSpeechMs": 100})
            end = await inference.on("turn_committed", print)
            await inference.tap()
            inference.publish_downlink(b"x")
            end()
            await inference.detach()
            assert (inference.agent, inference.turn_detection) == (None, None)
        assert [frame.payload for frame in engine.sockets[0].frames] == [b"x"]
