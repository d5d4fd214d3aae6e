"""One situation on a telephone line, 20 ms at a time on a clock that is only counted.

The real voice detector, turn machine, text rules and echo guard; the agent's sound is paused, resumed and
thrown away as they decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from voxtra.media.codecs import ULaw
from voxtra.speech.base import VAD
from voxtra.turns import (
    BargeIn,
    Decision,
    Duck,
    Resume,
    SoundRules,
    SpeechPaused,
    SpeechResumed,
    TextRules,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnMachine,
)
from voxtra.turns.echo import EchoGuard, levels_of
from voxtra.turns.foreground import Foreground

RATE = 8000
FRAME = 160
FRAME_MS = 20
PREROLL = 15
"""Frames before speech was noticed that the recogniser gets."""


@dataclass(slots=True)
class Line:
    """What lies between the two.

    Attributes:
        echo_db: level of the agent's echo, None = there is none.
        delay_ms: its delay.
        noise_db: level of the noise on the caller's side, dBFS.
    """

    echo_db: float | None = None
    delay_ms: int = 120
    noise_db: float = -70.0
    babble: Any = None


@dataclass(slots=True)
class Scene:
    """A situation, and what came of it.

    Attributes:
        caller: (ms, sound) of what the caller says; sound as float32 samples of 16 bit.
        agent: what the agent says meanwhile, from 0 ms on; empty when it is silent.
        said: its words.
        stt: words of a sound; None takes ``heard_as`` for them.
        log: (ms, decision) of all that was decided.
    """

    settings: TurnDetection
    vad: VAD
    caller: Sequence[tuple[float, Any]] = ()
    agent: Any = None
    said: str = ""
    line: Line = field(default_factory=Line)
    rules: bool = True
    guard: bool = True
    stt: Callable[[bytes], str] | None = None
    stt_ms: float = 150.0
    partial_ms: float = 700.0
    """A partial transcript after each so much speech over the agent."""
    ending: Callable[[bytes], float] | None = None
    """Hears whether the caller has finished, and takes 40 ms for it."""
    shorten_from: float | None = None
    length_ms: float = 0.0
    log: list[tuple[float, Decision]] = field(default_factory=list)
    paused_ms: float = 0.0
    """How long the agent was held back."""
    agent_ended: bool = False

    def run(self) -> Scene:
        """Play it through."""
        end = max([at + 1000 * len(pcm) / RATE for at, pcm in self.caller], default=0.0) + 5000
        if self.agent is not None:
            end = max(end, 1000 * len(self.agent) / RATE + 1500)
        total = int((self.length_ms or end) / FRAME_MS)
        _Run(self, total).play()
        return self


class _Run:
    def __init__(self, scene: Scene, frames: int) -> None:
        self.scene = scene
        self.frames = frames
        self.guard = EchoGuard()
        self.foreground = Foreground()
        self.rules = TextRules(
            asked=lambda: scene.said, echo=lambda text: self.guard.is_own(text, scene.said)
        )
        self.machine = TurnMachine(
            scene.settings,
            endpoint=self.rules if scene.rules else None,
            over_agent=self.rules.over_agent if scene.rules else None,
            sound=SoundRules(shorten_from=scene.shorten_from),
        )
        self.vad = scene.vad.open(rate=RATE)
        self.ulaw = ULaw()
        self.track = self._track()
        self.sent = np.zeros(frames * FRAME, np.float32)
        self.at = 0
        """Next sample of the agent's sound."""
        self.playing = scene.agent is not None
        self.held = False
        self.ear: deque[bytes] = deque(maxlen=PREROLL)
        self.sound = bytearray()
        self.collecting = False
        self.due: float | None = None
        self.partial_at = 0.0
        self.ending: tuple[float, float] | None = None

    def _track(self) -> Any:
        scene = self.scene
        random = np.random.default_rng(len(scene.caller) + self.frames)
        track = random.normal(0, 32768 * 10 ** (scene.line.noise_db / 20), self.frames * FRAME).astype(
            np.float32
        )
        if scene.line.babble is not None:
            track += np.resize(scene.line.babble, len(track))
        for at, pcm in scene.caller:
            begin = int(at * RATE / 1000)
            pcm = pcm[: max(0, len(track) - begin)]
            track[begin : begin + len(pcm)] += pcm
        return track

    def play(self) -> None:
        scene = self.scene
        if self.playing:
            self._act(self.machine.agent_audible(True, 0.0), 0.0)
            if scene.guard:
                self.guard.played(levels_of(scene.agent.astype("<i2").tobytes(), FRAME * 2))
        for number in range(self.frames):
            now = number * FRAME_MS + FRAME_MS
            self._send(number, now)
            pcm = self._receive(number)
            probability = self.vad.push(pcm)
            if scene.guard:
                level = levels_of(pcm, FRAME * 2)[0]
                probability = self.guard.hear(probability, level, now)
                learn = not self.guard.beside_agent
                probability = self.foreground.hear(probability, level, learn=learn)
            self._hear(pcm)
            self._act(self.machine.frame(probability, now), now)
            if self.due is not None and now >= self.due:
                self.due = None
                text = scene.stt(bytes(self.sound)) if scene.stt else "I would like a table please."
                self._act(self.machine.transcript(text, 0.9, True, now), now)
            self._partial(now)
            if self.ending is not None and now >= self.ending[0]:
                probability, self.ending = self.ending[1], None
                self._act(self.machine.sounded(probability, now), now)

    def _partial(self, now: float) -> None:
        """What the recogniser has so far, while it matters: over the agent, which is paused."""
        length = len(self.sound) * 1000 / RATE / 2
        if not (self.scene.stt and self.held and self.collecting) or length < self.partial_at:
            return
        self.partial_at = length + self.scene.partial_ms
        self._act(self.machine.transcript(self.scene.stt(bytes(self.sound)), 0.5, False, now), now)

    def _send(self, number: int, now: float) -> None:
        if not self.playing:
            return
        if self.held:
            self.scene.paused_ms += FRAME_MS
            return
        frame = self.scene.agent[self.at : self.at + FRAME]
        self.sent[number * FRAME : number * FRAME + len(frame)] = frame
        self.at += FRAME
        if self.at >= len(self.scene.agent):
            self.playing = False
            self.scene.agent_ended = True
            self._act(self.machine.agent_audible(False, now), now)

    def _receive(self, number: int) -> bytes:
        begin = number * FRAME
        frame = self.track[begin : begin + FRAME].copy()
        line = self.scene.line
        if line.echo_db is not None:
            gain = 10 ** (line.echo_db / 20)
            for tap, share in ((0, 0.8), (11, 0.45), (37, 0.3), (90, 0.2)):  # a room, a handset
                source = begin - int(line.delay_ms * RATE / 1000) - tap
                if source >= 0:
                    frame += gain * share * self.sent[source : source + FRAME]
        pcm: bytes = np.clip(frame, -32768, 32767).astype("<i2").tobytes()
        return self.ulaw.decode(self.ulaw.encode(pcm))

    def _hear(self, pcm: bytes) -> None:
        if self.collecting:
            self.sound += pcm
        else:
            self.ear.append(pcm)

    def _act(self, decisions: Sequence[Decision], now: float) -> None:
        for decision in decisions:
            self.scene.log.append((now, decision))
            kind = type(decision).__name__
            if kind in ("SpeechStarted", "SpeechResumed"):
                self.collecting, self.due, self.ending = True, None, None
                if kind == "SpeechStarted":
                    self.partial_at = self.scene.partial_ms
                self.sound += b"".join(self.ear)
                self.ear.clear()
            elif isinstance(decision, SpeechPaused):
                self.collecting, self.due = False, now + self.scene.stt_ms
                if self.scene.ending is not None:
                    self.ending = now + 40, self.scene.ending(bytes(self.sound))
            elif isinstance(decision, Duck):
                self.held = True
                self.guard.paused()
            elif isinstance(decision, Resume):
                self.held = False
                self.guard.resumed()
            elif isinstance(decision, BargeIn):
                self.playing = self.held = False
                self.guard.flushed()
            elif isinstance(decision, TurnEnded | TurnDropped):
                self.sound.clear()
                self.due = None


__all__ = ["FRAME", "RATE", "Line", "Scene", "SpeechResumed"]
