"""Verbs of a call that something comes between: a key, a failure of Asterisk's, a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_app import running
from fake_calls import breathe

from voxtra import CallSession, CallState
from voxtra.agent.agent import Agent
from voxtra.agent.tools import tool
from voxtra.ari import ChannelDestroyed, StasisEnd
from voxtra.ari.events import ChannelHold, ChannelUnhold
from voxtra.ari.models import Variable
from voxtra.errors import (
    ARINotInStasisError,
    ARIServerError,
    CallEndedError,
    ConfigurationError,
    PlaybackError,
)
from voxtra.testing import FakeCall, ScriptedLLM, run_call
from voxtra.testing import tool as calls
from voxtra.testing.fake_speech import FakeTTS

Patch = pytest.MonkeyPatch
REFUSED = ARIServerError("POST", "/there", 500, "Allocation failed")


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.05)
    monkeypatch.setattr("voxtra.session.ASKED_AGAIN_S", 0.002)
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.05)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(2):
        while not condition():
            await asyncio.sleep(0.001)


# ---- keys


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_key_is_not_lost_with_who_waited_for_it(monkeypatch: Patch, turns: int) -> None:
    """The wait for it may be cancelled in the very moment it comes: a race of ``listen`` and ``listen_dtmf``."""
    got: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        waiting = asyncio.ensure_future(call.listen_dtmf())
        await breathe()
        world.ari.press("caller", "12")
        await breathe(turns)
        waiting.cancel()
        await asyncio.wait({waiting})
        got.append(None if waiting.cancelled() else str(waiting.result()))
        got.append(await call.listen_dtmf(max_digits=2, timeout=0.05, inter_digit_timeout=0.05))

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert (got[0] or "") + (got[1] or "") == "12"


async def test_a_key_while_the_recorder_makes_ready_for_the_prompt(monkeypatch: Patch) -> None:
    """Between the look for keys that wait and the playback there is time, when the call is recorded."""
    results: list[Any] = []

    class Slow:
        async def depart(self) -> None:
            world.ari.press("caller", "7")
            await breathe()

        def back(self) -> None: ...

        def attach(self, line: Any) -> None: ...

    async def handler(call: CallSession) -> None:
        await call.answer()
        call._live.follower = Slow()
        results.append((await call.play_file("menu", interrupt_by="dtmf")).reason)
        results.append(await call.listen_dtmf())
        call._live.follower = None

    async with running(monkeypatch, handler) as world:
        world.call()
        await until(lambda: len(results) == 2)
        await world.over()
    assert results == ["interrupted", "7"]
    assert "channels.play_with_id" not in world.ari.names()


@pytest.mark.parametrize("verb", ["play_file", "play_url", "play_url, being fetched"])
def test_a_key_that_interrupts_a_tools_prompt_is_for_its_listen_dtmf(monkeypatch: Patch, verb: str) -> None:
    """And no turn of the conversation, as every other key is."""

    @tool
    async def menu(call: CallSession) -> str:
        """Ask which department."""
        if verb == "play_file":
            played = await call.play_file(["menu"] * 20, interrupt_by="dtmf")
        else:

            async def fetch(url: str, rate: int) -> bytes:
                await asyncio.sleep(6 if verb == "play_url, being fetched" else 0)
                return bytes(rate * 2 * 20)

            monkeypatch.setattr(call._shared.sounds, "fetch", fetch)
            played = await call.play_url("http://example.com/menu.wav", interrupt_by="dtmf")
        return f"{played.reason} {await call.listen_dtmf(timeout=1)}"

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.converse(Agent(tools=[menu]))

    async def caller(call: FakeCall) -> None:
        await call.says("I want a person.")
        await asyncio.sleep(3)
        await call.presses("4")
        await call.hears("Done")
        await call.hangs_up()

    result = run_call(handler, caller, llm=ScriptedLLM([calls("menu"), "Done."]))
    assert [m["content"] for m in result.history if m["role"] == "tool"] == ["interrupted 4"]
    assert [m["content"] for m in result.history if m["role"] == "user"] == ["I want a person."]


# ---- hold


@pytest.mark.parametrize("flaw", ["channels.hold", "channels.start_moh"])
async def test_a_hold_that_fails_is_none(monkeypatch: Patch, flaw: str) -> None:
    seen: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        line = await call.open_line()
        with pytest.raises(ARIServerError):
            await call.hold()
        seen.append((call.state, (await call.open_line()).paused, call._live._away, line.closed.done()))
        del world.ari.answers[flaw]
        await call.hold()
        seen.append(call.state)

    async with running(monkeypatch, handler) as world:
        world.ari.answers[flaw] = REFUSED
        world.call()
        await world.over()
    assert seen == [(CallState.IN_PROGRESS, False, False, False), CallState.ON_HOLD]


async def test_our_hold_stays_when_the_far_end_ends_its_own(monkeypatch: Patch) -> None:
    states: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.hold()
        channel = world.ari.channels_there["caller"]
        world.ari.tell(ChannelHold(channel=channel))
        world.ari.tell(ChannelUnhold(channel=channel))
        states.append(call.state)
        await call.unhold()
        states.append(call.state)

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert states == [CallState.ON_HOLD, CallState.IN_PROGRESS]


async def test_a_queue_that_cannot_be_gone_to(monkeypatch: Patch) -> None:
    seen: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        line = await call.open_line()
        await call.hold()
        with pytest.raises(ARIServerError):
            await call.transfer_to_queue("support")
        await breathe()
        seen.append((call.state, line.paused, call._live._away))

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.continue_in_dialplan"] = REFUSED
        world.call()
        await world.over()
    assert seen == [(CallState.IN_PROGRESS, False, False)]


async def test_what_is_said_when_the_call_moves_does_not_open_the_line(monkeypatch: Patch) -> None:
    """The cut ends in a flush, which ends a pause: what is played to nobody would count as heard."""
    seen: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        saying = asyncio.ensure_future(call.say("one two three four five six"))
        await until(lambda: world.transport.lines and world.transport.lines[0].queued)
        await call.hold()
        seen.append((await saying).reason)
        await breathe()
        seen.append(world.transport.lines[0].paused)
        await call.unhold()
        seen.append(world.transport.lines[0].paused)

    async with running(monkeypatch, handler, tts=FakeTTS()) as world:
        world.call()
        await world.over()
    assert seen == ["interrupted", True, False]


# ---- REFER


async def test_a_call_that_went_elsewhere_stays_completed(monkeypatch: Patch) -> None:
    results: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        results.append((await call.transfer_to("sip:bob@example.com")).reason)

    def redirect(channel_id: str, endpoint: str) -> None:
        channel = world.ari.channels_there.pop(channel_id)
        world.ari.tell(StasisEnd(channel=channel))
        world.ari.tell(ChannelDestroyed(channel=channel, cause=16, cause_txt="Normal Clearing"))

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.get_channel_var"] = Variable(value="INVITE, REFER")
        world.ari.answers["channels.redirect"] = redirect
        session = world.call()
        await world.over()
    assert results == ["completed"]
    assert session.state is CallState.COMPLETED


async def test_a_call_that_comes_again_while_its_first_stay_winds_up(monkeypatch: Patch) -> None:
    """Sent on in the dialplan, which sends it back at once: it is a new call, not nobody's."""
    calls: list[CallSession] = []

    async def handler(call: CallSession) -> None:
        calls.append(call)
        await call.answer()
        if len(calls) == 1:

            @call.on_hangup
            async def slow() -> None:
                await until(lambda: len(calls) == 2)

            await world.ari.channels.continue_in_dialplan(channel_id=call.id)
            world.ari.arrive("caller", state="Up")
        else:
            await call.listen_dtmf(timeout=None)

    async with running(monkeypatch, handler) as world:
        world.call()
        await until(lambda: len(calls) == 2)
        await asyncio.sleep(0.1)
        assert world.app.active_sessions == [calls[1]]
        world.ari.hang_up("caller")
        await world.over()


# ---- a line that is lost while the call lives


async def test_the_callers_sound_goes_on_over_a_line_that_is_lost(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.session.LINE_BACK_S", 0.01)
    heard: list[int] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        async for chunk in call.audio_stream():
            heard.extend(chunk.data[:1])

    async with running(monkeypatch, handler) as world:
        session = world.call()
        lines = world.transport.lines
        await until(lambda: lines and not lines[0].paused)
        await breathe()
        lines[0].hear(1, level=1)
        await breathe()
        lines[0].lose()
        await until(lambda: len(lines) == 2 and not lines[1].paused)
        await breathe()
        lines[1].hear(1, level=2)
        await until(lambda: len(heard) == 2)
        assert session.is_active
        world.ari.hang_up("caller")
        await world.over()
    assert heard == [1, 2]


@pytest.mark.parametrize("what", ["line", "call"])
async def test_a_sound_that_breaks_off_says_whether_the_call_is_over(monkeypatch: Patch, what: str) -> None:
    monkeypatch.setattr("voxtra.session.LINE_BACK_S", 0.01)
    reasons: list[str] = []

    async def fetch(url: str, rate: int) -> bytes:
        return bytes(rate)

    async def handler(call: CallSession) -> None:
        await call.answer()
        monkeypatch.setattr(call._shared.sounds, "fetch", fetch)
        reasons.append((await call.play_url("http://example.com/a.wav")).reason)

    async with running(monkeypatch, handler) as world:
        world.call()
        lines = world.transport.lines
        await until(lambda: lines and lines[0].queued)
        if what == "line":
            lines[0].lose()
        else:
            world.ari.hang_up("caller")
        await world.over()
    assert reasons == ["failed" if what == "line" else "hangup"]


@pytest.mark.parametrize("when", ["fetched", "played"])
async def test_all_that_plays_is_stopped_what_comes_from_the_web_too(monkeypatch: Patch, when: str) -> None:
    results: list[Any] = []
    there = asyncio.Event()

    async def fetch(url: str, rate: int) -> bytes:
        await there.wait()
        return bytes(rate * 2 * 20)

    async def handler(call: CallSession) -> None:
        await call.answer()
        monkeypatch.setattr(call._shared.sounds, "fetch", fetch)
        playing = asyncio.ensure_future(call.play_url("http://example.com/a.wav"))
        if when == "played":
            there.set()
            await until(lambda: world.transport.lines and world.transport.lines[0].queued)
        else:
            await until(lambda: world.transport.lines)
            await breathe()
        await call.stop_playback()
        there.set()
        result = await playing
        results.append((result.reason, world.transport.lines[0].queued > world.transport.lines[0].heard))
        await call.stop_playback(result)

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert results == [("interrupted", False)]


async def test_a_sound_longer_than_the_line_takes(monkeypatch: Patch) -> None:
    said: list[str] = []

    async def fetch(url: str, rate: int) -> bytes:
        return bytes(rate * 2 * 601)

    async def handler(call: CallSession) -> None:
        await call.answer()
        monkeypatch.setattr(call._shared.sounds, "fetch", fetch)
        with pytest.raises(PlaybackError) as error:
            await call.play_url("http://me:secret@example.com/a.wav?key=secret")
        said.append(str(error.value))

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert len(said) == 1
    assert "secret" not in said[0]


# ---- arguments


@pytest.mark.parametrize(
    "verb",
    [
        lambda call: call.play_url("http://example.com/a.wav", interrupt_by="key"),
        lambda call: call.transfer_to("PJSIP/bob", timeout=0),
        lambda call: call.transfer_to("PJSIP/bob", timeout="30"),
        lambda call: call.transfer_to("PJSIP/bob", timeout=float("inf")),
        lambda call: call.transfer_warm("PJSIP/bob", timeout=-1),
        lambda call: call.transfer_warm("PJSIP/bob", accept="yes"),
        lambda call: call.transfer_to_queue("support", timeout=-1),
        lambda call: call.transfer_to_queue(600),
        lambda call: call.transfer_to(200),
        lambda call: call.transfer_warm(None),
        lambda call: call.send_dtmf(1234),
        lambda call: call.send_dtmf("1", duration_ms="100"),
        lambda call: call.send_dtmf("1", between_ms=None),
        lambda call: call.play_file(5),
        lambda call: call.play_file(["hello", 5]),
        lambda call: call.play_url(None),
    ],
)
async def test_arguments_that_cannot_be(monkeypatch: Patch, verb: Callable[[CallSession], Any]) -> None:
    said: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        try:
            await verb(call)
        except ConfigurationError as error:
            said.append(str(error))

    async with running(monkeypatch, handler) as world:
        world.call()
        await world.over()
    assert len(said) == 1


async def test_the_end_of_a_hold_that_was_lost_with_the_connection(monkeypatch: Patch) -> None:
    """Its event never comes: the agent would be silent, and deaf, for good."""

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.open_line()
        await asyncio.sleep(60)

    async with running(monkeypatch, handler, tts=FakeTTS()) as world:
        session = world.call()
        lines = world.transport.lines
        await until(lambda: lines and not lines[0].paused)
        world.ari.tell(ChannelHold(channel=world.ari.channels_there["caller"]))
        assert lines[0].paused
        assert session.state is CallState.ON_HOLD
        world.ari.resync()
        assert not lines[0].paused
        assert session.state is CallState.IN_PROGRESS
        world.ari.hang_up("caller")
        await world.over()
    assert world.types().count("call.resumed") == 1


GONE = ARINotInStasisError("POST", "/there", 422, "Channel not in Stasis application")


@pytest.mark.parametrize("verb", ["hold", "transfer", "refer"])
async def test_a_hang_up_that_asterisk_tells_by_refusing(monkeypatch: Patch, verb: str) -> None:
    """The request is faster than the event."""
    seen: list[Any] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        await call.open_line()
        try:
            if verb == "hold":
                await call.hold()
            else:
                address = "PJSIP/bob" if verb == "transfer" else "sip:bob@example.com"
                seen.append((await call.transfer_to(address)).reason)
        except CallEndedError as error:
            seen.append(error.reason)

    def refuse(**_: Any) -> Any:
        asyncio.get_running_loop().call_soon(world.ari.hang_up, "caller")
        return GONE

    async with running(monkeypatch, handler) as world:
        world.ari.answers["channels.get_channel_var"] = Variable(value="INVITE, REFER")
        world.ari.answers["bridges.remove_channel"] = refuse
        for each in ("hold", "ring", "redirect"):
            world.ari.answers[f"channels.{each}"] = GONE
        world.ari.answers["channels.originate_with_id"] = lambda **_: None
        world.call()
        await world.over()
    assert seen == ["hangup"]
