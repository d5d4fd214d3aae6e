"""Turn-taking: right and wrong decisions over hundreds of situations, by settings."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks.held_out import held_out
from benchmarks.report import Figure, percentile, progress
from benchmarks.scene import RATE, Line, Scene
from benchmarks.utterances import LONG_TOO, Situation, situations
from voxtra.media.resample import resample
from voxtra.speech.hibari import HibariTTS
from voxtra.speech.silero import SileroVAD
from voxtra.speech.smart_turn import SmartTurn
from voxtra.speech.webrtc import WebRTCVAD
from voxtra.speech.whisper import WhisperSTT
from voxtra.turns import LISTENING, BargeIn, Duck, TurnDetection, TurnEnded

TITLE = "right and wrong decisions of turn-taking, by settings; also on phrases that no rule was written for"
WAIT_MS = 3500.0
"""A turn that is not decided so long after the last word is a missed end."""
OVER = ("interruption", "no interruption")
"""Kinds in which the agent speaks meanwhile."""
SOMEBODY_ELSE = (LONG_TOO, 2)
"""What is said, over and over, where somebody talks beside the caller; and whose voice it is."""
STOP_MS = 1500.0
"""An interruption that does not stop the agent within this time of its onset is missed."""
VOICES = ((1.0, 1.0), (1.12, 0.88), (1.0, 1.14), (1.06, 0.94))
"""Speed of the synthesis, and factor of the pitch, of each caller."""


@dataclass(frozen=True)
class Run:
    """One column of the comparison."""

    name: str
    settings: TurnDetection
    vad: str = "silero"
    words: bool = True
    guard: bool = True
    sound: bool = False
    shorten: float | None = None


RUNS = (
    Run("default", LISTENING),
    Run("default, no words", LISTENING, words=False),
    Run("default, no echo guard", LISTENING, guard=False),
    Run("default, WebRTC VAD", LISTENING, vad="webrtc"),
    Run("documented defaults", TurnDetection()),
    Run("pstn", TurnDetection.preset("pstn")),
    Run("pstn, no words", TurnDetection.preset("pstn"), words=False),
    Run("browser", TurnDetection.preset("browser")),
    Run("noisy", TurnDetection.preset("noisy")),
    Run("patient", TurnDetection.preset("patient")),
)
HELD_OUT = (RUNS[0], RUNS[1], RUNS[4], RUNS[5], RUNS[9])
"""The settings that are also tried on what no rule was tuned on."""


@dataclass
class Outcome:
    """What one situation came to under one set of settings."""

    group: str
    kind: str
    wrong: str = ""
    paused: bool = False
    end_ms: float | None = None
    barge_ms: float | None = None
    what: str = ""
    stopped_ms: float | None = None


@dataclass
class Tally:
    """What all situations came to."""

    outcomes: list[Outcome] = field(default_factory=list)

    def count(self, wrong: str) -> int:
        return sum(outcome.wrong == wrong for outcome in self.outcomes)

    def of(self, *kinds: str) -> int:
        return sum(outcome.kind in kinds for outcome in self.outcomes)

    @property
    def wrong(self) -> dict[str, dict[str, int]]:
        """Kinds of mistakes by group."""
        found: dict[str, Counter[str]] = {}
        for outcome in self.outcomes:
            if outcome.wrong:
                found.setdefault(outcome.wrong, Counter())[outcome.group] += 1
        return {wrong: dict(groups) for wrong, groups in found.items()}

    def delays(self, what: str, *groups: str) -> list[float]:
        found = [getattr(o, what) for o in self.outcomes if not groups or o.group in groups]
        return [delay for delay in found if delay is not None]


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Synthesise, play every situation under all settings in two processes, and count."""
    known, new = situations(quick), held_out(quick)
    runs, held = (RUNS[:2], HELD_OUT[:2]) if quick else (RUNS, HELD_OUT)
    sounds = await _synthesise([*known, *new])
    progress(
        f"turns: {len(known)} situations, {len(runs)} settings; {len(new)} held out, {len(held)} settings; "
        f"{len(sounds)} utterances"
    )
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        tuned = await _tallies(pool, known, sounds, runs)
        rest = await _tallies(pool, new, sounds, held)
    figures = [_figure(each.name, each, tally) for each, tally in zip(runs, tuned, strict=True)]
    figures[0].headline = "wrong decisions, phrases that rules were written for"
    others = [_figure(f"held out: {each.name}", each, tally) for each, tally in zip(held, rest, strict=True)]
    others[0].headline = "wrong decisions, phrases that no rule was written for"
    return figures + others


async def _tallies(
    pool: ProcessPoolExecutor,
    todo: list[Situation],
    sounds: dict[tuple[str, int], bytes],
    runs: tuple[Run, ...],
) -> list[Tally]:
    loop = asyncio.get_running_loop()
    halves = [loop.run_in_executor(pool, _measure, todo[part::2], sounds, runs) for part in (0, 1)]
    parts = await asyncio.gather(*halves)
    return [Tally([o for part in parts for o in part[number]]) for number in range(len(runs))]


def _figure(name: str, each: Run, tally: Tally) -> Figure:
    turns, stops, quiet = tally.of("turn"), tally.of("interruption"), tally.of("no interruption")
    wrong = sum(bool(outcome.wrong) for outcome in tally.outcomes)
    ends = tally.delays("end_ms", "sentence", "short answer")
    answers = tally.delays("end_ms", "yes or no")
    barges = tally.delays("barge_ms")
    note = (
        f"cut-offs {tally.count('cut off')}, missed ends {tally.count('missed end')} of {turns}; "
        f"false barge-ins {tally.count('false barge-in')} of {quiet}, missed {tally.count('missed barge-in')} "
        f"of {stops}; false turns {tally.count('false turn')} of {tally.of('no turn')}; end of turn "
        f"{_spread(ends)} ms, of a yes or no {_spread(answers)}; pause, barge-in "
        f"{_spread(tally.delays('stopped_ms'))}, {_spread(barges)}"
    )
    details: dict[str, Any] = {
        "situations": len(tally.outcomes),
        "wrong": tally.wrong,
        "mistakes": [f"{o.wrong}: {o.group}: {o.what}" for o in tally.outcomes if o.wrong],
        "groups": dict(Counter(outcome.group for outcome in tally.outcomes)),
        "held_back": sum(o.paused for o in tally.outcomes if o.kind == "no interruption"),
        "settings": each.settings.model_dump(),
        "vad": each.vad,
        "words": each.words,
        "echo_guard": each.guard,
        "end_ms": {"p50": percentile(ends, 0.5), "p95": percentile(ends, 0.95)} if ends else {},
    }
    return Figure(name, wrong, f"wrong of {len(tally.outcomes)}", note=note, digits=0, details=details)


def _spread(values: list[float]) -> str:
    return f"{percentile(values, 0.5):.0f}/{percentile(values, 0.95):.0f}" if values else "–"


# ---- sound


async def _synthesise(todo: list[Situation]) -> dict[tuple[str, int], bytes]:
    """Every text in the voice it is wanted in, 8 kHz."""
    wanted = {(part, s.voice) for s in todo for part in s.parts}
    wanted |= {(s.asked, 0) for s in todo if s.kind in OVER} | {SOMEBODY_ELSE}
    found = {}
    for text, voice in sorted(wanted):
        speed, pitch = VOICES[voice]
        pcm, rate = b"", 24000
        async for speech in HibariTTS(speed=speed).synthesize(text):
            pcm, rate = pcm + speech.pcm, speech.rate
        # Played quicker it is higher: another person, as far as a voice detector is concerned.
        found[text, voice] = resample(pcm, int(rate * pitch) // 100 * 100, RATE)
    return found


def _samples(pcm: bytes) -> Any:
    sound = np.frombuffer(pcm, "<i2").astype(np.float32)
    loud = np.flatnonzero(np.abs(sound) > 150)
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound


def _noise(kind: str, number: int) -> Any:
    """Sounds that are nobody's words."""
    random = np.random.default_rng(number)
    if kind == "cough":
        bursts = []
        for length in (0.16, 0.22):
            size = int(RATE * length)
            burst = np.convolve(random.normal(0, 1, size), np.ones(3) / 3, "same")
            bursts += [burst * np.exp(-np.arange(size) / (RATE * 0.05)) * 9000, np.zeros(int(RATE * 0.09))]
        return np.concatenate(bursts).astype(np.float32)
    if kind == "knock":
        one = np.exp(-np.arange(1200) / 160) * np.sin(2 * np.pi * 180 * np.arange(1200) / RATE) * 14000
        return np.concatenate([one, np.zeros(1600), one, np.zeros(1600), one]).astype(np.float32)
    out = np.zeros(RATE * 2)  # typing
    for at in random.integers(0, RATE * 2 - 200, 14):
        out[at : at + 120] += random.normal(0, 3500, 120) * np.exp(-np.arange(120) / 30)
    return out.astype(np.float32)


def _babble(sounds: dict[tuple[str, int], bytes], level_db: float, number: int) -> Any:
    """Four people talk in the background."""
    texts = sorted(sounds)
    random = np.random.default_rng(number)
    mix = np.zeros(RATE * 12, np.float32)
    for _ in range(4):
        at = 0
        while at < len(mix):
            sound = _samples(sounds[texts[int(random.integers(len(texts)))]])[: len(mix) - at]
            mix[at : at + len(sound)] += sound
            at += len(sound) + int(random.integers(800, 4000))
    wanted = 32768 * 10 ** ((-20 + level_db) / 20)
    return mix * (wanted / float(np.sqrt(np.mean(mix**2))))


# ---- one process


def _measure(
    todo: list[Situation], sounds: dict[tuple[str, int], bytes], runs: tuple[Run, ...]
) -> list[list[Outcome]]:
    stt = WhisperSTT()
    known: dict[bytes, str] = {}
    ended: dict[bytes, float] = {}
    model = SmartTurn() if any(each.sound for each in runs) else None

    def finished(pcm: bytes) -> float:
        assert model is not None
        if pcm not in ended:
            ended[pcm] = model._ask(pcm, RATE)
        return ended[pcm]

    def hear(pcm: bytes) -> str:
        key = hashlib.blake2b(pcm, digest_size=16).digest()
        if key not in known:
            known[key] = stt._transcribe(pcm, RATE).text
        return known[key]

    return [
        [_play(situation, number, sounds, each, hear, finished) for number, situation in enumerate(todo)]
        for each in runs
    ]


@lru_cache
def _vad(name: str) -> Any:
    return SileroVAD() if name == "silero" else WebRTCVAD()


def _play(
    situation: Situation,
    number: int,
    sounds: dict[tuple[str, int], bytes],
    each: Run,
    hear: Callable[[bytes], str],
    finished: Callable[[bytes], float],
) -> Outcome:
    caller, at = [], situation.at_ms
    began = last_began = ended = at
    for part in situation.parts:
        sound = _samples(sounds[part, situation.voice]) * 10 ** (situation.level_db / 20)
        caller.append((at, sound))
        last_began, ended = at, at + 1000 * len(sound) / RATE
        at = ended + situation.pause_ms
    line = Line(situation.echo_db, situation.delay_ms, situation.noise_db)
    if situation.beside_db is not None:
        line.babble = _samples(sounds[SOMEBODY_ELSE]) * 10 ** (
            (situation.beside_db + situation.level_db) / 20
        )
    if situation.sound == "babble":
        line.babble = _babble(sounds, situation.level_db, number)
    elif situation.sound:
        caller.append((situation.at_ms, _noise(situation.sound, number)))
    over = situation.kind in OVER
    agent = np.frombuffer(sounds[situation.asked, 0], "<i2").astype(np.float32) if over else None
    scene = Scene(
        each.settings, _vad(each.vad), caller, agent, situation.asked, line,
        rules=each.words, guard=each.guard, stt=hear, ending=finished if each.sound else None,
        shorten_from=each.shorten,
    ).run()  # fmt: skip
    return _judge(situation, scene, began, last_began, ended)


def _judge(situation: Situation, scene: Scene, began: float, last_began: float, ended: float) -> Outcome:
    found = Outcome(situation.group, situation.kind, what=" | ".join(situation.parts) or situation.sound)
    turns = [at for at, decision in scene.log if isinstance(decision, TurnEnded)]
    barges = [at for at, decision in scene.log if isinstance(decision, BargeIn)]
    ducks = [at for at, decision in scene.log if isinstance(decision, Duck)]
    found.paused = bool(ducks)
    if situation.kind == "turn":
        if any(at < last_began + 100 for at in turns):
            found.wrong = "cut off"
        elif not any(at <= ended + WAIT_MS for at in turns):
            found.wrong = "missed end"
        else:
            found.end_ms = turns[0] - ended
    elif situation.kind == "interruption":
        late = next((at for at in barges if at >= began), None)
        if any(at < began for at in barges):
            found.wrong = "false barge-in"
        elif late is None or late > began + STOP_MS:
            found.wrong = "missed barge-in"
        else:
            found.barge_ms = late - began
            found.stopped_ms = next((at for at in ducks if began <= at <= late), late) - began
    elif situation.kind == "no interruption":
        found.wrong = "false barge-in" if barges else ""
    elif turns:
        found.wrong = "false turn"
    return found
