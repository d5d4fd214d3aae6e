"""One real Asterisk for all live tests; each test gets phones of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from voxtra.errors import ConfigurationError
from voxtra.testing.asterisk import PrivateAsterisk

_running: list[PrivateAsterisk] = []


@pytest.fixture(scope="session")
def asterisk() -> Iterator[PrivateAsterisk]:
    """A running private Asterisk. It belongs to no event loop, so every test's own loop may use it."""
    instance = PrivateAsterisk(verbose=3)
    try:
        asyncio.run(instance.start())
    except ConfigurationError as error:
        pytest.fail(f"{error}", pytrace=False)
    _running.append(instance)
    yield instance
    _running.remove(instance)
    asyncio.run(instance.stop())


@pytest.fixture(autouse=True)
def _told_in_full(caplog: pytest.LogCaptureFixture) -> None:
    """A test that fails shows each request and each event."""
    caplog.set_level(logging.DEBUG, logger="voxtra.ari")


@pytest.fixture
def phone_account(asterisk: PrivateAsterisk) -> dict[str, object]:
    """Arguments of ``Phone`` for the account ``phone``: ``Phone(**phone_account)``."""
    return {
        "server": (asterisk.sip_host, asterisk.sip_port),
        "user": "phone",
        "password": asterisk.phones["phone"],
    }


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Live tests that may take long come first: the others fill up what is left beside them."""
    items.sort(key=_longest)


def _longest(item: pytest.Item) -> float:
    long = item.get_closest_marker("timeout")
    return -float(long.args[0]) if long is not None and item.get_closest_marker("live") is not None else 0.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A live test that failed shows what Asterisk logged last."""
    report = yield
    if report.failed:
        for instance in _running:
            report.sections.append(("Asterisk's log", instance.log_tail(40)))
    return report
