"""A call's end of a recogniser: what it is told, and waiting for it."""

import asyncio
from contextlib import asynccontextmanager

from fakes.marked_sound import frame, say


class Listener:
    def __init__(self, provider, *, rate=8000, **options) -> None:
        self.rate = rate
        self.heard, self.errors = [], []
        self._news = asyncio.Event()
        self.stream = provider.open(rate=rate, on_transcript=self._told, on_error=self._failed, **options)

    def _told(self, transcript) -> None:
        self.heard.append(transcript)
        self._news.set()

    def _failed(self, error) -> None:
        self.errors.append(error)
        self._news.set()

    @property
    def finals(self) -> list[str]:
        return [transcript.text for transcript in self.heard if transcript.is_final]

    @property
    def partials(self) -> list[str]:
        return [transcript.text for transcript in self.heard if not transcript.is_final]

    async def until(self, condition, timeout=20.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                try:
                    async with asyncio.timeout(0.02):  # what the server got is told to nobody
                        await self._news.wait()
                except TimeoutError:
                    pass

    async def speak(self, text: str, *, stop: bool = True, step: float = 0.0) -> None:
        """Speech as the ears report it: noticed 60 ms late, paused 200 ms after the end."""
        frames = say(text, self.rate)
        for number, sound in enumerate(frames):
            self.stream.push(sound)
            if number == 2:
                self.stream.speech_started()
            await asyncio.sleep(step)
        if stop:
            self.silence(200)
            self.stream.speech_stopped()

    def silence(self, ms: int) -> None:
        for _ in range(ms // 20):
            self.stream.push(frame(0, self.rate))

    async def final(self, count: int = 1, timeout: float = 20.0) -> str:
        await self.until(lambda: len(self.finals) >= count, timeout)
        return self.finals[count - 1]


@asynccontextmanager
async def listening(provider, **options):
    listener = Listener(provider, **options)
    try:
        yield listener
    finally:
        before = len(asyncio.all_tasks())
        await listener.stream.close()
        await listener.stream.close()
        assert len(asyncio.all_tasks()) <= before
