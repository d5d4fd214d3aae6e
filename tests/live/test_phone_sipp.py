"""An independent SIP stack, sipp, against the same Asterisk: our phone's word is not the only one."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.sipp import callers
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live


async def test_sipp_calls_the_echo(asterisk: PrivateAsterisk) -> None:
    async with callers(asterisk, "600", calls=5, at_once=5, rate=20, hold_s=1.0) as sipp:
        await asyncio.sleep(0.8)
        statistics = await asterisk.rx("pjsip show channelstats")
        outcome = await sipp.done(30)
    assert (outcome.succeeded, outcome.failed) == (5, 0), outcome.words
    calls = [line.split() for line in statistics.splitlines() if " ulaw " in line]
    assert calls, statistics
    assert all(int(fields[3]) > 5 for fields in calls), statistics  # packets received from sipp
