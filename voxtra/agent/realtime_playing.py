"""What a speech-to-speech model says, on the line: utterances in order, and how much of each was heard."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voxtra.agent.client import AgentClient
from voxtra.agent.ledger import Ledger, Span
from voxtra.agent.mouth import MS_PER_CHARACTER, STALL_S
from voxtra.errors import LineClosedError, MediaError
from voxtra.media.line import Line
from voxtra.media.resample import Resampler
from voxtra.speech.base import Speech
from voxtra.types import EndReason, Message

log = logging.getLogger("voxtra.agent")

OWN = ""
"""Stands for the reply of words that are not the model's."""
BEFORE = "before "
"""What names begin with that a connection gave which is lost."""
MAX_PAST = 16
"""Utterances that were heard and whose words may still come."""


@dataclass(slots=True)
class Spoken:
    """One utterance of the model.

    Attributes:
        message: what the history holds of it.
        interruptible: whether the caller may cut in.
        start: position of its first sample on the line; None while it has no sound.
        over: True once it was heard, or cut off.
        was_cut: True when it was cut off: its words are those that were heard.
    """

    reply: str
    item: str
    message: Message
    resampler: Resampler
    interruptible: bool = True
    start: int | None = None
    ledger: Ledger = field(default_factory=Ledger)
    over: bool = False
    was_cut: bool = False
    span: Span = field(init=False)

    def __post_init__(self) -> None:
        self.span = self.ledger.add("", 0)

    def heard(self, position: int) -> str:
        """The words heard when the line's sound stopped at ``position``."""
        return "" if self.start is None else self.ledger.heard(position - self.start)


class Playing:
    """The utterances of one conversation on its line.

    Args:
        agent: its history gets a message for each utterance, cut to what was heard.
        on_audible: called with True when sound begins, with False when there is none left; the latter
            may ask for a :meth:`report`.
        on_heard: called when an utterance was heard to its end.
    """

    def __init__(
        self,
        line: Line,
        agent: AgentClient,
        *,
        on_audible: Callable[[bool], None],
        on_heard: Callable[[], None],
    ) -> None:
        self._line = line
        self._agent = agent
        self._on_audible = on_audible
        self._on_heard = on_heard
        self._live: OrderedDict[str, Spoken] = OrderedDict()
        self._past: OrderedDict[str, Spoken] = OrderedDict()
        self._watchers: set[asyncio.Task[None]] = set()
        self._own = itertools.count(1)
        self.audible = False
        self.stretch: list[Spoken] = []

    def __bool__(self) -> bool:
        return bool(self._live)

    @property
    def interruptible(self) -> bool:
        """Whether the caller may cut in on all of it."""
        return all(spoken.interruptible for spoken in self._live.values())

    def of(self, reply: str) -> list[Spoken]:
        """The utterances of a reply that are not over."""
        return [spoken for spoken in self._live.values() if spoken.reply == reply]

    def reconnected(self) -> str:
        """Another connection names its utterances anew, maybe alike: those there are get other names.

        Returns what these begin with, names of replies too.
        """
        self._past.clear()
        mark = f"{BEFORE}{next(self._own)} "
        for spoken in self._live.values():
            if spoken.reply != OWN and not spoken.reply.startswith(BEFORE):
                spoken.item, spoken.reply = mark + spoken.item, mark + spoken.reply
        self._live = OrderedDict((spoken.item, spoken) for spoken in self._live.values())
        return mark

    def audio(self, reply: str, item: str, pcm: bytes, rate: int, *, interruptible: bool) -> None:
        """The next sound of an utterance."""
        spoken = self._find(reply, item, rate, interruptible)
        if spoken is not None:
            self._play(spoken, spoken.resampler.process(pcm))

    def text(self, reply: str, item: str, text: str, rate: int, *, interruptible: bool) -> None:
        """The next words of an utterance; they may come after its sound."""
        spoken = self._past.get(item) or self._find(reply, item, rate, interruptible)
        if spoken is None or spoken.was_cut:
            return
        span = spoken.span
        span.text += text
        span.expected = self._line.samples(len(span.text) * MS_PER_CHARACTER)
        spoken.message["content"] = span.text

    def own(self, text: str, speech: Sequence[Speech]) -> None:
        """Words that the model knows nothing of, with all their sound."""
        item = f"own{next(self._own)}"
        rate = speech[0].rate if speech else self._line.rate
        for piece in speech:
            self.audio(OWN, item, piece.pcm, rate, interruptible=True)
        self.text(OWN, item, text, rate, interruptible=True)
        self.end(item)

    def _find(self, reply: str, item: str, rate: int, interruptible: bool) -> Spoken | None:
        if item in self._past:
            return None  # cut off: what still comes of it is not said
        spoken = self._live.get(item)
        if spoken is None:
            message: Message = {"role": "assistant", "content": ""}
            self._agent.history.append(message)
            spoken = Spoken(reply, item, message, Resampler(rate, self._line.rate), interruptible)
            self._live[item] = spoken
            self.stretch.append(spoken)
        return spoken

    def _play(self, spoken: Spoken, pcm: bytes) -> None:
        if not pcm:
            return
        if spoken.start is None:
            spoken.start = self._line.queued
        try:
            self._line.play(pcm)
        except LineClosedError:
            return
        except MediaError as error:  # more than ten minutes ahead
            log.warning("a reply is too long: %s", error)
            return
        spoken.span.end = self._line.queued - spoken.start
        if not self.audible:
            self.audible = True
            self._on_audible(True)

    def end(self, item: str) -> None:
        """All sound of an utterance has come."""
        spoken = self._live.get(item)
        if spoken is None or spoken.span.complete:
            return
        spoken.span.complete = True
        if spoken.start is None:  # words without sound
            self._over(spoken)
            return
        self._play(spoken, spoken.resampler.flush())
        task = asyncio.ensure_future(self._until_heard(spoken))
        self._watchers.add(task)
        task.add_done_callback(self._watchers.discard)

    def end_reply(self, reply: str) -> None:
        """There will be no more of a reply."""
        for spoken in self.of(reply):
            self.end(spoken.item)

    async def _until_heard(self, spoken: Spoken) -> None:
        line = self._line
        mark = line.mark()
        paused = False
        while True:
            before = line.heard
            try:
                async with asyncio.timeout(line.ms(line.queued - before) / 1000 + STALL_S):
                    outcome = await mark
            except TimeoutError:
                if line.heard == before and (paused or not line.paused):
                    log.warning("sound that was played is not reported as heard")
                    break
                paused = line.paused  # the caller may be speaking; but not for ever
                continue
            if outcome == "heard":
                break
            return
        if not spoken.over:
            self._over(spoken)

    def _over(self, spoken: Spoken) -> None:
        spoken.over = True
        self._live.pop(spoken.item, None)
        self._past[spoken.item] = spoken
        if len(self._past) > MAX_PAST:
            self._past.popitem(last=False)
        if not self._live:
            self._silent()
        self._on_heard()

    def _silent(self) -> None:
        if self.audible:
            self.audible = False
            self._on_audible(False)
        self.stretch = []

    def report(self) -> dict[str, str]:
        """``reason``, ``heard`` and ``text`` of what was said since the sound began."""
        reason: EndReason = "finished"
        if self._line.closed.done():
            reason = "hangup"
        elif any(spoken.was_cut for spoken in self.stretch):
            reason = "interrupted"
        heard = " ".join(str(spoken.message["content"]).strip() for spoken in self.stretch).strip()
        text = " ".join(spoken.span.text.strip() for spoken in self.stretch).strip()
        return {"reason": reason, "heard": heard, "text": text}

    async def cut(self) -> list[tuple[str, int]]:
        """Silence within a frame. Returns how much was heard of each utterance, as (item, ms).

        The history holds what was heard, and nothing else.
        """
        cut = list(self._live.values())
        for spoken in cut:
            spoken.over = spoken.was_cut = True
        if not cut:
            return []
        position = await self._line.flush() if not self._line.closed.done() else self._line.heard
        return self._cut_at(position, cut)

    def _cut_at(self, position: int, cut: list[Spoken]) -> list[tuple[str, int]]:
        out: list[tuple[str, int]] = []
        for spoken in cut:
            start = spoken.start if spoken.start is not None else position
            played = min(max(0, position - start), spoken.span.end)
            heard = spoken.heard(position)
            spoken.message["content"] = heard
            if not heard and not spoken.message.get("tool_calls"):
                history = self._agent.history
                history[:] = [each for each in history if each is not spoken.message]
            self._live.pop(spoken.item, None)
            self._past[spoken.item] = spoken
            if spoken.reply != OWN and not spoken.reply.startswith(BEFORE):
                out.append((spoken.item, self._line.ms(played)))
        while len(self._past) > MAX_PAST:
            self._past.popitem(last=False)
        self._silent()
        return out

    async def close(self) -> None:
        """Leave nothing behind; what was not heard leaves the history."""
        for task in list(self._watchers):
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self._live:
            await self.cut()
