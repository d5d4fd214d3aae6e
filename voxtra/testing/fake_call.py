"""FakeCall: a person on the telephone, as a test writes it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from voxtra.calls.dtmf import KEYS
from voxtra.testing.fake_ears import Ears
from voxtra.testing.fake_errors import ExpectationError, FakeCallError
from voxtra.testing.fake_playback import Prompt
from voxtra.testing.fake_sound import FRAME_BYTES, RATE, SHORTEST_MS, hum, spoken
from voxtra.testing.fake_story import Story

if TYPE_CHECKING:
    from voxtra.testing.fake_asterisk import FakeAsterisk, FakeChannel

FRAME_S = FRAME_BYTES / 2 / RATE
MANNERS_S = 0.4
"""How long the other side must be silent before somebody polite begins to speak."""
GREETING_S = 2.0
"""How long after the answer they wait for the other side to say something first."""
PATIENCE_S = 120.0
"""How long somebody polite waits for that."""
KEY_S = 0.1
"""How long a key is pressed."""


class FakeCall:
    """One end of a call without any Asterisk: the caller, or somebody whom the app called.

    All times are virtual seconds. What is waited for has a ``timeout``; when it passes, or the call ends
    first, :class:`ExpectationError` tells the call so far.

    Attributes:
        number: what was dialled.
        caller_id: who calls.
    """

    def __init__(
        self, asterisk: FakeAsterisk, channel: FakeChannel, *, number: str, caller_id: str, story: Story
    ) -> None:
        self.number = number
        self.caller_id = caller_id
        self._asterisk = asterisk
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ears = Ears(self._loop.time)
        self._story = story
        self._cursor = 0
        self._prompt_cursor = 0
        self._up = asyncio.Event()
        self._over = asyncio.Event()
        self._by = self._reason = ""
        self._cause = 0
        self._up_at = 0.0
        self._greets = channel.endpoint is not None  # who is called says hello, who calls hears it
        self._sending = False
        self._hearing = bytes(FRAME_BYTES)

    def __repr__(self) -> str:
        return f"<FakeCall {self.caller_id} -> {self.number}, {self.now:.2f} s>"

    # ---- what it is

    @property
    def now(self) -> float:
        """Seconds since the call began to ring."""
        return round(self._loop.time() - self._began, 3)

    @property
    def is_up(self) -> bool:
        """True once it is answered."""
        return self._up.is_set()

    @property
    def is_over(self) -> bool:
        """True once it has ended."""
        return self._over.is_set()

    @property
    def ended_by(self) -> str:
        """``caller`` (this end), ``app``; "" while it lives."""
        return {"far end": "caller"}.get(self._by, self._by)

    @property
    def hangup_reason(self) -> str:
        """What the app said as it hung up, ``busy`` for one."""
        return self._reason

    @property
    def cause(self) -> int:
        """Q.850 cause of the end, 0 before."""
        return self._cause

    @property
    def heard(self) -> str:
        """All words heard so far."""
        return " ".join(self._ears.text.split())

    @property
    def is_spoken_to(self) -> bool:
        """True while the other side is heard, or a prompt."""
        return self._ears.quiet_s <= 2 * FRAME_S

    @property
    def prompts(self) -> list[Prompt]:
        """Prompts heard so far, the one that plays included."""
        return list(self._ears.prompts)

    @property
    def keys(self) -> str:
        """Keys that the app sent."""
        return self._ears.keys

    @property
    def on_music(self) -> bool:
        """True while music on hold plays."""
        return self._ears.music

    @property
    def redirected(self) -> str:
        """Where the app sent this phone (REFER, or 302); "" when it didn't."""
        return self._channel.redirected

    @property
    def continued(self) -> tuple[str, str] | None:
        """Context and extension at which the call went on in the dialplan, None when it didn't."""
        return (self._channel.context, self._channel.exten) if self._channel.continued else None

    @property
    def variables(self) -> dict[str, str]:
        """The channel's variables."""
        return dict(self._channel.variables)

    # ---- waiting for the other side

    async def answered(self, timeout: float = 30) -> None:
        """Wait until the call is answered."""
        await self._until(lambda: self.is_up, timeout, "an answer")

    async def hears(self, text: str | re.Pattern[str], timeout: float = 30) -> str:
        """Wait until these words were said, after those of the last ``hears``.

        Args:
            text: any part of what is said; case and white space don't matter. Or a regular expression.

        Returns:
            What was heard since, these words included.
        """
        if not (text.pattern if isinstance(text, re.Pattern) else text.strip()):
            raise FakeCallError("hears(''): give the words; to wait, there is silence(seconds)")
        begun = self._cursor
        what = f"the words {text.pattern if isinstance(text, re.Pattern) else text!r}"
        await self._until(lambda: self._ears.find(text, begun) is not None, timeout, what)
        found = self._ears.find(text, begun)
        assert found is not None
        self._cursor = found[1]
        return " ".join(self._ears.text[begun : found[1]].split())

    async def hears_prompt(self, name: str = "", timeout: float = 30) -> Prompt:
        """Wait until a prompt has begun, after that of the last ``hears_prompt``.

        Args:
            name: ``hello-world``, ``digits:12``; "" is any.
        """

        def heard() -> bool:
            later = self._ears.prompts[self._prompt_cursor :]
            return any(not name or prompt.named(name) for prompt in later)

        await self._until(heard, timeout, f"the prompt {name!r}" if name else "a prompt")
        for number, prompt in enumerate(self._ears.prompts):
            if number >= self._prompt_cursor and (not name or prompt.named(name)):
                self._prompt_cursor = number + 1
                return prompt
        raise AssertionError("it was there")

    async def ended(self, timeout: float = 60) -> str:
        """Wait until the call is over; returns ``caller`` or ``app``, whoever ended it."""
        await self._until(lambda: self.is_over, timeout, "the end of the call", even_over=True)
        return self.ended_by

    async def silence(self, seconds: float) -> None:
        """Say nothing for so long."""
        if seconds < 0:
            raise FakeCallError(f"silence({seconds!r}): seconds, 0 or more")
        await asyncio.sleep(seconds)

    # ---- speaking

    async def says(self, text: str, *, confidence: float | None = None) -> None:
        """Speak, once the other side is silent; returns after the last word.

        Who calls gives the other side 2 s after the answer to say something first.
        Two in a row with less than the app's ``silence_threshold_ms`` between are one turn to it.

        Args:
            text: the words, 60 ms a character.
            confidence: how sure the fake recogniser is of them, 0..1.
        """
        self._check_words("says", text, confidence)
        await self._ready(f"say {text!r}")
        await self._manners(f"say {text!r}")
        await self._speak(text, confidence)

    async def _manners(self, what: str) -> None:
        """Let the other side speak first, and finish."""
        began = self._loop.time()
        greeted_by = self._up_at + (0.0 if self._greets else GREETING_S)
        while self._ears.quiet_s == float("inf") and self._loop.time() < greeted_by:
            await asyncio.sleep(FRAME_S)
            self._alive(f"it could {what}")
        while (quiet := self._ears.quiet_s) < MANNERS_S:
            if self._loop.time() - began > PATIENCE_S:
                self._fail(f"waited {PATIENCE_S:g} s for the other side to be silent, to {what}")
            await asyncio.sleep(max(FRAME_S, MANNERS_S - quiet))
            self._alive(f"it could {what}")

    async def interrupts(self, text: str, *, after: float = 1.0, timeout: float = 30) -> None:
        """Speak while the other side does, ``after`` s from where it began; returns after the last word.

        Raises:
            ExpectationError: nobody spoke within ``timeout`` s, or not for so long.
        """
        self._check_words("interrupts", text, None)
        await self._ready(f"interrupt with {text!r}")
        deadline = self._loop.time() + timeout
        while not self.is_spoken_to:
            if self._loop.time() > deadline:
                self._fail(f"waited {timeout:g} s for somebody to interrupt with {text!r}")
            await asyncio.sleep(FRAME_S)
            self._alive(f"it could interrupt with {text!r}")
        began = self._ears.stretch_began
        await asyncio.sleep(max(0.0, began + after - self._loop.time()))
        self._alive(f"it could interrupt with {text!r}")
        if self._ears.quiet_s > 2 * FRAME_S:
            length = self._loop.time() - self._ears.quiet_s - began
            self._fail(f"can't interrupt after {after:g} s: the other side was done after {length:.2f} s")
        await self._speak(text, None)

    async def noise(self, seconds: float = 0.5) -> None:
        """Make a sound that is no words."""
        if seconds <= 0:
            raise FakeCallError(f"noise({seconds!r}): seconds, more than 0")
        await self._ready("make a noise")
        await self._send(hum(seconds))

    async def surround(self, beside: Callable[[bytes], bytes]) -> None:
        """Send what the telephone picks up beside its owner, until the call is over; run it in a task.

        While the owner speaks or makes a noise, that alone is sent.

        Args:
            beside: called each 20 ms with what is heard meanwhile (PCM), returns what is picked up.
        """
        await self._ready("be beside anything")
        while not self.is_over:
            heard, self._hearing = self._hearing, bytes(FRAME_BYTES)
            pcm = beside(heard)
            if any(pcm) and not self._sending:
                self._asterisk.sound(self._channel, pcm)
            await asyncio.sleep(FRAME_S)

    async def _speak(self, text: str, confidence: float | None) -> None:
        began = self._loop.time()
        said = self._story.caller(text, began)
        whole = await self._send(spoken(text, confidence=confidence, shortest_ms=SHORTEST_MS))
        self._story.done(said, self._loop.time(), "finished" if whole else "hangup")

    async def _send(self, pcm: bytes) -> bool:
        """Sound at its own pace; False when the call ended meanwhile."""
        pcm += bytes(-len(pcm) % FRAME_BYTES)
        self._sending = True
        try:
            for at in range(0, len(pcm), FRAME_BYTES):
                if self.is_over:
                    return False
                self._asterisk.sound(self._channel, pcm[at : at + FRAME_BYTES])
                await asyncio.sleep(FRAME_S)
        finally:
            self._sending = False
        return True

    def _check_words(self, verb: str, text: object, confidence: float | None) -> None:
        if not isinstance(text, str) or not text.strip():
            raise FakeCallError(f"{verb}({text!r}): give the words; there are also silence() and noise()")
        if confidence is not None and not 0 <= confidence <= 1:
            raise FakeCallError(f"{verb}(confidence={confidence!r}): 0 to 1")

    # ---- keys and the rest

    async def presses(self, keys: str, *, gap: float = 0.2) -> None:
        """Press keys, 0.1 s each.

        Args:
            keys: of ``0123456789*#ABCD``.
            gap: seconds between two.
        """
        if not isinstance(keys, str) or not keys or set(keys) - set(KEYS):
            raise FakeCallError(f"presses({keys!r}): keys are {KEYS}, as text")
        await self._ready(f"press {keys!r}")
        for number, key in enumerate(keys):
            if number:
                await asyncio.sleep(gap)
            self._alive(f"it could press {key!r}")
            began = self._loop.time()
            await asyncio.sleep(KEY_S)
            if self.is_over:
                return
            self._story.key(key, began, self._loop.time())
            self._event("ChannelDtmfReceived", digit=key, duration_ms=round(KEY_S * 1000))

    async def holds(self) -> None:
        """Put the other side on hold."""
        await self._ready("hold")
        self._event("ChannelHold")

    async def resumes(self) -> None:
        """Take it off hold."""
        await self._ready("resume")
        self._event("ChannelUnhold")

    async def hangs_up(self) -> None:
        """End the call. Ended already is as good."""
        self._asterisk.hang_up(self._channel, by="far end")
        await asyncio.sleep(0)

    def _event(self, kind: str, **fields: object) -> None:
        if self._channel.in_stasis or self._channel.subscribed:
            self._asterisk.emit(kind, channel=self._asterisk.describe(self._channel), **fields)

    # ---- inside

    async def _ready(self, what: str) -> None:
        """One must be connected to be heard."""
        if not self.is_up:
            await self._until(lambda: self.is_up, 30, f"an answer, to {what}")
        self._alive(f"it could {what}")

    async def _until(
        self, happened: Callable[[], bool], timeout: float, what: str, *, even_over: bool = False
    ) -> None:
        __tracebackhide__ = True
        changed = self._ears.changed
        deadline = self._loop.time() + timeout
        while not happened():
            if self.is_over and not even_over:
                self._fail(f"the call was ended by the {self.ended_by} before {what} came")
            if self._loop.time() >= deadline:
                self._fail(f"waited {timeout:g} s for {what}")
            changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await changed.wait()

    def _alive(self, what: str) -> None:
        __tracebackhide__ = True
        if self.is_over:
            self._fail(f"the call was ended by the {self.ended_by} before {what}")

    def _fail(self, what: str) -> NoReturn:
        __tracebackhide__ = True  # pytest then shows the line of the test
        raise ExpectationError(f"{self.number}: {what}. The call so far:\n{self._story.told()}")

    # ---- what Asterisk tells the handset

    def hear(self, pcm: bytes) -> None:
        """20 ms of sound."""
        self._hearing = pcm
        if not self._ears.music:
            self._ears.hear(pcm)

    def prompted(self, prompt: Prompt) -> None:
        """A prompt begins or has ended."""
        self._ears.prompted(prompt)
        self._story.prompt(prompt)

    def answered_now(self) -> None:
        """The call is up."""
        self._up.set()
        self._up_at = self._loop.time()
        self._ears.changed.set()

    def keyed(self, digits: str) -> None:
        """The app sends keys."""
        self._ears.keys += digits
        self._ears.changed.set()

    def music(self, playing: bool) -> None:
        """Music on hold begins or ends."""
        self._ears.music = playing
        self._ears.changed.set()

    def over(self, by: str, cause: int, reason: str) -> None:
        """The channel is gone."""
        self._by, self._cause, self._reason = by, cause, reason
        self._over.set()
        self._ears.changed.set()
