"""TestPhone: a real telephone on a private Asterisk, that can talk."""

from __future__ import annotations

from typing import Any

from voxtra.errors import ConfigurationError
from voxtra.media.resample import resample
from voxtra.speech.base import TTS
from voxtra.speech.local import load_as
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

RATE = 8000


class TestPhone(Phone):
    """A :class:`Phone` that logs in at a running :class:`PrivateAsterisk` by itself::

        async with TestPhone() as phone:
            call = await phone.call("100")
            await phone.says(call, "What are your opening hours?")

    Args:
        asterisk: where to log in; None is the one that runs.
        user: which of its ``phones``.
        tts: what speaks for ``says``; None is the embedded one of ``voxtra[local]``.
        options: as of :class:`Phone`.

    Raises:
        ConfigurationError: no Asterisk runs, or several, or there is no such user.
    """

    __test__ = False  # no class of tests, whatever pytest thinks of the name

    def __init__(
        self,
        asterisk: PrivateAsterisk | None = None,
        *,
        user: str = "phone",
        tts: TTS | None = None,
        **options: Any,
    ) -> None:
        asterisk = asterisk or _the_one()
        if user not in asterisk.phones:
            known = ", ".join(asterisk.phones)
            raise ConfigurationError(f"TestPhone(user={user!r}): this Asterisk has the accounts {known}")
        super().__init__(
            (asterisk.sip_host, asterisk.sip_port), user=user, password=asterisk.phones[user], **options
        )
        self._tts = tts
        self._said: dict[str, bytes] = {}

    async def call(self, target: str, *, timeout: float = 10.0) -> PhoneCall:
        """Dial, and wait for the answer. Raises PhoneError when it is refused or none comes in time."""
        return await (await self.dial(target)).answered(timeout)

    async def says(self, call: PhoneCall, text: str) -> None:
        """Speak, and return after the last word.

        Raises:
            MissingExtraError: there is no ``tts``, and the embedded one is not installed.
            TTSError: it failed.
        """
        call.play(await self.spoken(text))
        await call.played()

    async def spoken(self, text: str) -> bytes:
        """``text`` as sound, 16-bit mono PCM at 8 kHz. Raises as ``says``."""
        if text not in self._said:
            if self._tts is None:
                self._tts = load_as(TTS, "local")
            spoken = b""
            async for speech in self._tts.synthesize(text):
                spoken += resample(speech.pcm, speech.rate, RATE)
            self._said[text] = spoken
        return self._said[text]


def _the_one() -> PrivateAsterisk:
    running = PrivateAsterisk.running()
    if len(running) == 1:
        return running[0]
    which = "no PrivateAsterisk runs: start one first" if not running else "several run: name one"
    raise ConfigurationError(f"TestPhone(): {which},  async with PrivateAsterisk() as asterisk")
