"""What an app is made of by its settings: speech."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from voxtra import VoxtraApp
from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError
from voxtra.parts import load_speech
from voxtra.speech.base import LLM, STT, TTS, VAD, EndOfTurnModel, SpeechToSpeech
from voxtra.speech.realtime import OpenAIRealtime
from voxtra.speech.smart_turn import SmartTurn

NONE: dict[type[Any], Any] = dict.fromkeys((STT, TTS, LLM, VAD, SpeechToSpeech, EndOfTurnModel))


async def loaded(settings: VoxtraConfig, **given: Any) -> tuple[Any, Any]:
    async with contextlib.AsyncExitStack() as resources:
        speech, _, realtime = load_speech(NONE | given, settings, resources)
    return speech, realtime


async def test_a_realtime_model_from_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "voxtra.yaml"
    file.write_text(
        "realtime: {provider: openai, model: m, voice: cedar, options: {turn_detection: server_vad}}\n"
        "end_of_turn: {provider: smart-turn, options: {model: /models/turn.onnx}}\n"
        "speech: {language: de-AT}\n"
    )
    settings = VoxtraConfig.load(file=file, env={"VOXTRA_REALTIME_API_KEY": "hunter2"})
    assert "hunter2" not in str(settings)
    speech, model = await loaded(settings)
    assert isinstance(model, OpenAIRealtime)
    assert (model.settings.model, model.settings.voice, model.ends_turns) == ("m", "cedar", True)
    assert isinstance(speech.end_of_turn, SmartTurn)
    assert speech.end_of_turn.settings.model == "/models/turn.onnx"
    assert speech.language == "de-AT"


async def test_and_from_the_environment() -> None:
    env = {
        "VOXTRA_REALTIME_PROVIDER": "openai",
        "VOXTRA_REALTIME_API_KEY": "k",
        "VOXTRA_SPEECH_LANGUAGE": "fr",
    }
    speech, model = await loaded(VoxtraConfig.load(env=env))
    assert isinstance(model, OpenAIRealtime)
    assert (speech.language, speech.end_of_turn) == ("fr", None)


async def test_what_is_given_to_the_app_is_above_its_settings() -> None:
    own = SmartTurn("mine.onnx")
    env = {"VOXTRA_END_OF_TURN_PROVIDER": "smart-turn"}
    async with contextlib.AsyncExitStack() as resources:
        speech, *_ = load_speech(NONE | {EndOfTurnModel: own}, VoxtraConfig.load(env=env), resources)
    assert speech.end_of_turn is own
    assert VoxtraApp(language="es").settings.speech.language == "es"


@pytest.mark.parametrize("tag", ["german!", "d", "de--AT", ""])
def test_a_language_that_is_none_is_refused(tag: str) -> None:
    with pytest.raises(ConfigurationError, match=r"speech\.language"):
        VoxtraConfig.load(env={}, keywords={"speech.language": tag})


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="end_of_turn=3"):
        VoxtraApp(end_of_turn=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"realtime\.langauge"):
        VoxtraConfig.load(env={}, keywords={"realtime.provider": "openai", "realtime.langauge": "de"})
