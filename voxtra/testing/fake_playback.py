"""Prompts that the fake Asterisk plays: silence of the right length, and a note of what it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxtra.testing.fake_asterisk import FakeAsterisk, FakeChannel

PROMPT_S = 2.0
"""Length of a prompt that the test gave none."""
SAID_S = 0.5
"""Length of each digit or character that Asterisk says."""


@dataclass(eq=False)
class Prompt:
    """One prompt, as the caller heard it.

    Attributes:
        media: ``sound:hello-world``, ``digits:12`` ...
        start, end: seconds on the loop's clock; ``end`` is None while it plays.
        reason: ``finished``, ``stopped``, ``hangup``; "" while it plays.
    """

    media: str
    start: float
    end: float | None = None
    reason: str = ""

    def named(self, name: str) -> bool:
        """Whether this is ``hello-world`` or ``sound:hello-world``."""
        return self.media in (name, f"sound:{name}")


class FakePlayback:
    """Plays a list of media to a channel, or to all in a bridge.

    Args:
        target: ``channel:ID`` or ``bridge:ID``.
        channels: who hears it, asked anew for each medium.
    """

    def __init__(
        self,
        asterisk: FakeAsterisk,
        playback_id: str,
        media: Sequence[str],
        target: str,
        channels: Callable[[], list[FakeChannel]],
        language: str = "en",
    ) -> None:
        self.id = playback_id
        self.channels = channels
        self._asterisk = asterisk
        self._media = list(media)
        self._target = target
        self._language = language
        self._at = 0
        self._state = "queued"
        self._heard: list[tuple[FakeChannel, Prompt]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        asterisk.playbacks[playback_id] = self
        self._loop.call_soon(self._begin)

    def describe(self) -> dict[str, Any]:
        """The playback as ARI shows it."""
        return {
            "id": self.id,
            "media_uri": self._media[min(self._at, len(self._media) - 1)],
            "target_uri": self._target,
            "language": self._language,
            "state": self._state,
        }

    def _begin(self) -> None:
        if self._state != "queued":
            return
        self._state = "playing"
        self._asterisk.emit("PlaybackStarted", playback=self.describe())
        self._next()

    def _next(self) -> None:
        self._timer = None
        self._settle("finished")
        if self._at >= len(self._media):
            return self._finish("done")
        media = self._media[self._at]
        length = self._length(media)
        if length is None:
            return self._finish("failed")
        now = self._loop.time()
        self._heard = [(channel, Prompt(media, now)) for channel in self.channels() if channel.handset]
        self._tell()
        self._at += 1
        if length != float("inf"):
            self._timer = self._loop.call_later(length, self._next)
        return None

    def _length(self, media: str) -> float | None:
        known = self._asterisk.prompts
        scheme, _, name = media.partition(":")
        for key in (media, name if scheme == "sound" else media):
            if key in known:
                return known[key]
        if scheme == "tone":
            return float("inf")
        return SAID_S * len(name) if scheme in ("digits", "number", "characters") else PROMPT_S

    def _settle(self, reason: str) -> None:
        now = self._loop.time()
        for _, prompt in self._heard:
            prompt.end, prompt.reason = now, reason
        self._tell()
        self._heard = []

    def _tell(self) -> None:
        for channel, prompt in self._heard:
            if channel.handset is not None:
                channel.handset.prompted(prompt)

    def stop(self) -> None:
        """The app stops it."""
        self._settle("stopped")
        self._finish("done")

    def cut(self, channel: FakeChannel) -> None:
        """A channel that it plays to is gone."""
        if self._target == f"channel:{channel.id}":
            self._settle("hangup")
            self._finish("failed")

    def _finish(self, state: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._asterisk.playbacks.pop(self.id, None) is not None:
            self._state = state
            self._asterisk.emit("PlaybackFinished", playback=self.describe())
