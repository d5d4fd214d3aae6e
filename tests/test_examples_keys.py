"""Examples that ask for keys, with callers who know the menu and press them before they are asked."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

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
