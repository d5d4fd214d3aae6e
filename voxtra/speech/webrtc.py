"""WebRTC's VAD: the light detector, two microseconds a frame. Weak against babble and music."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, MissingExtraError, VADError
from voxtra.speech.base import VAD, VADStream
from voxtra.speech.decimate import decimator_to
from voxtra.speech.settings import ProviderSettings, read_settings

NATIVE = (8000, 16000, 32000, 48000)


class WebRTCSettings(ProviderSettings):
    """Settings of :class:`WebRTCVAD`.

    Attributes:
        mode: 0..3, how strict; 3 takes the least noise for speech.
        frames: the answer is the share of speech among this many last frames of 20 ms.
    """

    mode: int = Field(3, ge=0, le=3)
    frames: int = Field(3, ge=1, le=25)


class WebRTCVAD(VAD):
    """WebRTC's voice detector.

    Args:
        config: :class:`WebRTCSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`WebRTCSettings`.
    """

    name = "webrtc"

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(WebRTCSettings, config, options, of="WebRTCVAD")

    def open(self, *, rate: int) -> VADStream:
        """A detector for one call. Raises ConfigurationError for a rate that is no multiple of 8000 Hz."""
        if decimator_to(rate, NATIVE) is None:
            raise ConfigurationError(f"WebRTCVAD: rate = {rate}: it must be a multiple of 8000 Hz")
        return WebRTCStream(rate, self.settings)


class WebRTCStream(VADStream):
    """One call's detector."""

    __slots__ = ("_decimator", "_frame_bytes", "_last", "_rate", "_rest", "_vad")

    def __init__(self, rate: int, settings: WebRTCSettings) -> None:
        try:
            import webrtcvad
        except ImportError as missing:
            raise MissingExtraError(f"the light VAD ({missing.name})", "local") from None
        found = decimator_to(rate, NATIVE)
        assert found is not None, "checked by open()"
        self._rate, self._decimator = found
        self._vad: Any = webrtcvad.Vad(settings.mode)
        self._frame_bytes = self._rate // 50 * 2
        self._rest = b""
        self._last: deque[bool] = deque([False] * settings.frames, maxlen=settings.frames)

    def push(self, pcm: bytes) -> float:
        """The next sound, 20 ms or any other length. Raises VADError."""
        if self._decimator is not None:
            thinned = self._decimator.push(np.frombuffer(pcm, "<i2").astype(np.float32))
            pcm = np.clip(thinned, -32768, 32767).astype("<i2").tobytes()
        if self._rest or len(pcm) != self._frame_bytes:
            pcm = self._rest + pcm
        whole = len(pcm) // self._frame_bytes * self._frame_bytes
        for begin in range(0, whole, self._frame_bytes):
            frame = pcm[begin : begin + self._frame_bytes]
            try:
                self._last.append(bool(self._vad.is_speech(frame, self._rate)))
            except Exception as problem:  # the extension raises a bare Exception of its own
                raise VADError(f"webrtc: {problem}") from problem
        self._rest = pcm[whole:]
        return sum(self._last) / len(self._last)
