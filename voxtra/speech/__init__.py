"""Speech: what STT, TTS, LLM and VAD are, and the engines that run on this machine.

Importing this package imports no engine; a provider loads what it needs when it is first used.
"""

from voxtra.speech.base import (
    LLM,
    STT,
    TTS,
    VAD,
    EndOfTurnModel,
    LLMEvent,
    Provider,
    Speech,
    SpeechStream,
    SpeechToSpeech,
    STTStream,
    TextDelta,
    ToolCall,
    Transcript,
    Usage,
    VADStream,
)
from voxtra.speech.batch import BatchSTT
from voxtra.speech.cache import CachedTTS
from voxtra.speech.fallback import Fallback
from voxtra.speech.local import LocalStack, load, load_as, local, local_stt, local_tts, local_vad
from voxtra.speech.pool import InferencePool, shared_pool

__all__ = [
    "LLM",
    "STT",
    "TTS",
    "VAD",
    "BatchSTT",
    "CachedTTS",
    "EndOfTurnModel",
    "Fallback",
    "InferencePool",
    "LLMEvent",
    "LocalStack",
    "Provider",
    "STTStream",
    "Speech",
    "SpeechStream",
    "SpeechToSpeech",
    "TextDelta",
    "ToolCall",
    "Transcript",
    "Usage",
    "VADStream",
    "load",
    "load_as",
    "local",
    "local_stt",
    "local_tts",
    "local_vad",
    "shared_pool",
]
