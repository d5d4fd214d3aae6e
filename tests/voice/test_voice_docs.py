"""The blocks of docs/voice.md, run against an engine of the wire."""

from __future__ import annotations

import pytest
from docs_pages import Block, blocks
from fake_engine import KEY, FakeEngine

from voxtra.voice import Voice

BLOCKS = [block for block in blocks("python") if block.place.startswith("docs/voice.md")]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_it_runs(block: Block, engine: FakeEngine, v: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUTCHCALL_CREDENTIALS", KEY)
    call = v.calls.originate(to="+15551234567", from_="+15558675309", trunk_id="trunk_main")
    names = {"v": v, "call": call, "__name__": "__main__"}
    exec(compile(block.text.replace("http://127.0.0.1:8080", engine.url), block.place, "exec"), names)
    if names["v"] is not v:
        names["v"].close()  # type: ignore[attr-defined]
