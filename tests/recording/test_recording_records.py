"""Records of calls: whole, readable, safe, and there whatever happens to the call, the sink or the process."""

# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from test_recording_report import EVIL, Page, write_wav

from voxtra.errors import ConfigurationError
from voxtra.events import CallEndedEvent, DTMFEvent, ErrorEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.recording import CallRecords, LocalFileSink, RecordingMetadata, RecordingSink, SpooledSink
from voxtra.recording.peaks import outline
from voxtra.recording.record import CallRecord, Recorded
from voxtra.recording.report import render_report

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_app import running

CALL = {"id": "17.4", "app": "shop", "caller_id": "+15550100", "called_number": "100", "direction": "inbound"}


class Clock:
    """Seconds that a test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def wall(self):
        return datetime.fromtimestamp(1_700_000_000 + self.now - 100, UTC)


def story(text="hello there", record=None):
    """A whole call in events."""
    clock = Clock()
    record = CallRecord(CALL, clock, clock.wall)

    def tell(after, event):
        clock.now += after
        record(event)

    tell(0.0, VoxtraEvent(type=EventType.SESSION_CREATED))
    tell(1.0, VoxtraEvent(type=EventType.CALL_ANSWERED))
    tell(0.5, VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data={"latency": {}}))
    tell(
        1.0,
        VoxtraEvent(
            type=EventType.AGENT_SPEECH_ENDED, data={"heard": "Hi.", "reason": "finished", "text": "Hi."}
        ),
    )
    tell(
        1.5,
        UserTranscriptEvent(text=text, confidence=0.9, data={"started_ms_ago": 1000, "ended_ms_ago": 500}),
    )
    tell(0.1, VoxtraEvent(type=EventType.TOOL_STARTED, data={"id": "t1", "name": "lookup"}))
    tell(
        0.2,
        VoxtraEvent(
            type=EventType.TOOL_ENDED, data={"id": "t1", "name": "lookup", "outcome": "done", "ms": 200.0}
        ),
    )
    tell(0.1, DTMFEvent(digit="5"))
    tell(0.1, ErrorEvent(error_type="TTSError", message="busy"))
    tell(0.1, VoxtraEvent(type=EventType.TOOL_STARTED, data={"id": "t2", "name": "hang_up"}))
    tell(
        0.4,
        CallEndedEvent(
            reason="hangup",
            duration_seconds=4.0,
            cause=16,
            data={"metrics": {"outcome": "answered", "turns_total": 1}},
        ),
    )
    tell(0.0, VoxtraEvent(type=EventType.SESSION_DESTROYED))
    return record


def test_everything_that_happened_is_in_it_on_one_axis():
    record = story()
    record.recorded(Recorded("sales/first", "wav", 1500, 2.5, "s3://calls/first.wav"))
    found = record.document()
    assert json.loads(json.dumps(found)) == found
    assert found["version"] == 1
    assert found["call"] == CALL | {
        "started": "2023-11-14T22:13:20.000+00:00", "answered_ms": 1000, "ended": "2023-11-14T22:13:25.000+00:00",
        "reason": "hangup", "ended_by": "far end", "cause": 16, "duration_seconds": 4.0, "outcome": "answered",
    }  # fmt: skip
    assert [(t["speaker"], t["text"], t["start_ms"], t["end_ms"]) for t in found["turns"]] == [
        ("agent", "Hi.", 1500, 2500),
        ("caller", "hello there", 3000, 3500),
    ]
    assert found["digits"] == [{"digit": "5", "at_ms": 4400}]
    assert found["tools"] == [
        {"name": "lookup", "at_ms": 4100, "ms": 200.0, "outcome": "done"},
        {"name": "hang_up", "at_ms": 4600, "ms": None, "outcome": "running"},
    ]
    assert found["metrics"] == {"outcome": "answered", "turns_total": 1}
    assert found["recordings"] == [
        {
            "name": "sales/first", "format": "wav", "started_ms": 1500, "duration_seconds": 2.5,
            "uri": "s3://calls/first.wav",
        }
    ]  # fmt: skip
    (error,) = [each for each in found["events"] if each["type"] == "error"]
    assert error["data"] == {"error_type": "TTSError", "message": "busy"}
    assert not [each for each in found["events"] if "metrics" in each["data"]]


def test_the_page_of_it_is_whole_and_what_a_caller_says_is_text(tmp_path):
    record = story(EVIL)
    shape = outline(write_wav(tmp_path / "call.wav", 2.0), 200)
    record.recorded(Recorded(EVIL, "wav", 1000, 2.0, "javascript:alert(1)", outline=shape))
    record.recorded(Recorded("b", "wav", 3500, 1.0, "https://x.example/b.wav"))
    page = Page(html := render_report(record.document(), shapes=[(1000, shape)]))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.tags.count("path") == 4  # two lanes, peaks and levels
    assert "left:28.571%;width:57.143%" in html  # 1 s to 3 s of the 3.5 s that something was said or drawn
    assert [value for tag, name, value in page.attributes if name == "href"] == ["https://x.example/b.wav"]
    assert not [value for tag, name, value in page.attributes if name == "src"]
    for word in ("lookup", "hang_up", "Tools", "Recordings", "Figures", "far end", "answered"):
        assert word in html


# ---- where they go


class Kept(RecordingSink):
    """Keeps what it gets; fails as often as told."""

    def __init__(self, failures=0):
        self.failures, self.got = failures, []

    async def on_recording_complete(self, metadata):
        if self.failures:
            self.failures -= 1
            raise OSError("no route")
        self.got.append((metadata.format, metadata.name, Path(metadata.file_path).read_text()))


async def talk(call):
    await call.answer()
    call.metadata["customer"] = 7
    await call.listen_dtmf(max_digits=1, timeout=5)


async def whole_call(world, name="17.4"):
    session = world.call(name)
    async with asyncio.timeout(5):
        while session.state != "in_progress":
            await asyncio.sleep(0.002)
    world.ari.hang_up(name)
    await world.over()


def files(folder):
    return sorted(
        str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and ".spool" not in p.parts
    )


async def test_a_folder_gets_json_and_page_of_every_call_by_the_time_the_app_has_stopped(
    monkeypatch, tmp_path
):
    today = datetime.now(UTC)
    async with running(monkeypatch, talk, call_records=tmp_path / "records") as world:
        await whole_call(world)
    folder = f"{today:%Y/%m/%d}"
    assert files(tmp_path / "records") == [f"{folder}/17.4.html", f"{folder}/17.4.json"]
    found = json.loads((tmp_path / "records" / folder / "17.4.json").read_text())
    assert found["call"]["id"] == "17.4"
    assert found["call"]["app"] == "test"
    assert found["call"]["metadata"] == {"customer": 7}
    assert found["call"]["ended"]
    assert [each["type"] for each in found["events"]][-2:] == ["call.ended", "session.destroyed"]
    assert found["metrics"]["call_id"] == "17.4"
    Page((tmp_path / "records" / folder / "17.4.html").read_text())


async def test_the_settings_can_ask_for_them(monkeypatch, tmp_path):
    monkeypatch.setenv("VOXTRA_CALL_RECORDS_FOLDER", str(tmp_path / "records"))
    monkeypatch.setenv("VOXTRA_CALL_RECORDS_PAGE", "false")
    async with running(monkeypatch, talk) as world:
        await whole_call(world)
    assert [Path(each).suffix for each in files(tmp_path / "records")] == [".json"]


async def test_calls_that_a_stop_ends_have_their_records(monkeypatch, tmp_path):
    sink = Kept()
    async with running(monkeypatch, talk, call_records=CallRecords(sink, page=False)) as world:
        world.call("1.1")
        session = world.call("1.2")
        while session.state != "in_progress":
            await asyncio.sleep(0.002)
    assert sorted(name for _, name, _ in sink.got) == ["1.1", "1.2"]
    assert all(json.loads(text)["call"]["ended"] for _, _, text in sink.got)


async def test_a_sink_that_fails_at_first_has_them_in_the_end_through_a_spool(monkeypatch, tmp_path):
    kept = Kept(failures=3)
    sink = SpooledSink(kept, tmp_path / "spool", retry_s=(0.01, 0.02), min_free=0)
    async with running(monkeypatch, talk, call_records=sink) as world:
        await whole_call(world)
        assert await sink.flush(5)
    assert sorted(format for format, *_ in kept.got) == ["html", "json"]


async def test_a_sink_that_never_takes_one_is_said_and_the_record_stays(monkeypatch, tmp_path, caplog):
    class Refusing(Kept):
        workspace = tmp_path / "growing"

    async with running(monkeypatch, talk, call_records=CallRecords(Refusing(9), page=False)) as world:
        await whole_call(world)
    (path,) = (tmp_path / "growing").iterdir()
    assert f"stays at {path}" in caplog.text
    assert json.loads(path.read_text())["call"]["id"] == "17.4"


async def test_a_crash_leaves_what_had_happened_and_the_next_start_delivers_it(monkeypatch, tmp_path):
    monkeypatch.setattr("voxtra.recording.records.DRAFT_S", 0.01)
    spool = SpooledSink(Kept(), tmp_path / "spool", min_free=0)
    records = CallRecords(spool, page=False)
    await records.start()
    record = records.begin(CALL)
    record(VoxtraEvent(type=EventType.SESSION_CREATED))
    record(UserTranscriptEvent(text="hello"))
    async with asyncio.timeout(5):
        while not list((tmp_path / "spool" / "incoming").glob("17.4-*.json")):
            await asyncio.sleep(0.005)
    record._drafting.cancel()  # and nothing more: the process has died
    await spool._spool.close()
    kept = Kept()
    async with SpooledSink(kept, tmp_path / "spool", min_free=0) as again:
        assert await again.flush(5)
    ((format, name, text),) = kept.got
    assert (format, name.split("-")[0]) == ("json", "recovered/17.4")
    found = json.loads(text)
    assert [turn["text"] for turn in found["turns"]] == ["hello"]
    assert found["call"]["ended"] is None


async def test_recordings_are_named_in_it_with_where_they_are_or_why_not(tmp_path):
    sink = Kept()
    records = CallRecords(sink, page=True)
    record = records.begin(CALL)
    good = record.watch(LocalFileSink(tmp_path / "out"))
    assert good.workspace == tmp_path / "out" / ".partial"
    path = write_wav(tmp_path / "growing.wav", 2.0)
    await good.on_recording_complete(RecordingMetadata("17.4", "good", str(path), 2.0))
    bad = record.watch(Kept(failures=1))
    path = write_wav(tmp_path / "other.wav", 1.0)
    with pytest.raises(OSError, match="no route"):
        await bad.on_recording_complete(RecordingMetadata("17.4", "bad", str(path), 1.0))
    await record.finish()
    await record.finish()  # again changes nothing
    (_, _, text), (_, _, page) = sink.got
    first, second = json.loads(text)["recordings"]
    assert (first["name"], first["uri"]) == ("good", (tmp_path / "out" / "good.wav").as_uri())
    assert (second["name"], second["error"]) == ("bad", "no route")
    assert page.count('class="peak"') == 4


@pytest.mark.parametrize("wrong", ["", 5, object()])
def test_what_cannot_take_them_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="call_records"):
        CallRecords(wrong)


def test_killed_at_random_no_record_that_was_acknowledged_is_lost_and_none_comes_twice(tmp_path):
    script = Path(__file__).with_name("record_kills.py")
    ran = subprocess.run(
        [sys.executable, script, tmp_path, "30", str(int(time.time()))],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    print(found)
    assert found["acknowledged"] >= 5, found  # few on a busy machine
    assert (found["lost"], found["duplicated"], found["left"]) == (0, 0, 0), found


async def test_processes_that_run_one_app_have_a_spool_each(tmp_path):
    one, two = CallRecords(tmp_path), CallRecords(tmp_path)
    await one.start()
    with pytest.raises(ConfigurationError, match="in use by another process"):
        await two.start()
    two = CallRecords(tmp_path)
    two.share(2)
    await two.start()
    for each in (one, two):
        record = each.begin(CALL)
        await record.finish()
        await each.close()
    assert [Path(each).name for each in files(tmp_path)] == [
        "17.4-2.html",
        "17.4-2.json",
        "17.4.html",
        "17.4.json",
    ]


async def test_a_handlers_metadata_that_is_no_json_costs_no_record(tmp_path):
    records = CallRecords(tmp_path)
    await records.start()
    record = records.begin({"id": "vx-odd", "app": "a"})
    ring = []
    ring.append(ring)
    await record.finish({("a", 1): "pair", "ring": ring, "plain": 5})
    await records.close()
    (found,) = tmp_path.rglob("vx-odd.json")
    metadata = json.loads(found.read_text())["call"]["metadata"]
    assert metadata["plain"] == "5"
    assert metadata["('a', 1)"] == "'pair'"
