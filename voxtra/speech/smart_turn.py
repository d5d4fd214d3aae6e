"""Smart Turn on this machine: hears whether a caller who paused has finished.

The model (BSD 2-Clause, by Daily) is an ONNX file of 9 MB that listens to the last 8 s of an utterance in 16 kHz, as
log-mel features of sound that was brought to zero mean and unit variance, with silence put before what is shorter
(its own description: https://github.com/pipecat-ai/smart-turn). It comes inside the package ``pipecat-ai``; voxtra
neither brings it nor imports that package, it only looks for the file there.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field

from voxtra.errors import ConfigurationError, MissingExtraError, ProviderError
from voxtra.speech.base import EndOfTurnModel
from voxtra.speech.features import FRAMES_A_SECOND, RATE, Samples, log_mel, resample_whole, to_float
from voxtra.speech.pool import InferencePool, shared_pool
from voxtra.speech.settings import ProviderSettings, read_settings

WINDOW_S = 8
INPUT = "input_features"
"""The name and the shape (1, 80, 800) of what version 3 of the model takes."""
INSIDE = "audio/turn/smart_turn/data"
"""Where ``pipecat-ai`` keeps it."""
HOW = (
    "give the file of Smart Turn v3 as SmartTurn('smart-turn-v3.2-cpu.onnx'), or install the package that it comes "
    "in, `pip install --no-deps pipecat-ai`, of which nothing else is used"
)


class SmartTurnSettings(ProviderSettings):
    """Settings of :class:`SmartTurn`.

    Attributes:
        model: the ONNX file; None = the one in an installed ``pipecat-ai``.
        deadline_s: an answer that takes longer, waiting for a thread included, is given up.
        unfinished: up to this probability of having finished the caller is waited for longer.
        shorten_from: from this one on the wait is shorter than is set, as 0.97; None = never.
    """

    model: str | None = None
    deadline_s: float = Field(1.0, gt=0, le=30)
    unfinished: float = Field(0.5, ge=0, lt=1)
    shorten_from: float | None = Field(None, gt=0, le=1)


_loading = threading.Lock()


def find_model() -> Path | None:
    """The newest Smart Turn v3 for CPUs in an installed ``pipecat-ai``, which is not imported; None: there is none."""
    spec = util.find_spec("pipecat")
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    found = [path for folder in folders for path in Path(folder, INSIDE).glob("smart-turn-v3*cpu.onnx")]
    return max(found, key=lambda path: path.name, default=None)


@functools.lru_cache(maxsize=2)
def _session(model: str | None) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("local speech (onnxruntime)", "local") from None
    path = Path(model) if model is not None else find_model()
    if path is None:
        raise ConfigurationError(f"SmartTurn: there is no model: {HOW}")
    if not path.is_file():
        raise ConfigurationError(f"SmartTurn: model = {str(path)!r}: there is no such file: {HOW}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as problem:  # onnxruntime's errors share no base but Exception
        raise ConfigurationError(f"SmartTurn: {path}: {problem}") from problem
    takes = [(each.name, each.shape[1:]) for each in session.get_inputs()]
    if takes != [(INPUT, [80, WINDOW_S * FRAMES_A_SECOND])]:
        raise ConfigurationError(f"SmartTurn: {path}: it takes {takes}, which no Smart Turn v3 does: {HOW}")
    return session


class SmartTurn(EndOfTurnModel):
    """Smart Turn v3 in the pool that all calls share: about 30 ms of one core a question.

    Args:
        model: the ONNX file; None = ``config``'s, or the one in an installed ``pipecat-ai``.
        config: :class:`SmartTurnSettings`, a mapping or a model with the same fields.
        pool: where it runs; None = the process's own.
        options: the fields of :class:`SmartTurnSettings`.

    Raises:
        ConfigurationError: a setting is unknown or wrong. What is not installed or not there is reported by
            ``warm_up``, or by the first question.
    """

    name = "smart-turn"
    window_s = float(WINDOW_S)

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        config: BaseModel | Mapping[str, Any] | None = None,
        pool: InferencePool | None = None,
        **options: Any,
    ) -> None:
        if model is not None:
            options["model"] = str(model)
        self.settings = read_settings(SmartTurnSettings, config, options, of="SmartTurn")
        self.unfinished = self.settings.unfinished
        self.shorten_from = self.settings.shorten_from
        self._pool = pool

    def _load(self) -> Any:
        with _loading:
            return _session(self.settings.model)

    async def warm_up(self) -> None:
        """Load the model and ask it once. Raises MissingExtraError, ConfigurationError."""
        await (self._pool or shared_pool()).run(self._ask, bytes(RATE), RATE)

    async def finished(self, pcm: bytes, rate: int) -> float:
        """See :meth:`voxtra.speech.base.EndOfTurnModel.finished`. Raises ConfigurationError as ``warm_up``."""
        pool = self._pool or shared_pool()
        return await pool.run(self._ask, pcm, rate, deadline_s=self.settings.deadline_s)

    def _ask(self, pcm: bytes, rate: int) -> float:
        try:
            output = self._load().run(None, {INPUT: features(resample_whole(to_float(pcm), rate))})
        except (ConfigurationError, ProviderError):
            raise
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise ProviderError(f"smart-turn: {problem}") from problem
        return min(max(float(output[0][0, 0]), 0.0), 1.0)


def features(samples: Samples) -> Samples:
    """What the model is given of 16 kHz sound: float32, shape (1, 80, 800), the end of it last."""
    window = np.zeros(WINDOW_S * RATE, np.float32)
    kept = samples[-len(window) :]
    window[len(window) - len(kept) :] = kept
    window -= window.mean()
    window /= np.sqrt(window.var() + 1e-7)
    return log_mel(window, WINDOW_S * FRAMES_A_SECOND)
