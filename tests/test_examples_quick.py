"""Examples, with callers who are quicker than the telephones of the live tests."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from fake_app import running

from voxtra import CallState
from voxtra.ari import ChannelHangupRequest, Playback
from voxtra.testing import FakeCall, run_call

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("skipped", ["1", "##", "123", ""])
def test_a_key_that_skips_the_greeting_of_a_mailbox_does_not_end_the_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, skipped: str
) -> None:
    monkeypatch.chdir(tmp_path)

    async def caller(call: FakeCall) -> None:
        await call.hears_prompt("vm-intro")
        if skipped:
            await call.presses(skipped)
        await call.hears_prompt("beep")
        await call.noise(5)  # the beep takes two of them
        await call.presses("#")
        await call.hears_prompt("vm-msgsaved")

    result = run_call(load("voicemail").app, caller, number="204", prompts={"vm-intro": 20 if skipped else 2})
    (message,) = result.recordings
    assert message.duration_seconds is not None
    assert message.duration_seconds > 3


def test_a_key_pressed_in_the_queue_does_not_end_the_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    module = load("queue_overflow")

    async def leave(call: object) -> None:
        await module.leave_message(call)

    async def caller(call: FakeCall) -> None:
        await call.hears_prompt("vm-nobodyavail")
        await call.presses("12")
        await call.hears_prompt("beep")
        await call.noise(5)  # the beep takes two of them
        await call.presses("#")
        await call.hears_prompt("vm-goodbye")

    (message,) = run_call(leave, caller).recordings
    assert message.duration_seconds is not None
    assert message.duration_seconds > 3


async def test_who_comes_to_a_conference_as_the_last_one_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a call is told a little after it is over: the cause comes late."""
    module = load("conference")
    async with running(monkeypatch, module.conference) as world:

        def at_once(playback_id: str, **_: object) -> Playback:
            asyncio.get_running_loop().call_soon(world.ari.played, playback_id)
            return Playback(id=playback_id)

        world.ari.answers["channels.play_with_id"] = at_once
        first = world.call("first")
        async with asyncio.timeout(2):
            while first.state is not CallState.ON_HOLD:
                await asyncio.sleep(0.001)
        world.ari.tell(ChannelHangupRequest(channel=world.ari.channels_there["first"], cause=16))
        second = world.call("second")
        async with asyncio.timeout(2):
            while second.is_active and second.state is not CallState.ON_HOLD:
                await asyncio.sleep(0.001)
        assert second.is_active
        world.ari.gone("first")
        world.ari.hang_up("second")
        await world.over()
    assert module.rooms["100"] == []
