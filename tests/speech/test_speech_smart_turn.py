"""Smart Turn: what it is given, what it is found in, and what is said when it is not there."""

from __future__ import annotations

import asyncio
import sys
import threading

import numpy as np
import pytest
from fakes import onnx_file

from voxtra.errors import ConfigurationError, ProviderError
from voxtra.speech import EndOfTurnModel, load_as
from voxtra.speech.features import RATE, log_mel
from voxtra.speech.local import local_tts
from voxtra.speech.pool import InferencePool
from voxtra.speech.smart_turn import INSIDE, SmartTurn, _session, features, find_model

pytestmark = pytest.mark.local

RANDOM = np.random.default_rng(3)


def noise(seconds: float, rate: int = 8000) -> bytes:
    return (RANDOM.normal(0, 3000, int(seconds * rate))).astype("<i2").tobytes()


@pytest.fixture(autouse=True)
def loaded_anew():
    yield
    _session.cache_clear()


@pytest.fixture
def model(tmp_path):
    return onnx_file.write(tmp_path / "smart-turn-v3.0-cpu.onnx")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that breaks when it is imported, with two models inside."""
    folder = tmp_path / "pipecat" / INSIDE
    folder.mkdir(parents=True)
    (tmp_path / "pipecat" / "__init__.py").write_text("raise AssertionError('imported')")
    for version in ("3.0", "3.2"):
        onnx_file.write(folder / f"smart-turn-v{version}-cpu.onnx")
    (folder / "smart-turn-v3.3-gpu.onnx").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_end_of_the_sound_is_the_end_of_the_window():
    sound = np.frombuffer(noise(3, RATE), "<i2").astype(np.float32) / 32768
    short, long = features(sound), features(np.concatenate([RANDOM.normal(0, 0.1, 9 * RATE), sound]))
    assert short.shape == long.shape == (1, 80, 800)
    assert np.ptp(short[0, :, 5:450], axis=1).max() == 0  # silence before
    assert short[0, :, 520:790].mean() > short[0, :, 5:450].mean() + 0.5
    window = np.concatenate([np.zeros(5 * RATE, np.float32), sound])
    normal = (window - window.mean()) / window.std()
    np.testing.assert_allclose(short, log_mel(normal.astype(np.float32), 800), atol=1e-4)


def test_loudness_is_no_witness():
    quiet = np.frombuffer(noise(2, RATE), "<i2").astype(np.float32) / 327680
    np.testing.assert_allclose(features(quiet), features(quiet * 8), atol=1e-3)


async def test_a_file_is_asked_in_the_pool_at_any_rate(model):
    turn = SmartTurn(model)
    await turn.warm_up()
    for rate in (8000, 16000, 24000):
        assert 0 < await turn.finished(noise(1, rate), rate) < 1
    assert await turn.finished(b"", 8000) == await turn.finished(bytes(320), 8000)
    assert not any("smart" in thread.name for thread in threading.enumerate())  # it has none of its own


async def test_it_is_found_in_an_installed_package_that_is_not_imported(package):
    assert find_model() == package / "smart-turn-v3.2-cpu.onnx"
    assert 0 < await SmartTurn().finished(noise(1), 8000) < 1
    assert "pipecat" not in sys.modules


async def test_without_a_model_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("voxtra.speech.smart_turn.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"there is no model: give the file .*pip install --no-deps"):
        await SmartTurn(deadline_s=2).warm_up()
    with pytest.raises(ConfigurationError, match="no such file"):
        await SmartTurn(tmp_path / "none.onnx").finished(noise(1), 8000)


async def test_other_files_are_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match=r"broken\.onnx"):
        await SmartTurn(broken).warm_up()
    other = onnx_file.write(tmp_path / "other.onnx", takes="audio", frames=3000)
    with pytest.raises(ConfigurationError, match=r"takes \[\('audio', \[80, 3000\]\)\], which no Smart Turn"):
        await SmartTurn(other).warm_up()


async def test_by_name_with_settings(model):
    made = load_as(EndOfTurnModel, "smart-turn", model=str(model), deadline_s=3)
    assert isinstance(made, SmartTurn)
    with pytest.raises(ConfigurationError, match="no option 'modle': did you mean 'model'"):
        load_as(EndOfTurnModel, "smart-turn", modle="x")
    with pytest.raises(ConfigurationError, match="is no EndOfTurnModel provider"):
        load_as(EndOfTurnModel, "silero")


async def test_a_pool_that_is_busy_is_an_error_in_time(model):
    pool = InferencePool(1)
    turn = SmartTurn(model, pool=pool, deadline_s=0.05)
    go = threading.Event()
    blocker = asyncio.ensure_future(pool.run(go.wait, 5))
    await asyncio.sleep(0.01)
    with pytest.raises(ProviderError, match="longer than"):
        await turn.finished(noise(1), 8000)
    go.set()
    await blocker
    pool.close()


@pytest.mark.skipif(find_model() is None, reason="the model itself is not installed")
async def test_the_model_itself_hears_a_sentence_that_is_over():
    pcm, rate = b"", 24000
    async for piece in local_tts().synthesize("I am calling because my parcel has not arrived."):
        pcm, rate = pcm + piece.pcm, piece.rate
    turn = SmartTurn()
    assert await turn.finished(pcm + bytes(rate * 2 // 5), rate) > 0.5
    assert await turn.finished(pcm[: len(pcm) * 40 // 100 // 2 * 2] + bytes(rate * 2 // 5), rate) < 0.5
