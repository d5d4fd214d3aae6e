"""The settings of turn-taking, under the names the ClutchCall documents give them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from pydantic import Field, ValidationError
from pydantic.alias_generators import to_camel

from voxtra.errors import ConfigurationError
from voxtra.wire import TurnSettings

Preset: TypeAlias = Literal["pstn", "browser", "noisy", "patient"]
"""Names of ready-made settings, see :meth:`TurnDetection.preset`."""


class TurnDetection(TurnSettings):
    """When the caller's turn starts and ends, and when speech over the agent counts. All in ms.

    Every field may be given in snake_case or camelCase (``silence_threshold_ms`` or
    ``silenceThresholdMs``); an unknown one is refused.

    Raises:
        ConfigurationError: naming the field, its value and what would be right.
    """

    silence_max_ms: int = Field(default=0, ge=0, le=10_000)
    """Not in the documents: the longest silence that an unfinished phrase ("my number is") may get.
    Up to ``silence_threshold_ms`` (so, 0) words never lengthen the wait."""
    silence_min_ms: int = Field(default=0, ge=0, le=10_000)
    """Not in the documents: the silence after a complete answer ("yes" to a yes/no question), not less than
    200 is used. 0, or from ``silence_threshold_ms`` on: words never shorten the wait."""

    backchannel_ms: int = Field(default=0, ge=0, le=5_000)
    """Not in the documents: speech over the agent that ends within this time is judged by its words, while
    the agent is paused: "mhm" lets it go on, other words interrupt it. Longer speech interrupts anyway.
    Up to ``barge_confirm_ms`` (so, 0) words are not waited for."""

    keys_silence_ms: int = Field(default=2000, ge=0, le=30_000)
    """Not in the documents: how long after a key another one belongs to it; 0: each is a turn. ``#`` says that there
    are no more."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None

    @classmethod
    def preset(cls, name: Preset | str) -> TurnDetection:
        """Ready-made settings.

        Args:
            name: ``pstn`` (telephones without echo cancellation), ``browser`` (headsets, WebRTC: quick),
                ``noisy`` (cars, streets, open offices), ``patient`` (people who think while they speak,
                dictate and spell).

        Raises:
            ConfigurationError: there is no such preset.
        """
        if name not in PRESETS:
            near = difflib.get_close_matches(str(name), PRESETS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}"
            raise ConfigurationError(f"turn detection has no preset {name!r}: {hint}")
        return PRESETS[name]

    @classmethod
    def of(
        cls, value: TurnDetection | Mapping[str, Any] | str | None, *, base: TurnDetection | None = None
    ) -> TurnDetection:
        """Settings from a model, a mapping in either spelling, a preset's name; None is :data:`LISTENING`.

        Args:
            base: what a mapping does not name is as here; None = the defaults.

        Raises:
            ConfigurationError: naming the field, its value and what would be right.
        """
        if value is None:
            return LISTENING
        if isinstance(value, TurnDetection):
            return value
        if isinstance(value, str):
            return cls.preset(value)
        given: object = value
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise ConfigurationError(
                f"turn detection = {value!r}: it must be a mapping or a preset's name, not {kind}"
            )
        made = cls(**{str(name): setting for name, setting in given.items()})
        if base is None:
            return made
        return base.model_copy(update=made.model_dump(include=made.model_fields_set))


def _complaint(error: ValidationError) -> str:
    """What is wrong first, on one line."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"turn detection: {name} = {first['input']!r}: {first['msg']}"
    camel = {to_camel(known): known for known in TurnDetection.model_fields}
    if name in camel or name in camel.values():
        return f"turn detection: {name} is given twice, in both spellings"
    near = difflib.get_close_matches(name, [*camel, *camel.values()], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(camel.values())}"
    return f"turn detection has no setting {name!r}: {hint}"


LISTENING = TurnDetection(
    response_min_speech_ms=200,
    commit_min_interval_ms=0,
    min_speech_ms=160,
    prefix_padding_ms=300,
    silence_max_ms=1600,
    silence_min_ms=300,
    backchannel_ms=800,
)
"""What a handler's ``listen()`` uses: the handler asked, so a short "yes" is an answer."""

PRESETS: Mapping[str, TurnDetection] = {
    "pstn": TurnDetection(
        response_min_speech_ms=200,
        commit_min_interval_ms=300,
        cancel_min_interval_ms=600,
        barge_confirm_ms=400,
        tts_guard_ms=400,
        silence_threshold_ms=600,
        min_speech_ms=160,
        prefix_padding_ms=300,
        silence_max_ms=1600,
        silence_min_ms=300,
        backchannel_ms=800,
        keys_silence_ms=2000,
    ),
    "browser": TurnDetection(
        response_min_speech_ms=160,
        commit_min_interval_ms=0,
        cancel_min_interval_ms=300,
        barge_confirm_ms=200,
        tts_guard_ms=0,
        silence_threshold_ms=400,
        min_speech_ms=120,
        prefix_padding_ms=300,
        silence_max_ms=1400,
        silence_min_ms=250,
        backchannel_ms=700,
        keys_silence_ms=2000,
    ),
    "noisy": TurnDetection(
        response_min_speech_ms=300,
        commit_min_interval_ms=500,
        cancel_min_interval_ms=1000,
        barge_confirm_ms=600,
        tts_guard_ms=400,
        silence_threshold_ms=700,
        min_speech_ms=260,
        prefix_padding_ms=300,
        silence_max_ms=1600,
        silence_min_ms=400,
        backchannel_ms=900,
        keys_silence_ms=2000,
    ),
    "patient": TurnDetection(
        response_min_speech_ms=200,
        commit_min_interval_ms=300,
        cancel_min_interval_ms=600,
        barge_confirm_ms=400,
        tts_guard_ms=300,
        silence_threshold_ms=1000,
        min_speech_ms=160,
        prefix_padding_ms=400,
        silence_max_ms=2500,
        silence_min_ms=500,
        backchannel_ms=900,
        keys_silence_ms=3000,
    ),
}
assert set(PRESETS) == set(get_args(Preset))
