"""An app on fakes with its HTTP API, and somebody who asks it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from control_rig import TO, TO2, TRUNK, Client, FixedKeys, Serve

from voxtra import VoxtraApp
from voxtra.api import Api
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_office import FakeOffice


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def serve() -> Serve:
    """``async with serve(**settings) as (app, client)``; ``callee``: what becomes of a call to TO."""

    @contextlib.asynccontextmanager
    async def served(
        *, callee: object = None, app: VoxtraApp | None = None, check: bool = True, **settings: Any
    ) -> AsyncIterator[tuple[VoxtraApp, Client]]:
        given = {"trunks": [TRUNK], "caps": {"calls_per_second": 100.0}} | settings
        app = app or VoxtraApp(app_name="office")
        app.api = api = Api(0, keys=FixedKeys(), **given)
        endpoints = {TO: callee or FakeEndpoint(rings=0.05), TO2: FakeEndpoint(rings=0.05)}
        async with FakeOffice(app, endpoints=endpoints, check=check) as office, Client(api.url) as client:
            app._office = office  # type: ignore[attr-defined]
            yield app, client

    return served
