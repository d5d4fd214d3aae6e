"""The settings of turn-taking, under the names the ClutchCall documents give them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from voxtra.errors import ConfigurationError


class TurnDetection(BaseModel):
    """When the caller's turn starts and ends, and when speech over the agent counts. All in ms.

    Every field may be given in snake_case or camelCase (``silence_threshold_ms`` or
    ``silenceThresholdMs``); an unknown one is refused.

    Raises:
        ConfigurationError: naming the field, its value and what would be right.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    response_min_speech_ms: int = Field(default=600, ge=0, le=10_000)
    """Speech shorter than this is a backchannel and never commits a turn."""
    commit_min_interval_ms: int = Field(default=1500, ge=0, le=30_000)
    """Minimum gap between two committed turns."""
    cancel_min_interval_ms: int = Field(default=400, ge=0, le=30_000)
    """Minimum gap between two barge-ins."""
    barge_confirm_ms: int = Field(default=300, ge=0, le=5_000)
    """Speech over the agent must last this long before the agent is cancelled; 0 = first frame."""
    tts_guard_ms: int = Field(default=200, ge=0, le=5_000)
    """The bar for speech is raised while the agent is heard and for this long after."""
    silence_threshold_ms: int = Field(default=500, ge=100, le=10_000)
    """Silence after speech that ends the turn."""
    min_speech_ms: int = Field(default=300, ge=0, le=5_000)
    """Candidate utterances shorter than this are noise."""
    prefix_padding_ms: int = Field(default=200, ge=0, le=2_000)
    """Sound kept from before the first speech frame, so that first syllables aren't clipped."""

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise ConfigurationError(_complaint(error)) from None

    @classmethod
    def of(
        cls, value: TurnDetection | Mapping[str, Any] | None, *, base: TurnDetection | None = None
    ) -> TurnDetection:
        """Settings from a model, a mapping in either spelling, or None for :data:`LISTENING`.

        Args:
            base: what a mapping does not name is as here; None = the defaults.

        Raises:
            ConfigurationError: naming the field, its value and what would be right.
        """
        if value is None:
            return LISTENING
        if isinstance(value, TurnDetection):
            return value
        given: object = value
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise ConfigurationError(f"turn detection = {value!r}: it must be a mapping, not {kind}")
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


LISTENING = TurnDetection(response_min_speech_ms=200, commit_min_interval_ms=0, min_speech_ms=160)
"""What a handler's ``listen()`` uses: the handler asked, so a short "yes" is an answer."""
