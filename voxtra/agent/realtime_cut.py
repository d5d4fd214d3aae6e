"""A speech-to-speech model is cut off: silence, and what it still says held back until it is known what was heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxtra.agent.realtime_playing import Playing
from voxtra.agent.realtime_replies import Replies
from voxtra.speech.base import SpeechEvent, SpeechStream


class Cut:
    """Cuts off what is being said, one cut at a time.

    Args:
        handle: takes the events that were held back, as positions on the line are in flux meanwhile.
        done: called when a cut is over.
    """

    def __init__(
        self,
        playing: Playing,
        replies: Replies,
        *,
        handle: Callable[[SpeechEvent], None],
        done: Callable[[], None],
    ) -> None:
        self._playing = playing
        self._replies = replies
        self._handle = handle
        self._done = done
        self._task: asyncio.Task[None] | None = None
        self._held: list[SpeechEvent] = []

    @property
    def under_way(self) -> bool:
        """True from the cut until it is known what was heard."""
        return self._task is not None

    def begin(self, stream: SpeechStream | None) -> None:
        """Silence; ``stream`` is told how much was heard. Without one the next knows it by the history."""
        if stream is not None:
            stream.cancel()
        self._replies.cut()
        self._task = asyncio.ensure_future(self._cut_off(stream))

    async def _cut_off(self, stream: SpeechStream | None) -> None:
        says = [say for say in self._replies.says.values() if not say.done.done()]
        try:
            for item, heard_ms in await self._playing.cut():
                if stream is not None:
                    stream.truncate(item, heard_ms)
            for say in says:
                say.settle("interrupted")
        finally:
            self._task = None
            held, self._held = self._held, []
            for event in held:
                self._handle(event)
            self._done()

    def hold(self, event: SpeechEvent) -> None:
        """An event that comes meanwhile."""
        self._held.append(event)

    def forget(self) -> None:
        """What is held back means nothing any more."""
        self._held.clear()

    async def over(self) -> None:
        """Wait until a cut under way is over."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
