"""Turn-taking without I/O: :class:`TurnDetection` has the settings, :class:`TurnMachine` decides."""

from voxtra.turns.decisions import (
    BargeIn,
    Decision,
    Duck,
    LikelyEnd,
    LikelyEndWithdrawn,
    Resume,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    TurnDropped,
    TurnEnded,
    TurnExtended,
)
from voxtra.turns.endpoint import Endpoint, Expect, TextRules
from voxtra.turns.machine import EndpointPolicy, OverAgent, TurnMachine
from voxtra.turns.settings import LISTENING, TurnDetection
from voxtra.turns.sound import SoundRules

__all__ = [
    "LISTENING",
    "BargeIn",
    "Decision",
    "Duck",
    "Endpoint",
    "EndpointPolicy",
    "Expect",
    "LikelyEnd",
    "LikelyEndWithdrawn",
    "OverAgent",
    "Resume",
    "SoundRules",
    "SpeechPaused",
    "SpeechResumed",
    "SpeechStarted",
    "TextRules",
    "TurnDetection",
    "TurnDropped",
    "TurnEnded",
    "TurnExtended",
    "TurnMachine",
]
