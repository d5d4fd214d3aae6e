"""TestPhone finds the Asterisk that runs, logs in and talks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from struct import pack

import pytest

from voxtra.errors import ConfigurationError
from voxtra.speech.base import TTS, Speech
from voxtra.testing import PhoneError, PrivateAsterisk, TestPhone

pytestmark = pytest.mark.live


class Tone(TTS):
    """Sings instead of speaking, at another rate than a telephone's."""

    name = "tone"
    rate = 16000

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        wave = [round(9000 * math.sin(n * 2 * math.pi * 440 / self.rate)) for n in range(self.rate // 2)]
        yield Speech(pack(f"<{len(wave)}h", *wave), self.rate)


async def test_it_talks_to_an_echo(asterisk: PrivateAsterisk) -> None:
    async with TestPhone(asterisk, tts=Tone()) as phone:
        call = await phone.call("600")
        await phone.says(call, "la")
        await call.voice()
        await call.hangup()


async def test_it_is_told_that_the_line_is_busy(asterisk: PrivateAsterisk) -> None:
    async with TestPhone(asterisk, user="phone2") as phone:
        with pytest.raises(PhoneError) as caught:
            await phone.call("604")
        assert caught.value.status == 486


async def test_it_finds_the_one_that_runs(asterisk: PrivateAsterisk) -> None:
    if len(PrivateAsterisk.running()) > 1:
        pytest.skip("another test runs one too")
    assert TestPhone().server == (asterisk.sip_host, asterisk.sip_port)
    with pytest.raises(ConfigurationError, match=r"user='nobody'.*phone, phone2"):
        TestPhone(asterisk, user="nobody")
