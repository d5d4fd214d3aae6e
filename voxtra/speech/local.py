"""The embedded default: everything a conversation needs, on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias, TypeVar

from pydantic import BaseModel

from voxtra.errors import ConfigurationError, MissingExtraError
from voxtra.speech.base import LLM, STT, TTS, VAD, EndOfTurnModel, Provider, SpeechToSpeech
from voxtra.speech.cache import CachedTTS
from voxtra.speech.settings import did_you_mean

Place: TypeAlias = tuple[str, str]
"""Module and class of a provider."""

PROVIDERS: dict[str, Place | dict[type[Provider], Place]] = {
    "whisper": ("voxtra.speech.whisper", "WhisperSTT"),
    "hibari": ("voxtra.speech.hibari", "HibariTTS"),
    "silero": ("voxtra.speech.silero", "SileroVAD"),
    "webrtc": ("voxtra.speech.webrtc", "WebRTCVAD"),
    "smart-turn": ("voxtra.speech.smart_turn", "SmartTurn"),
    "intents": ("voxtra.speech.intents", "IntentLLM"),
    "openai": {
        LLM: ("voxtra.speech.openai", "OpenAILLM"),
        STT: ("voxtra.speech.openai_speech", "OpenAISTT"),
        TTS: ("voxtra.speech.openai_speech", "OpenAITTS"),
        SpeechToSpeech: ("voxtra.speech.realtime", "OpenAIRealtime"),
    },
    "anthropic": ("voxtra.speech.anthropic", "AnthropicLLM"),
    "gemini": ("voxtra.speech.gemini", "GeminiLLM"),
    "deepgram": {
        STT: ("voxtra.speech.deepgram", "DeepgramSTT"),
        TTS: ("voxtra.speech.deepgram_voice", "DeepgramTTS"),
    },
    "deepgram-flux": ("voxtra.speech.deepgram", "DeepgramFluxSTT"),
    "openai-live": ("voxtra.speech.openai_live", "OpenAILiveSTT"),
    "elevenlabs": ("voxtra.speech.elevenlabs", "ElevenLabsTTS"),
    "cartesia": ("voxtra.speech.cartesia", "CartesiaTTS"),
}
"""Providers by the name they have in a configuration: module and class, imported when used. A name may mean a
class for each kind."""

LOCAL: dict[type[Provider], str] = {STT: "whisper", TTS: "hibari", VAD: "silero", LLM: "intents"}
"""What the name ``local`` means, by kind."""

P = TypeVar("P", STT, TTS, LLM, VAD, SpeechToSpeech, EndOfTurnModel)


def load(name: str, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> Provider:
    """The provider called ``name``, with the settings given.

    Args:
        name: one of :data:`PROVIDERS`, in any case; one that means several kinds is for :func:`load_as`.
        config: its settings, a mapping or a pydantic model.
        options: its settings, one by one.

    Raises:
        ConfigurationError: there is no such provider or setting.
        MissingExtraError: what it needs is not installed.
    """
    return _load(name, None, config, options)


def _load(
    name: str,
    kind: type[Provider] | None,
    config: BaseModel | Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Provider:
    key = name.strip().lower()
    if key not in PROVIDERS:
        raise ConfigurationError(f"there is no speech provider {name!r}{did_you_mean(key, PROVIDERS)}")
    place = PROVIDERS[key]
    if isinstance(place, dict):
        kinds = " or ".join(known.__name__ for known in place)
        if kind is None:
            first = next(iter(place)).__name__
            raise ConfigurationError(f"{name!r} is {kinds}: say which, as in load_as({first}, {name!r})")
        if kind not in place:
            raise ConfigurationError(f"{name!r} is {kinds}, no {kind.__name__} provider")
        place = place[kind]
    module, class_name = place
    make: Callable[..., Provider] = getattr(import_module(module), class_name)
    return make(config=config, **options)


def load_as(
    kind: type[P],
    source: str | BaseModel,
    config: BaseModel | Mapping[str, Any] | None = None,
    **options: Any,
) -> P:
    """A provider of one kind, by name or from an app's configuration.

    ``load_as(STT, "whisper")``, ``load_as(TTS, TTSConfig(provider="local"))``; the name ``local`` means the
    embedded default of that kind.

    Args:
        kind: STT, TTS, LLM, VAD, SpeechToSpeech or EndOfTurnModel.
        source: the name, or a model with a field ``provider``, which then is the ``config`` too.

    Raises:
        ConfigurationError: there is no such provider, or it is of another kind.
    """
    name = source if isinstance(source, str) else getattr(source, "provider", None)
    if not isinstance(name, str):
        raise ConfigurationError(f"{kind.__name__}: {type(source).__name__} does not name a provider")
    if not isinstance(source, str):
        config = source
    key = LOCAL.get(kind, name) if name.strip().lower() == "local" else name
    try:
        provider = _load(key, kind, config, options)
    except ConfigurationError as problem:
        if isinstance(problem, MissingExtraError):
            raise
        raise ConfigurationError(f"{kind.__name__}: {problem}") from None
    if not isinstance(provider, kind):
        raise ConfigurationError(f"{name!r} is no {kind.__name__} provider")
    return provider


_shared: dict[str, Provider] = {}


def _one(name: str) -> Provider:
    if name not in _shared:
        _shared[name] = load(name)
    return _shared[name]


def local_stt() -> STT:
    """Whisper tiny.en, one for the process."""
    provider = _one("whisper")
    assert isinstance(provider, STT)
    return provider


def local_tts() -> CachedTTS:
    """hibari's ``heart`` with a cache of what it has said, one for the process."""
    if "hibari+cache" not in _shared:
        plain = _one("hibari")
        assert isinstance(plain, TTS)
        _shared["hibari+cache"] = CachedTTS(plain)
    provider = _shared["hibari+cache"]
    assert isinstance(provider, CachedTTS)
    return provider


def local_vad(*, light: bool = False) -> VAD:
    """Silero, or WebRTC's detector where ``light`` says that cost matters more; one for the process."""
    provider = _one("webrtc" if light else "silero")
    assert isinstance(provider, VAD)
    return provider


class LocalStack(NamedTuple):
    """STT, TTS and VAD of this machine; and whatever LLM the app brings."""

    stt: STT
    tts: CachedTTS
    vad: VAD
    llm: LLM | None = None

    async def warm_up(self) -> None:
        """Load everything and make each one's first, slow call. Raises MissingExtraError."""
        await asyncio.gather(*(part.warm_up() for part in self if part is not None))


def local(llm: LLM | None = None, *, light_vad: bool = False) -> LocalStack:
    """The embedded default as one: ``stt, tts, vad, llm = local(IntentLLM(...))``."""
    return LocalStack(local_stt(), local_tts(), local_vad(light=light_vad), llm)
