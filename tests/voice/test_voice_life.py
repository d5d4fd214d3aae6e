"""What the client leaves behind: no thread, no connection, no warning; and what importing it loads."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading

import pytest
from conftest import client_threads, until
from fake_engine import KEY, ORG, FakeEngine

import voxtra.voice
from voxtra.voice import Voice, VoiceError

LIGHT = """
import sys
before = set(sys.modules)
import voxtra.voice
loaded = {name for name in set(sys.modules) - before if name.startswith("voxtra.")}
rooms = {name.split(".")[1] for name in loaded}
assert rooms <= {"voice", "wire", "errors"}, rooms
heavy = {"numpy", "moq", "picows", "uvloop", "onnxruntime", "typer"} & set(sys.modules)
assert not heavy, heavy
"""
FORGETFUL = """
import sys
from voxtra.voice import Voice
v = Voice(base_url=sys.argv[1], api_key=sys.argv[2], org_id=sys.argv[3])
call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t")
call.on_status(print)
bridge = v.audio_bridge.attach(call.sid, on_uplink=print)
bridge.publish_downlink(b"x")
print("at the end")
"""


NAMES = [
    "AgentSpec", "Agents", "AsyncAgents", "AsyncAudioBridge", "AsyncAudioBridges", "AsyncCall", "AsyncCalls",
    "AsyncInference", "AsyncMoqtClient", "AsyncVoice", "AudioBridge", "AudioBridges", "AudioPublication",
    "AudioSubscription", "Call", "CallEvent", "CallStatus", "Calls", "CascadeTurns", "Codec", "Inference",
    "MoqtClient", "TurnDetection", "Voice", "VoiceError",
]  # fmt: skip


def test_the_public_names() -> None:
    assert sorted(voxtra.voice.__all__) == NAMES
    assert [name for name in NAMES if not hasattr(voxtra.voice, name)] == []


def run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, *args],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_importing_it_loads_no_engine() -> None:
    done = run(LIGHT)
    assert done.returncode == 0, done.stderr


def test_a_program_that_closes_nothing_ends_quietly(engine: FakeEngine) -> None:
    done = run(FORGETFUL, engine.url, KEY, ORG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "at the end\n", "")
    assert engine.sockets[0].closed.wait(5)


def test_no_thread_before_it_is_needed_and_one_then(engine: FakeEngine) -> None:
    v = Voice(base_url=engine.url, api_key=KEY, org_id=ORG)
    assert client_threads() == []
    for _ in range(3):
        with pytest.raises(VoiceError):
            v.calls.get(sid="call_00000001")
    assert client_threads() == ["voxtra-voice"]
    v.close()
    assert client_threads() == []


def test_the_thread_ends_with_the_last_that_needs_it(engine: FakeEngine) -> None:
    v = Voice(base_url=engine.url, api_key=KEY, org_id=ORG)
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t")
    bridge = v.audio_bridge.attach(call.sid, on_uplink=print)
    calls = v.calls
    del v, calls
    gc.collect()
    assert call.refresh().status == "dialing"
    del call
    gc.collect()
    engine.say(b"x", 1)
    assert not engine.sockets[0].closed.wait(0.2)
    del bridge
    until(lambda: client_threads() == [])
    assert engine.sockets[0].closed.wait(5)


def test_many_bridges_leave_nothing(v: Voice, engine: FakeEngine) -> None:
    before = threading.active_count()
    for round_ in range(3):
        bridges = [v.audio_bridge.attach(f"call_0000{n:04d}", on_uplink=print) for n in range(10)]
        for bridge in bridges[: 5 + round_]:
            bridge.close()
        del bridges, bridge
    until(lambda: all(each.closed.is_set() for each in engine.sockets))
    assert len(engine.sockets) == 30
    assert threading.active_count() <= before + 1


def test_a_destructor_that_runs_on_the_clients_own_thread(v: Voice, engine: FakeEngine) -> None:
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")
    bridge = v.audio_bridge.attach(call.sid)
    refused: list[VoiceError] = []

    class Dropped:
        def __del__(self) -> None:
            bridge.close()
            try:
                call.hangup()
            except VoiceError as error:
                refused.append(error)

    def collect() -> None:
        Dropped()

    v._runner.soon(collect)
    until(engine.sockets[0].closed.is_set)
    until(lambda: refused)
    assert refused[0].code == "BAD_ARGUMENT"
    call.hangup()  # and the client goes on


def test_closing_the_voice_ends_its_bridges_and_streams(engine: FakeEngine) -> None:
    with Voice(base_url=engine.url, api_key=KEY, org_id=ORG) as v:
        call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="t")
        bridge = v.audio_bridge.attach(call.sid, on_uplink=lambda *_: None)
        end = call.on_status(print)
    assert engine.sockets[0].closed.wait(5)
    until(lambda: client_threads() == [])
    assert bridge.closed
    bridge.publish_downlink(b"x")
    bridge.close()
    end()


def test_closed_while_it_waits(engine: FakeEngine) -> None:
    engine.fail = ["hang"]
    v = Voice(base_url=engine.url, api_key=KEY, org_id=ORG)
    raised: list[str] = []

    def ask() -> None:
        try:
            v.calls.get(sid="call_00000001")
        except VoiceError as error:
            raised.append(error.code)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: engine.asked)
    v.close()
    asking.join(5)
    assert raised == ["CLOSED"]
