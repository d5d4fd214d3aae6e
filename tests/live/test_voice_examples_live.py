"""The programs of examples/voice/, run as they are, with telephones at the far ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from relay_rig import share, tone
from test_voice_agents_live import asks, greeted, speech
from voice_rig import NEXT, TO, Hums, Served, served, until

from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "voice"


@contextlib.asynccontextmanager
async def running(name: str, it: Served, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An example as a process; it has to end by itself, in order, without a word on stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-X", "dev", str(EXAMPLES / f"{name}.py"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "ENGINE_URL": it.url, "CLUTCHCALL_CREDENTIALS": "full", **env},
    )  # fmt: skip
    try:
        yield process
        errors = await asyncio.wait_for(process.stderr.read(), 30)  # type: ignore[union-attr]
        # the loop's debugging tells what took long on a busy machine: of no matter here
        said = [line for line in errors.decode().splitlines() if not line.startswith("Executing <")]
        assert (await asyncio.wait_for(process.wait(), 10), said) == (0, [])
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.read(), 30)).decode()


@pytest.mark.proves("recipe: outbound call with an agent")
@pytest.mark.parametrize("answers", [True, False])
async def test_call_with_agent(asterisk: PrivateAsterisk, answers: bool) -> None:
    came: list[str] = []
    async with served(asterisk, {"appointment-reminder": Hums("reminder", came)}) as it:
        async with running("call_with_agent", it) as process:
            far = await it.phone.incoming()
            assert TO in str(far.called)
            if answers:
                far.answer()
                assert "agent is on the line for call_" in await said(process)
            else:
                far.reject(486)
                assert await said(process) == "call ended early: failed\n"
        if answers:
            assert came == ["reminder came"]
            assert await far.voice()
            await far.hangup()


@pytest.mark.proves("recipe: a brain of one's own")
async def test_own_brain(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk) as it, running("own_brain", it) as process:
        far = await it.phone.incoming()
        far.answer()
        await asyncio.sleep(1)
        for hz in (440, 660):
            far.play(tone(hz, 1))
            await far.played()
            before = len(far.received)
            await until(
                lambda before=before, hz=hz: share(far.received_pcm()[before * 320 :], hz) > 0.6, f"{hz} Hz"
            )
        await far.ended()
        assert "parroted on call_" in await said(process)


@pytest.mark.proves("recipe: hand-off and escalation")
async def test_handoff(asterisk: PrivateAsterisk) -> None:
    came: list[str] = []
    agents = {"triage-bot": Hums("triage", came), "human-queue": Hums("queue", came)}
    async with served(asterisk, agents) as it, running("handoff", it, TALK_S="1") as process:
        far = await it.phone.incoming()
        far.answer()
        third = await it.phone.incoming()
        assert NEXT in str(third.called)
        third.answer()
        far.play(tone(440, 3))
        await until(lambda: share(third.received_pcm(), 440) > 0.6, "they are connected")
        await asyncio.gather(far.ended(), third.ended())
        assert "handed over: call_" in await said(process)
    assert came[-2:] == ["queue came", "queue went"]


@pytest.mark.local
async def test_watch_turns(asterisk: PrivateAsterisk) -> None:
    async with served(asterisk, **speech()) as it, running("watch_turns", it) as process:
        far = await it.phone.incoming()
        far.answer()
        await greeted(far)
        asked = await asks(it, far, "Where are you located?")
        assert await far.voice(after=asked)
        await far.hangup()
        words = await said(process)
        assert "turn_committed" in words
        assert words.endswith("completed\n")
