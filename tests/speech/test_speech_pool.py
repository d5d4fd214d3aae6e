import asyncio
import threading
import time

import pytest

from voxtra.errors import ConfigurationError, ProviderError, STTError
from voxtra.speech.pool import InferencePool, cores, shared_pool


@pytest.fixture
def pool():
    pool = InferencePool(1, max_queue=2)
    yield pool
    pool.close()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_work_runs_on_a_thread_of_the_pool_and_its_error_comes_through(pool):
    assert await pool.run(lambda: threading.current_thread().name) == "voxtra-inference_0"
    with pytest.raises(KeyError, match="x"):
        await pool.run({}.__getitem__, "x")
    with pytest.raises(TimeoutError, match="of the work"):
        await pool.run(raise_timeout)


def raise_timeout():
    raise TimeoutError("of the work")


async def test_threads_never_exceed_the_size_and_none_belongs_to_a_job():
    pool = InferencePool(2)
    names = set()
    most = 0
    at_work = 0
    lock = threading.Lock()

    def work():
        nonlocal most, at_work
        with lock:
            at_work += 1
            most = max(most, at_work)
            names.add(threading.current_thread().name)
        time.sleep(0.002)
        with lock:
            at_work -= 1

    await asyncio.gather(*(pool.run(work) for _ in range(40)))
    assert most <= pool.size == min(2, cores())
    assert len(names) <= pool.size
    await until(lambda: pool.running == 0)
    pool.close()


async def test_a_full_queue_refuses_the_new_job_and_keeps_the_others(pool):
    go = threading.Event()
    running = asyncio.create_task(pool.run(go.wait))
    await until(lambda: pool.running == 1 and pool.queued == 0)
    waiting = [asyncio.create_task(pool.run(lambda value=value: value)) for value in (1, 2)]
    await until(lambda: pool.queued == 2)
    assert pool.busy
    with pytest.raises(STTError, match="overloaded: 2 jobs wait for 1 threads"):
        await pool.run(time.time, error=STTError)
    go.set()
    assert await running is True
    assert [await task for task in waiting] == [1, 2]
    await until(lambda: not pool.busy)


async def test_a_cancelled_wait_takes_its_job_out_of_the_queue(pool):
    go = threading.Event()
    ran = []
    running = asyncio.create_task(pool.run(go.wait))
    await until(lambda: pool.running == 1 and pool.queued == 0)
    waiting = asyncio.create_task(pool.run(ran.append, 1))
    await until(lambda: pool.queued == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert pool.queued == 0
    go.set()
    await running
    assert await pool.run(lambda: 7) == 7
    assert ran == []


async def test_a_deadline_ends_the_wait_also_of_work_under_way(pool):
    go = threading.Event()
    with pytest.raises(ProviderError, match=r"longer than 0\.05 s"):
        await pool.run(go.wait, deadline_s=0.05)
    go.set()
    assert await pool.run(lambda: 7) == 7


async def test_a_closed_pool_refuses_and_cancels():
    pool = InferencePool(1)
    go = threading.Event()
    running = asyncio.create_task(pool.run(go.wait))
    await until(lambda: pool.running == 1 and pool.queued == 0)
    waiting = asyncio.create_task(pool.run(time.time))
    await until(lambda: pool.queued == 1)
    pool.close()
    pool.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await running is True
    with pytest.raises(ProviderError, match="closed"):
        await pool.run(time.time)


def test_sizes_are_checked(monkeypatch):
    with pytest.raises(ConfigurationError, match="at least 1"):
        InferencePool(0)
    monkeypatch.setattr("voxtra.speech.pool._shared", None)
    monkeypatch.setenv("VOXTRA_INFERENCE_THREADS", "many")
    with pytest.raises(ConfigurationError, match="VOXTRA_INFERENCE_THREADS = 'many'"):
        shared_pool()
    monkeypatch.setenv("VOXTRA_INFERENCE_THREADS", "1")
    assert shared_pool().size == 1
    assert shared_pool() is shared_pool()
    shared_pool().close()
