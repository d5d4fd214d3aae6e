"""Turn-taking without I/O: :class:`TurnDetection` has the settings, :class:`TurnMachine` decides."""

from voxtra.turns.machine import (
    BargeIn,
    Decision,
    Duck,
    Resume,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
    TurnMachine,
)
from voxtra.turns.settings import LISTENING, TurnDetection

__all__ = [
    "LISTENING",
    "BargeIn",
    "Decision",
    "Duck",
    "Resume",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "TurnDetection",
    "TurnDropped",
    "TurnEnded",
    "TurnMachine",
]
