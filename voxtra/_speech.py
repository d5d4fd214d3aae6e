"""Settings of speech beside its engines: the language, and who hears speech and the end of a turn."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from voxtra._settings import Settings


class SpeechConfig(Settings):
    """What is spoken on calls.

    Attributes:
        language: BCP 47, of caller and agent, where an agent or a handler sets none; none = the providers' own.
    """

    section = "speech"
    language: str | None = Field(None, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")


class EndOfTurnConfig(Settings):
    """A model that hears whether a caller who paused has finished: ``smart-turn``.

    Attributes:
        provider: its name.
        options: keyword arguments of its class.
    """

    section = "end_of_turn"
    provider: str = Field(min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)


class VADConfig(Settings):
    """Voice activity detection: ``webrtc`` (light) or ``silero`` (``voxtra[local]``)."""

    section = "vad"
    provider: str = Field("webrtc", min_length=1)
    options: dict[str, Any] = Field(default_factory=dict)
