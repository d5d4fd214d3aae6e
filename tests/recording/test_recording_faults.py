"""Every sink under every fault, on a small scale: what was sent is stored, once. See ``fault_run.py``."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fault_run import ALL, QUICK, run


@pytest.mark.timeout(180)
@pytest.mark.parametrize("sink", ALL)
async def test_what_was_sent_is_stored_once(sink):
    rows = await run(QUICK, [sink])
    assert len(rows) > 1
    assert [row for row in rows if not row.good] == []
    assert all(row.hits for row in rows if row.fault != "none")
