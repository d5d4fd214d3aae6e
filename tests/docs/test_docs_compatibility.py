"""The compatibility page is fresh, and no documented name is forgotten or claimed without a proof."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from docs_pages import ROOT


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("make_compatibility")


def test_the_page_is_fresh(maker: ModuleType) -> None:
    assert maker.page() == maker.PAGE.read_text("utf-8"), "run: python docs/make_compatibility.py"
    assert maker.voice_page() == maker.VOICE_PAGE.read_text("utf-8"), "run: python docs/make_compatibility.py"


def test_every_marker_names_what_is_documented(maker: ModuleType) -> None:
    known = [name.text for name in maker.names()]
    assert len(known) == len(set(known))
    unknown = {name: tests for name, tests in maker.proofs().items() if name not in known}
    assert unknown == {}, "not in tests/documented_names.txt or documented_voice.txt"


def test_what_has_no_proof_is_said_to_have_none(maker: ModuleType) -> None:
    proven = maker.proofs()
    forgotten = [name.text for name in maker.names() if name.promised and name.text not in proven]
    assert forgotten == [], "mark a test that proves it, or put '- ' before it in tests/documented_names.txt"
    done = [name.text for name in maker.names() if not name.promised and name.text in proven]
    assert done == [], "it is proven now: take '- ' off in tests/documented_names.txt"
