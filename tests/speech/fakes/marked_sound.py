"""Sound that says what it means: each word is a level of its own; a fake can tell what it was sent."""

import array
import struct
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

__all__ = ["VOCABULARY", "audioop", "frame", "hear", "say"]

VOCABULARY = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "yes",
    "no",
    "hello",
    "there",
    "please",
    "my",
    "order",
    "late",
    "thanks",
]
STEP = 1400
WORD_MS = 200
GAP_MS = 100


def frame(level: int, rate: int = 8000) -> bytes:
    return struct.pack("<h", level) * (rate // 50)


def say(text: str, rate: int = 8000) -> list[bytes]:
    """20 ms frames: 200 ms a word, 100 ms of silence after it."""
    frames = []
    for word in text.split():
        frames += [frame((VOCABULARY.index(word) + 1) * STEP, rate)] * (WORD_MS // 20)
        frames += [frame(0, rate)] * (GAP_MS // 20)
    return frames


def hear(pcm: bytes, rate: int = 8000) -> list[tuple[str, float, float]]:
    """(word, begin, end) in s, of every level that lasts 40 ms or more."""
    samples = array.array("h", pcm[: len(pcm) // 2 * 2])
    step = rate // 50
    words: list[tuple[str, float, float]] = []
    last, begin = 0, 0
    levels = [
        round(samples[min(at + step // 2, len(samples) - 1)] / STEP) for at in range(0, len(samples), step)
    ]
    for at, level in enumerate([*levels, 0]):
        if level == last:
            continue
        if last and at - begin >= 2:
            words.append((VOCABULARY[last - 1], begin * 0.02, at * 0.02))
        last, begin = level, at
    return words
