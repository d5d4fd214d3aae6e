"""The settings: both spellings, ranges, and what is said about a wrong one."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from voxtra.errors import ConfigurationError
from voxtra.turns import LISTENING, TurnDetection

DOCUMENTED = {
    "responseMinSpeechMs": 600,
    "commitMinIntervalMs": 1500,
    "cancelMinIntervalMs": 400,
    "bargeConfirmMs": 300,
    "ttsGuardMs": 200,
    "silenceThresholdMs": 500,
    "minSpeechMs": 300,
    "prefixPaddingMs": 200,
}
OURS = {"silenceMaxMs": 0, "silenceMinMs": 0, "backchannelMs": 0, "keysSilenceMs": 2000}
"""Our own settings: they change nothing of speech unless they are set."""


def test_the_documented_names_and_defaults():
    assert TurnDetection().model_dump(by_alias=True) == DOCUMENTED | OURS


def test_camel_case_snake_case_and_a_model_are_the_same():
    camel = TurnDetection.of({"silenceThresholdMs": 800, "bargeConfirmMs": 0})
    snake = TurnDetection.of(MappingProxyType({"silence_threshold_ms": 800, "barge_confirm_ms": 0}))
    assert camel == snake == TurnDetection(silence_threshold_ms=800, barge_confirm_ms=0)
    assert TurnDetection.of(camel) is camel
    assert TurnDetection.of(camel.model_dump()) == camel
    assert TurnDetection.of(camel.model_dump(by_alias=True)) == camel


def test_nothing_given_is_for_listening():
    assert TurnDetection.of(None) is LISTENING
    assert TurnDetection.of({}) == TurnDetection()


def test_settings_do_not_change():
    with pytest.raises(Exception, match="frozen"):
        TurnDetection().silence_threshold_ms = 100  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"silenceTresholdMs": 500}, "no setting 'silenceTresholdMs': did you mean 'silenceThresholdMs'?"),
        ({"silence_treshold_ms": 500}, "did you mean 'silence_threshold_ms'?"),
        ({"volume": 11}, "no setting 'volume': there are response_min_speech_ms, commit_min_interval_ms"),
        ({"minSpeechMs": 1, "min_speech_ms": 2}, "min_speech_ms is given twice"),
        ({"silenceThresholdMs": 99}, "silenceThresholdMs = 99: Input should be greater than or equal to 100"),
        ({"silence_threshold_ms": 10_001}, "silence_threshold_ms = 10001: .* less than or equal to 10000"),
        ({"bargeConfirmMs": -1}, "bargeConfirmMs = -1: .* greater than or equal to 0"),
        ({"bargeConfirmMs": "soon"}, "bargeConfirmMs = 'soon': .* valid integer"),
        ({"tts_guard_ms": None}, "tts_guard_ms = None: .* valid integer"),
        ({3: 4}, "no setting '3'"),
        (500, "turn detection = 500: it must be a mapping or a preset's name, not int"),
        ("pstm", "no preset 'pstm': did you mean 'pstn'?"),
        ("quick", "no preset 'quick': there are pstn, browser, noisy, patient"),
    ],
)
def test_what_is_wrong_is_named(given, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        TurnDetection.of(given)
    assert "\n" not in str(caught.value)


def test_the_constructor_says_it_the_same_way():
    with pytest.raises(ConfigurationError, match="minSpeechMs = 5001"):
        TurnDetection(minSpeechMs=5001)


@pytest.mark.parametrize("name", list(TurnDetection.model_fields))
def test_every_setting_has_a_lowest_and_a_highest(name):
    low, high = (100 if name == "silence_threshold_ms" else 0), 30_000
    assert getattr(TurnDetection(**{name: low}), name) == low
    for wrong in (low - 1, high + 1):
        with pytest.raises(ConfigurationError, match=name):
            TurnDetection(**{name: wrong})


@pytest.mark.parametrize("name", ["pstn", "browser", "noisy", "patient"])
def test_a_preset_is_a_whole_of_settings(name):
    preset = TurnDetection.preset(name)
    assert TurnDetection.of(name) == preset
    assert TurnDetection.of(name, base=LISTENING) == preset
    assert set(preset.model_fields_set) == set(TurnDetection.model_fields)
    assert preset.silence_min_ms < preset.silence_threshold_ms < preset.silence_max_ms
    assert preset.barge_confirm_ms >= preset.min_speech_ms, "what interrupts is never noise afterwards"


def test_what_the_presets_are_for():
    pstn, browser, noisy, patient = map(TurnDetection.preset, ("pstn", "browser", "noisy", "patient"))
    assert browser.silence_threshold_ms < pstn.silence_threshold_ms < patient.silence_threshold_ms
    assert browser.tts_guard_ms < pstn.tts_guard_ms
    assert browser.barge_confirm_ms < pstn.barge_confirm_ms < noisy.barge_confirm_ms
    assert noisy.min_speech_ms > pstn.min_speech_ms
