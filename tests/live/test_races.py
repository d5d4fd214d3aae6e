"""Calls that end at the worst moment, on a real Asterisk: nothing may stay behind."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.errors import CallEndedError
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live


async def hung_up_early(rig: Rig, calls: int, delay_s: float) -> None:
    """``calls`` calls, the n-th hung up n * ``delay_s`` after it was dialled."""
    async with rig.phone() as phone:
        for number in range(calls):
            call = await phone.dial("100")
            await asyncio.sleep(number * delay_s)
            await call.hangup()


@pytest.mark.parametrize("transport", ["websocket", "rtp"])
async def test_hung_up_while_it_begins(asterisk: PrivateAsterisk, transport: str) -> None:
    errors: list[BaseException] = []

    async def handler(call: CallSession, rig: Rig) -> None:
        try:
            await call.answer()
            await call.send_audio_bytes(bytes(160))
            async for _ in call.audio_stream():
                pass
        except CallEndedError:
            raise
        except Exception as error:
            errors.append(error)
            raise

    async with running(asterisk, handler, media={"transport": transport}) as rig:
        await hung_up_early(rig, 3, 0.0)
        await rig.nothing_left()
        gc.collect()
        files = len(os.listdir("/proc/self/fd"))
        await hung_up_early(rig, 60, 0.001)
        await rig.nothing_left()
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) <= files + 1
        assert not rig.app._shared.switchboard._mailboxes  # type: ignore[union-attr]
        ends = [call.end.reason for call in rig.calls if call.end]
        assert len(ends) == len(rig.calls) == 63
        assert set(ends) == {"hangup"}
    assert errors == []
