"""What a handler hands to a verb and can't be: one clear error that names it, and the call goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_app import running

from voxtra import CallSession
from voxtra.errors import ConfigurationError

WRONG: list[tuple[Callable[[Any], Awaitable[Any]], str]] = [
    (lambda call: call.say(None), "text=None: should be words"),
    (lambda call: call.listen(timeout="5"), "timeout='5': should be seconds"),
    (lambda call: call.listen(timeout=float("nan")), "timeout=nan: should be seconds"),
    (lambda call: call.agent.respond(None), "text=None: should be what the caller said"),
    (lambda call: call.play_file("hello-world", lang=5), "lang=5: should be a language"),
    (lambda call: call.stop_playback(5), "playback_id=5: should be"),
    (lambda call: call.send_audio(b"sound"), "chunk=b'sound': should be an AudioChunk"),
    (lambda call: call.send_audio(None), "chunk=None: should be an AudioChunk"),
    (lambda call: call.send_audio_bytes(5), "data=5: should be bytes"),
    (lambda call: call.send_audio_bytes("sound"), "data='sound': should be bytes"),
    (lambda call: call.hold(5), "moh_class=5: should be"),
    (lambda call: call.bridge_with(None), "other=None: should be a call"),
    (lambda call: call.listen_in("1"), "call='1': should be a call"),
    (
        lambda call: call.transfer_to("PJSIP/1", variables="A=1"),
        "variables='A=1': should be names and values",
    ),
    (lambda call: call.transfer_to_queue("q", "vip"), "metadata='vip': should be names and values"),
    (lambda call: call.transfer_to_queue("q", {1: 2}), "metadata: the name=1: should be text"),
    (lambda call: call.transfer_to_queue(), "queue '': letters"),
    (lambda call: call.transfer_to_queue("q", queue_name="r"), "queue and queue_name"),
    (lambda call: call.record_start(5), "name=5: should be text"),
    (lambda call: call.record_start(sink="folder"), "sink='folder': should be a RecordingSink"),
]


@pytest.mark.parametrize(("verb", "said"), WRONG)
async def test_it_is_named_and_the_call_goes_on(
    monkeypatch: pytest.MonkeyPatch, verb: Callable[[Any], Awaitable[Any]], said: str
) -> None:
    seen: list[str] = []

    async def handler(call: CallSession) -> None:
        try:
            await verb(call)
        except ConfigurationError as error:
            seen.append(str(error))
        assert call.is_active
        await call.answer()
        seen.append("went on")

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert said in seen[0]
    assert "\n" not in seen[0]
    assert seen[1:] == ["went on"]
