"""Real calls: each leaves its record and its page, and every line of the log says whose it is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path

import pytest
from app_rig import Rig, running

from voxtra import CallSession, LocalFileSink
from voxtra.logs import JSONFormatter
from voxtra.redaction import Redactor
from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live


async def test_two_calls_at_once_leave_their_records_and_their_lines(
    asterisk: PrivateAsterisk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    library = logging.getLogger("some.library")
    out = io.StringIO()
    watching = logging.StreamHandler(out)
    watching.setFormatter(JSONFormatter(Redactor()))

    async def handler(call: CallSession, rig: Rig) -> None:
        @call.on_dtmf
        async def key(digit: str) -> None:
            library.warning("a key of %s: digit=%s", call.id, digit)

        @call.on_hangup
        async def over() -> None:
            library.warning("the end of %s", call.id)

        await call.answer()
        library.warning("the begin of %s by +15551234567", call.id)
        await call.record_start("call", sink=LocalFileSink(tmp_path / "sound"))
        await call.listen_dtmf(max_digits=9, timeout=10)  # the caller hangs up first

    root = logging.getLogger()
    root.addHandler(watching)
    try:
        async with running(asterisk, handler, call_records=tmp_path / "records") as rig:
            async with rig.dialled() as one, rig.dialled() as two:
                await asyncio.sleep(0.4)
                await asyncio.gather(one.send_dtmf("12"), two.send_dtmf("34"))
                await asyncio.sleep(0.4)
                await asyncio.gather(one.hangup(), two.hangup())
            await rig.nothing_left()
    finally:
        root.removeHandler(watching)
    ids = [call.id for call in rig.calls]
    assert len(ids) == 2
    found = {}
    for path in (tmp_path / "records").rglob("*.json"):
        record = json.loads(path.read_text())
        found[record["call"]["id"]] = record
        page = path.with_suffix(".html").read_text()
        assert page.count('class="peak"') == 2
    assert sorted(found) == sorted(ids)
    for record in found.values():
        assert record["call"]["ended_by"] == "far end"
        assert record["call"]["outcome"] == "answered"
        assert record["call"]["cause"] == 16
        (recording,) = record["recordings"]
        assert recording["uri"] in [path.as_uri() for path in (tmp_path / "sound").rglob("*.wav")]
        assert recording["duration_seconds"] > 0.5
        assert record["metrics"]["media"]["received"] > 10
    keys = ["".join(each["digit"] for each in record["digits"]) for record in found.values()]
    assert sorted(keys) == ["12", "34"]
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    ours = [line for line in lines if line["logger"] == "some.library"]
    assert len(ours) == 2 * 4
    for line in ours:
        assert line["call_id"] in line["message"]
    assert "15551234567" not in out.getvalue()
    assert "digit=1" not in out.getvalue()
    assert {line["call_id"] for line in lines if line["logger"] == "voxtra.metrics"} == set(ids)
