"""What somebody at a telephone hears: words, prompts, and when it is quiet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from voxtra.testing.fake_playback import Prompt
from voxtra.testing.fake_sound import FRAME_BYTES, RATE, read

FRAME_S = FRAME_BYTES / 2 / RATE
STRETCH_S = 0.8
"""Silence after which sound is a new stretch; shorter gaps are breath, or a doubt whether to go on."""


@dataclass
class Ears:
    """Hears one end of a call.

    Attributes:
        text: all words heard so far.
        voiced_at: when the last sound of the other side ended; before all time when there was none.
        began_at: when the stretch of sound began that was heard last.
        prompts: every prompt heard.
        keys: keys that the app sent.
        music: whether music on hold plays.
    """

    now: Callable[[], float]
    text: str = ""
    voiced_at: float = float("-inf")
    began_at: float = float("-inf")
    prompts: list[Prompt] = field(default_factory=list)
    keys: str = ""
    music: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, pcm: bytes) -> None:
        """20 ms."""
        heard = read(pcm)
        if not heard.voice:
            return
        now = self.now()
        if now - self.voiced_at > STRETCH_S:
            self.began_at = now - FRAME_S
        self.voiced_at = now
        if heard.text:
            self.text += heard.text
            self.changed.set()

    def prompted(self, prompt: Prompt) -> None:
        """A prompt begins or has ended."""
        if prompt not in self.prompts:
            self.prompts.append(prompt)
        self.changed.set()

    @property
    def prompt(self) -> Prompt | None:
        """The prompt that plays now."""
        return next((prompt for prompt in self.prompts if prompt.end is None), None)

    @property
    def stretch_began(self) -> float:
        """When the prompt or the words began that are heard now."""
        return self.prompt.start if self.prompt is not None else self.began_at

    @property
    def quiet_s(self) -> float:
        """For how long the other side has been silent; 0 while a prompt plays."""
        if self.prompt is not None:
            return 0.0
        last_prompt = max((prompt.end or 0.0 for prompt in self.prompts), default=float("-inf"))
        return self.now() - max(self.voiced_at, last_prompt)

    def find(self, wanted: str | re.Pattern[str], start: int) -> tuple[int, int] | None:
        """Where ``wanted`` was heard from ``start`` on: case and white space don't matter."""
        if isinstance(wanted, str):
            words = re.compile(r"\s+".join(map(re.escape, wanted.split())), re.IGNORECASE)
            found = words.search(self.text, start)
        else:
            found = wanted.search(self.text, start)
            # With the next character it might match more: each clause ends in a breath, so one comes.
            if found is not None and found.end() == len(self.text) and self.text[-1:] != " ":
                return None
        return found.span() if found is not None else None
