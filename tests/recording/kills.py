"""Kills a process again and again at random moments, and keeps what it told until then."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine


def kill_again_and_again(
    work: Callable[[int, int], Coroutine[None, None, None]],
    *,
    runs: int,
    seed: int,
    lives_s: tuple[float, float],
) -> list[list[str]]:
    """Fork ``runs`` times, and kill each child after a random time.

    Args:
        work: what a child does until it is killed: of the run's number and a descriptor to write lines to.
        lives_s: the shortest and the longest life, in s.

    Returns:
        The words of each line that was told.
    """
    chance = random.Random(seed)
    told: list[list[str]] = []
    for run in range(runs):
        near, far = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(near)
            try:
                asyncio.run(work(run, far))
            finally:
                os._exit(1)
        os.close(far)
        time.sleep(chance.uniform(*lives_s))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("the child ended by itself")
        with os.fdopen(near) as lines:
            told += [line.split() for line in lines.read().splitlines()]
    return told
