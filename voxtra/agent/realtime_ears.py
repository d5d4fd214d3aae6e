"""The caller's turns for a model that hears them itself: no words are made of them here."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from voxtra.agent.client import AgentClient
from voxtra.media.line import FRAME_MS
from voxtra.speech.base import STT, STTStream, Transcript
from voxtra.types import Message

SPOKEN = "(speech)."
"""Stands for the words of a turn, which only the model knows."""
MAX_NAMED = 32
"""Turns whose words may still come; of older ones they no longer matter."""
MAX_TURN_S = 60
"""Sound of one turn that is kept, s; the oldest goes."""


class Turns(STT):
    """Stands where a recogniser does, and hands the caller's sound on.

    Args:
        whole: True when every frame is to be handed on, False for those of turns alone.
        heard: takes the sound, with what was said right before a turn began.
    """

    name = "turns"

    def __init__(self, heard: Callable[[bytes], None], *, whole: bool) -> None:
        self._heard = heard
        self._whole = whole
        self.stream: TurnStream | None = None

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """One call's turns."""
        self.stream = TurnStream(self._heard, on_transcript, whole=self._whole)
        return self.stream


class TurnStream(STTStream):
    """One call's turns.

    Attributes:
        speaking: True from a turn's begin to its end.
        sound: what was handed on of the turn under way, or of the one that has just ended.
    """

    def __init__(
        self, heard: Callable[[bytes], None], told: Callable[[Transcript], None], *, whole: bool
    ) -> None:
        self._heard = heard
        self._told = told
        self._whole = whole
        self._before: deque[bytes] = deque(maxlen=10)
        self.speaking = False
        self.sound: deque[bytes] = deque(maxlen=MAX_TURN_S * 1000 // FRAME_MS)

    def keep_before(self, ms: int) -> None:
        """How much sound from before ``speech_started`` belongs to the turn, ms."""
        # A detector needs a few frames before it is sure: they come on top.
        self._before = deque(self._before, maxlen=ms // FRAME_MS + 5)

    def push(self, pcm: bytes) -> None:
        """The next 20 ms."""
        if self.speaking:
            self._on(pcm)
            return
        self._before.append(pcm)
        if self._whole:
            self._heard(pcm)

    def _on(self, pcm: bytes) -> None:
        self.sound.append(pcm)
        self._heard(pcm)

    def speech_started(self) -> None:
        """A turn begins, or goes on."""
        if self.speaking:
            return
        self.speaking = True
        self.sound.clear()
        self.sound.extend(self._before)
        if not self._whole:
            for pcm in self._before:
                self._heard(pcm)
        self._before.clear()

    def speech_stopped(self) -> None:
        """The caller paused: what was said is for the model to know."""
        self._told(Transcript(SPOKEN, is_final=True))

    def next_turn(self) -> None:
        """The turn is over."""
        self.speaking = False

    async def close(self) -> None:
        """Nothing to close."""


class CallerWords:
    """The caller's turns in the history: there at once, their words when the model has written them down.

    Args:
        agent: whose history it is.
        said: called with the words of a turn, once they are known.
    """

    def __init__(self, agent: AgentClient, said: Callable[[str], None]) -> None:
        self._agent = agent
        self._said = said
        self._unnamed: deque[Message] = deque()
        self._named: OrderedDict[str, Message] = OrderedDict()

    def begin(self) -> Message:
        """A turn of the caller has ended; its place in the history."""
        message: Message = {"role": "user", "content": ""}
        self._agent.history.append(message)
        return message

    def sent(self, message: Message) -> None:
        """It was sent to the model, which will name it."""
        self._unnamed.append(message)

    def taken(self, item: str) -> None:
        """The model has taken the oldest turn that has no name; "" = it was too short for it."""
        message = self._unnamed.popleft() if self._unnamed else None
        if not item:
            if message is not None:
                self._forget(message)
            return
        self._named[item] = message if message is not None else self.begin()
        if len(self._named) > MAX_NAMED:
            self._named.popitem(last=False)

    def known(self, item: str, text: str) -> None:
        """The words of a turn; "" = nobody knows them."""
        message = self._named.pop(item, None)
        if message is None:
            return
        if text:
            message["content"] = text
            self._said(text)
        else:
            self._forget(message)

    def reconnected(self) -> None:
        """Another connection: names of the one before mean nothing any more."""
        self._unnamed.clear()
        self._named.clear()

    def close(self, keep: Message | None) -> None:
        """Turns whose words nobody will know any more leave the history; but not ``keep``."""
        for message in [*self._unnamed, *self._named.values()]:
            if message is not keep and not message["content"]:
                self._forget(message)
        self.reconnected()

    def _forget(self, message: Message) -> None:
        history = self._agent.history
        history[:] = [each for each in history if each is not message]
