"""An engine to talk to, and a client of it that leaves no thread behind."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import fake_engine
import pytest
from fake_engine import KEY, ORG, FakeEngine

from voxtra.voice import Voice


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    with fake_engine.running() as engine:
        yield engine


@pytest.fixture
def v(engine: FakeEngine) -> Iterator[Voice]:
    with Voice(base_url=engine.url, api_key=KEY, org_id=ORG) as voice:
        yield voice


@pytest.fixture(autouse=True)
def _no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    until(lambda: not client_threads(), "threads of the client remain")
    gc.collect()  # what was not closed is told of in this test


def client_threads() -> list[str]:
    return [
        each.name
        for each in threading.enumerate()
        if each.name.startswith(("voxtra-voice", "frames of", "events of"))
    ]


def until(condition: Callable[[], object], what: str = "it did not come about", timeout: float = 10) -> None:
    """Wait for it, and see now and then to what is garbage: in a big process that takes all other threads' time."""
    began = collected = time.monotonic()
    while not condition():
        assert time.monotonic() < began + timeout, what
        if time.monotonic() > collected + 0.2:
            gc.collect()
            collected = time.monotonic()
        time.sleep(0.005)
