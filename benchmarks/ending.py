"""The end of a turn by its sound: right and wrong decisions with a model that hears it, and without."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.held_out import held_out
from benchmarks.report import Figure, percentile, progress
from benchmarks.turns import RATE, Run, _figure, _samples, _synthesise, _tallies
from benchmarks.utterances import Situation, situations
from voxtra.speech.smart_turn import SmartTurn, find_model
from voxtra.turns import LISTENING, TurnDetection

TITLE = (
    "the end of a turn by its sound (Smart Turn, where it is installed): decisions, and what a question costs"
)
RUNS = (
    Run("default", LISTENING),
    Run("default, and by sound", LISTENING, sound=True),
    Run("default, shortened too", LISTENING, sound=True, shorten=0.97),
    Run("no words", LISTENING, words=False),
    Run("no words, by sound", LISTENING, words=False, sound=True),
    Run("browser", TurnDetection.preset("browser")),
    Run("browser, and by sound", TurnDetection.preset("browser"), sound=True),
)


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Hesitations cut out of whole sentences, then everything that is said with pauses, then the cost."""
    if find_model() is None:
        progress("ending: left out: pip install --no-deps pipecat-ai brings the model")
        return []
    known = [each for each in [*situations(quick), *held_out(quick)] if each.kind == "turn"]
    breaths = [each for each in known if each.group == "hesitation"]
    apart = await _synthesise(known)
    context = multiprocessing.get_context("spawn")
    figures = []
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for name, todo, sounds in (
            ("one breath", breaths, apart | await _cut(breaths)),
            ("parts apart", known, apart),
        ):
            tallies = await _tallies(pool, todo, sounds, RUNS)
            figures += [
                _figure(f"{name}: {each.name}", each, tally)
                for each, tally in zip(RUNS, tallies, strict=True)
            ]
    return [*figures, await _cost(next(iter(apart.values())))]


async def _cut(todo: list[Situation]) -> dict[tuple[str, int], bytes]:
    """The parts of each sentence as they sound when it is said in one breath: the voice does not fall between.

    The cut is in the quietest place near to where the first part should end, by its share of the letters.
    """
    whole = [replace(each, parts=(" ".join(each.parts),)) for each in todo]
    sounds = await _synthesise(whole)
    found: dict[tuple[str, int], bytes] = {}
    for each, joined in zip(todo, whole, strict=True):
        first, second = each.parts
        sound = _samples(sounds[joined.parts[0], each.voice])
        near = len(sound) * (len(first) + 0.5) / len(joined.parts[0])
        places = np.arange(int(max(near - RATE * 0.15, 0)), int(near + RATE * 0.15))
        level = np.convolve(np.abs(sound), np.ones(160) / 160, "same")[places]
        at = int(places[np.argmin(level + np.abs(places - near) * 0.1)])
        head, tail = sound[:at].copy(), sound[at:].copy()
        head[-80:] *= np.linspace(1, 0, 80)
        tail[:80] *= np.linspace(0, 1, 80)
        found[first, each.voice], found[second, each.voice] = _pcm(head), _pcm(tail)
    return found


def _pcm(sound: Any) -> bytes:
    pcm: bytes = sound.astype("<i2").tobytes()
    return pcm


async def _cost(pcm: bytes) -> Figure:
    model = SmartTurn()
    await model.warm_up()
    took = []
    for _ in range(40):
        began = time.thread_time()
        model._ask(pcm, RATE)
        took.append((time.thread_time() - began) * 1000)
        await asyncio.sleep(0)
    return Figure(
        "CPU of one question",
        percentile(took, 0.5),
        "ms",
        note=f"p95 {percentile(took, 0.95):.0f} ms, one thread",
    )
