"""The OpenAPI document, and that the server does as it says whatever it is asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest
import schemathesis
from control_rig import TO, TRUNK, FixedKeys
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import CheckFunction, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from voxtra import CallSession, VoxtraApp
from voxtra.api import Api
from voxtra.testing.fake_asterisk import FakeEndpoint
from voxtra.testing.fake_office import FakeOffice
from voxtra.wire import HTTP_STATUS


class _Served(threading.Thread):
    """An app with its API in a loop of its own: who asks it here does not wait for a loop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        api = Api(0, keys=FixedKeys(), trunks=[TRUNK], endpoints=["carrier"], requests_per_second=100_000.0,
                  caps={"calls_per_second": 10_000.0, "concurrent": 10_000})  # fmt: skip
        app = VoxtraApp(app_name="office", api=api)

        @app.agent("bot")
        async def bot(call: CallSession) -> None:
            await asyncio.sleep(3600)

        async with FakeOffice(app, endpoints={TO: FakeEndpoint(rings=0.01)}, check=False):
            self.url = api.url
            self._ready.set()
            await self._over.wait()

    def __enter__(self) -> _Served:
        self.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("api"))
        patch.setattr("voxtra.control.doorman.GUESSES_PER_S", 1e6)
        with _Served() as served:
            yield served


@pytest.fixture
def api_schema(server: _Served) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


BETWEEN = ("give exactly one of", "give an endpoint", "belong together", "no trunk to be transferred by")
"""Rules between fields, which the document tells in words."""


def excused(status: int, text: str) -> Iterator[CheckFunction]:
    """Checks that do not know of such an answer."""
    if status == 413:
        yield negative_data_rejection
    if status == 422 or any(words in text for words in BETWEEN):
        yield positive_data_acceptance


def ask(operation: schemathesis.APIOperation, mode: GenerationMode) -> int:  # type: ignore[type-arg]
    """Ask one operation many ways. Returns how many."""
    asked = 0

    @settings(
        max_examples=15, deadline=None, database=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: schemathesis.Case) -> None:
        nonlocal asked
        asked += 1
        reply = case.call(headers={"Authorization": "Bearer full"}, timeout=10)
        case.validate_response(reply, excluded_checks=list(excused(reply.status_code, reply.text)))

    each()
    return asked


def test_the_server_does_as_its_document_says(server: _Served, api_schema: schemathesis.BaseSchema) -> None:
    asked = 0
    for found in api_schema.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            asked += ask(found.ok(), mode)
    assert asked > 200


def test_the_document(server: _Served, api_schema: schemathesis.BaseSchema) -> None:
    document = api_schema.raw_schema
    assert document["openapi"] == "3.1.0"
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) == 15
    for each in operations:
        assert {"401", "403", "429", "500"} <= set(each["responses"])
        assert each["description"].startswith("The key needs the scope `voice:")
    known = document["components"]["schemas"]
    assert known["ErrorBody"]["properties"]["code"]["enum"] == list(HTTP_STATUS)
    assert known["NewCall"]["properties"]["to"]["pattern"] == r"^\+[1-9][0-9]{6,14}$"
    assert "password" not in known["TrunkRow"]["properties"]
    assert "password" not in known["AccountRow"]["properties"]


def test_the_page_needs_nothing_from_elsewhere(server: _Served) -> None:
    import requests

    page = requests.get(f"{server.url}/docs", timeout=10)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    seen: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)
            for name, value in attrs:
                if name in ("href", "src"):
                    assert value is not None
                    assert value.startswith(("#", "/openapi.json"))

    Parser().feed(page.text)
    assert {"script", "link", "img", "iframe"}.isdisjoint(seen)
    assert "/v1/calls/{sid}/transfer" in page.text
