"""A telephone line with an echo, 20 ms at a time: the agent's sound is paused and thrown away as the machine says.

Levels stand in for sound in the unit tests; real voices go through μ-law and a real detector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxtra.media.codecs import ULaw
from voxtra.speech.base import VAD
from voxtra.turns import BargeIn, Decision, Duck, Resume, TurnDetection, TurnMachine
from voxtra.turns.echo import EchoGuard, levels_of

FRAME = 160
Sound = NDArray[np.float32]


def play(
    agent: Sound,
    caller: Sound | None,
    vad: VAD,
    *,
    echo_db: float | None,
    delay_ms: int,
    caller_at_ms: float = 0,
    guarded: bool = True,
    settings: TurnDetection | None = None,
) -> list[tuple[float, Decision]]:
    """What is decided while the agent speaks on an echoing line, by time in ms."""
    guard, machine = EchoGuard(), TurnMachine(settings or TurnDetection())
    detector, ulaw = vad.open(rate=8000), ULaw()
    frames = len(agent) // FRAME + 75
    track = np.random.default_rng(1).normal(0, 15, frames * FRAME)
    if caller is not None:
        begin = int(caller_at_ms * 8)
        track[begin : begin + len(caller)] += caller[: len(track) - begin]
    sent = np.zeros(frames * FRAME)
    log: list[tuple[float, Decision]] = []
    at, playing, held = 0, True, False

    def act(decisions: Sequence[Decision], now: float) -> None:
        nonlocal playing, held
        for decision in decisions:
            log.append((now, decision))
            if isinstance(decision, Duck):
                held = True
                guard.paused()
            elif isinstance(decision, Resume):
                held = False
                guard.resumed()
            elif isinstance(decision, BargeIn):
                playing = held = False
                guard.flushed()

    act(machine.agent_audible(True, 0), 0)
    guard.played(levels_of(agent.astype("<i2").tobytes(), FRAME * 2))
    for number in range(frames):
        now, here = 20.0 * (number + 1), number * FRAME
        if playing and not held:
            piece = agent[at : at + FRAME]
            sent[here : here + len(piece)] = piece
            at += FRAME
            if at >= len(agent):
                playing = False
                act(machine.agent_audible(False, now), now)
        frame = track[here : here + FRAME].copy()
        if echo_db is not None:
            for tap, share in ((0, 0.8), (11, 0.45), (37, 0.3), (90, 0.2)):  # a room, a handset
                source = here - delay_ms * 8 - tap
                if source >= 0:
                    frame += 10 ** (echo_db / 20) * share * sent[source : source + FRAME]
        pcm = ulaw.decode(ulaw.encode(np.clip(frame, -32768, 32767).astype("<i2").tobytes()))
        probability = detector.push(pcm)
        if guarded:
            probability = guard.hear(probability, levels_of(pcm, FRAME * 2)[0], now)
        act(machine.frame(probability, now), now)
    return log
