import subprocess
import sys

import pytest
from pydantic import BaseModel

from voxtra.errors import ConfigurationError, MissingExtraError
from voxtra.speech import LLM, STT, TTS, VAD, load, load_as, local, local_stt, local_tts, local_vad
from voxtra.speech.hibari import HibariSettings, HibariTTS
from voxtra.speech.webrtc import WebRTCSettings, WebRTCVAD
from voxtra.speech.whisper import WhisperSTT


class AppConfig(BaseModel):
    """Like the app's own configuration of a provider."""

    provider: str
    voice: str | None = None
    language: str | None = None
    api_key: str | None = None
    system_prompt: str | None = None
    options: dict = {}


@pytest.mark.proves("providers take keywords or a config object")
@pytest.mark.parametrize("config", [{"mode": 1, "frames": 2}, WebRTCSettings(mode=1, frames=2)])
def test_settings_come_as_mapping_object_or_keywords(config):
    wanted = WebRTCSettings(mode=1, frames=2)
    assert WebRTCVAD(config).settings == WebRTCVAD(config=config).settings == wanted
    assert WebRTCVAD(mode=1, frames=2).settings == wanted
    assert WebRTCVAD(config, frames=5).settings == WebRTCSettings(mode=1, frames=5)


def test_providers_are_made_from_the_apps_configuration():
    tts = load_as(TTS, AppConfig(provider="local", voice="heart", options={"speed": 1.5}, system_prompt="Hi"))
    assert isinstance(tts, HibariTTS)
    assert tts.settings == HibariSettings(speed=1.5)
    assert isinstance(load_as(STT, "local"), WhisperSTT)
    assert load_as(VAD, " Silero ").name == "silero"
    assert load_as(LLM, "intents", fallback="What?").name == "intents"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: load("wisper"), "no speech provider 'wisper': did you mean 'whisper'"),
        (lambda: load("nonsense"), "no speech provider 'nonsense': it knows anthropic, cartesia, deepgram"),
        (lambda: load("deepgram"), "'deepgram' is STT or TTS: say which, as in load_as(STT, 'deepgram')"),
        (lambda: load_as(LLM, "deepgram"), "LLM: 'deepgram' is STT or TTS, no LLM provider"),
        (lambda: load_as(STT, "elevenlabs", api_key="k"), "'elevenlabs' is no STT provider"),
        (lambda: load_as(STT, "hibari"), "'hibari' is no STT provider"),
        (
            lambda: load_as(STT, AppConfig(provider="local", api_key="x")),
            "STT: WhisperSTT has no option 'api_key'",
        ),
        (
            lambda: load_as(STT, AppConfig(provider="local", language="de-DE")),
            "hears English only, not 'de-DE'",
        ),
        (lambda: load_as(TTS, "local", language="de"), "speaks English only"),
        (lambda: load("webrtc", mode=7), "WebRTCVAD: mode = 7: Input should be less than or equal to 3"),
        (lambda: load("webrtc", "aggressive"), "the config is a str"),
        (lambda: load("silero", max_rate=11025), "max_rate = 11025: it must be 8000 or 16000"),
        (lambda: load("webrtc").open(rate=11025), "rate = 11025"),
        (lambda: load("silero").open(rate=44100), "rate = 44100"),
    ],
)
def test_a_wrong_setting_is_named_with_the_mend(make, words):
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert words in str(caught.value)


def test_the_local_stack_is_one_for_the_process():
    stack = local()
    assert stack.stt is local_stt()
    assert stack.tts is local_tts()
    assert stack.vad is local_vad()
    assert stack.vad is not local_vad(light=True)
    assert stack.llm is None


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("ctranslate2", lambda: WhisperSTT(model=None).warm_up()),
        ("hibari.voices", lambda: HibariTTS().warm_up()),
        ("onnxruntime", lambda: load("silero").warm_up()),
        ("rapidfuzz", lambda: load("intents", intents={"a": {"examples": ["b"], "reply": "c"}}).match("d")),
    ],
)
async def test_a_missing_extra_names_the_command(monkeypatch, package, use):
    from voxtra.speech import hibari, silero, whisper

    whisper._engine.cache_clear()
    silero._session.cache_clear()
    monkeypatch.setattr(hibari, "_voices", hibari._Voices())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voxtra\[local\]'"):
        await use()


@pytest.mark.parametrize(
    ("kind", "name", "package"),
    [
        (LLM, "openai", "openai"),
        (STT, "openai", "openai"),
        (TTS, "openai", "openai"),
        (STT, "deepgram", "deepgram"),
        (STT, "deepgram-flux", "deepgram"),
        (TTS, "deepgram", "deepgram"),
        (TTS, "elevenlabs", "elevenlabs.client"),
        (TTS, "cartesia", "cartesia"),
        (TTS, "cartesia", "websockets.asyncio.client"),
    ],
)
def test_a_providers_sdk_is_an_extra(monkeypatch, kind, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    extra = name.removesuffix("-flux")
    with pytest.raises(MissingExtraError, match=rf"pip install 'voxtra\[{extra}\]'"):
        load_as(kind, name, api_key="x")


async def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"there is no model\.bin in it"):
        await WhisperSTT(model=str(tmp_path)).warm_up()
    (tmp_path / "model.bin").write_bytes(b"no model")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="Whisper model"):
        await WhisperSTT(model=str(tmp_path)).warm_up()
    (tmp_path / "vad.onnx").write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match="SileroVAD"):
        await load("silero", model=str(tmp_path / "vad.onnx")).warm_up()


def test_importing_speech_imports_no_engine():
    code = (
        "import sys, voxtra.speech, voxtra.speech.whisper, voxtra.speech.hibari, voxtra.speech.silero,"
        " voxtra.speech.openai, voxtra.speech.intents, voxtra.speech.openai_speech, voxtra.speech.deepgram,"
        " voxtra.speech.deepgram_voice, voxtra.speech.elevenlabs, voxtra.speech.cartesia;"
        "print({'ctranslate2', 'tokenizers', 'onnxruntime', 'hibari', 'openai', 'rapidfuzz', 'deepgram',"
        " 'elevenlabs', 'cartesia', 'httpx', 'websockets'}"
        " & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "set()"


def test_the_public_names_are_these():
    import voxtra.speech

    assert voxtra.speech.__all__ == [
        "LLM", "STT", "TTS", "VAD", "BatchSTT", "CachedTTS", "EndOfTurnModel", "Fallback", "InferencePool", "LLMEvent",
        "LocalStack", "Provider", "STTStream", "Speech", "SpeechStream", "SpeechToSpeech", "TextDelta",
        "ToolCall", "Transcript", "Usage", "VADStream",
        "load", "load_as", "local", "local_stt", "local_tts", "local_vad", "shared_pool",
    ]  # fmt: skip
    assert all(hasattr(voxtra.speech, name) for name in voxtra.speech.__all__)
