"""The spool: nothing acknowledged is lost, nothing comes twice, and a full disk is said."""
# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import contextlib
import errno
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, SpoolError, StorageError
from voxtra.recording import CompositeSink, LocalFileSink, RecordingMetadata, RecordingSink, WebhookSink
from voxtra.recording.spool import Patience
from voxtra.recording.spool_store import RESERVE, Entry, SpoolStore
from voxtra.recording.spooled import SpooledSink

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_app import running

QUICK = {"retry_s": (0.01, 0.05), "grace_s": 2.0, "min_free": 0}


def recorded(sink, name="call", content=b"RIFF", file="growing"):
    path = sink.workspace / f"{file}.wav"
    path.write_bytes(content)
    return RecordingMetadata("vx-1", name, str(path), 1.5)


def left(folder):
    return sorted(p.name for part in ("files", "incoming", "out") for p in (folder / part).iterdir())


class Flaky(RecordingSink):
    """Fails as often as told, then keeps what it gets."""

    def __init__(self, failures=0, error=None):
        self.failures, self.error = failures, error or OSError("no route")
        self.got, self.tries = [], 0

    async def on_recording_complete(self, metadata):
        self.tries += 1
        if self.failures:
            self.failures -= 1
            raise self.error
        self.got.append((metadata.name, Path(metadata.file_path).read_bytes(), dict(metadata.extra)))


async def test_it_is_safe_at_once_and_delivered_in_the_background(tmp_path):
    inner = Flaky(failures=3)
    async with SpooledSink(inner, tmp_path, **QUICK) as sink:
        metadata = recorded(sink)
        await sink.on_recording_complete(metadata)
        assert Path(metadata.file_path).parent == tmp_path / "files"
        assert await sink.flush(5)
    ((name, content, extra),) = inner.got
    assert (name, content, inner.tries) == ("call", b"RIFF", 4)
    assert extra["delivery_attempt"] == 4
    assert len(extra["delivery_id"]) == 32
    assert left(tmp_path) == []


async def test_called_again_it_is_not_delivered_again(tmp_path):
    inner = Flaky()
    async with SpooledSink(inner, tmp_path, **QUICK) as sink:
        metadata = recorded(sink)
        first = metadata.file_path
        for _ in range(2):
            await sink.on_recording_complete(metadata)
        assert await sink.flush(5)
        await sink.on_recording_complete(metadata)
        await sink.on_recording_complete(RecordingMetadata("vx-1", "call", first, 1.5))
        assert await sink.flush(5)
    assert len(inner.got) == 1


async def test_what_could_not_be_delivered_is_after_a_restart(tmp_path):
    sink = SpooledSink(Flaky(failures=10**9), tmp_path, **QUICK | {"grace_s": 0.05})
    await sink.on_recording_complete(recorded(sink))  # starts by itself
    await sink.close()
    assert len(left(tmp_path)) == 1
    inner = Flaky()
    async with SpooledSink(inner, tmp_path, **QUICK) as sink:
        assert await sink.flush(5)
    assert [name for name, *_ in inner.got] == ["call"]
    assert left(tmp_path) == []


async def test_each_sink_of_a_composite_has_its_own_way(tmp_path):
    class Other(Flaky):
        pass

    ill, well = Other(failures=10**9), Flaky()
    files = LocalFileSink(tmp_path / "out")
    async with SpooledSink(CompositeSink(ill, files, well), tmp_path / "s", **QUICK | {"grace_s": 0}) as sink:
        assert list(sink.sinks) == ["Other", "LocalFileSink", "Flaky"]
        await sink.on_recording_complete(recorded(sink))
        async with asyncio.timeout(5):
            while not (well.got and (tmp_path / "out" / "call.wav").exists() and ill.tries > 2):
                await asyncio.sleep(0.005)
    assert len(left(tmp_path / "s")) == 1  # kept for the one that is ill
    async with SpooledSink(CompositeSink(Other(), files, well), tmp_path / "s", **QUICK) as sink:
        assert await sink.flush(5)
    assert os.listdir(tmp_path / "out") == ["call.wav"]
    assert left(tmp_path / "s") == []


async def test_two_sinks_of_a_kind_are_told_apart(tmp_path):
    a, b = Flaky(), Flaky()
    async with SpooledSink(CompositeSink(a, CompositeSink(b)), tmp_path, **QUICK) as sink:
        assert list(sink.sinks) == ["Flaky", "Flaky-2"]
        await sink.on_recording_complete(recorded(sink))
        assert await sink.flush(5)
    assert len(a.got) == len(b.got) == 1


@pytest.mark.parametrize("error", [StorageError("403", final=True), ValueError("odd")])
async def test_it_is_given_up_and_kept_and_can_be_retried_from_outside(tmp_path, error, caplog):
    inner = Flaky(failures=3, error=error)
    async with SpooledSink(inner, tmp_path, attempts=3, **QUICK) as sink:
        await sink.on_recording_complete(recorded(sink))
        assert await sink.flush(5)
        assert inner.tries == (1 if isinstance(error, StorageError) else 3)
        assert f"voxtra spool list -f {tmp_path}" in caplog.text
        outside = SpoolStore(tmp_path, owner=False)
        (dead,) = outside.entries()
        assert (dead.state, dead.sink) == ("dead", "Flaky")
        assert str(error) in dead.error
        inner.failures = 0
        assert outside.retry() == 1
        outside.close()
        sink._spool._outlets["Flaky"].wake.set()  # else seen within POLL_S
        assert await sink.flush(5)
    assert len(inner.got) == 1


async def test_purging_removes_the_file_too(tmp_path):
    async with SpooledSink(Flaky(10**9), tmp_path, attempts=1, **QUICK) as sink:
        await sink.on_recording_complete(recorded(sink))
        assert await sink.flush(5)
        outside = SpoolStore(tmp_path, owner=False)
        assert outside.purge() == 1
        outside.close()
    assert left(tmp_path) == []


async def test_one_process_one_folder(tmp_path):
    async with SpooledSink(Flaky(), tmp_path, **QUICK):
        with pytest.raises(ConfigurationError, match="in use by another"):
            await SpooledSink(Flaky(), tmp_path, **QUICK).start()
    async with SpooledSink(Flaky(), tmp_path, **QUICK):
        pass


async def test_several_processes_share_a_folder_each_with_its_own(tmp_path):
    first, second, third = (Flaky(10**9), Flaky(10**9), Flaky())
    how = QUICK | {"grace_s": 0, "processes": 2}
    async with SpooledSink(first, tmp_path, **how) as a, SpooledSink(second, tmp_path, **how) as b:
        assert [a.folder, b.folder] == [tmp_path, tmp_path / "process-2"]
        with pytest.raises(ConfigurationError, match="in use by another"):
            await SpooledSink(third, tmp_path, **how).start()
        await a.on_recording_complete(recorded(a, "one"))
        await b.on_recording_complete(recorded(b, "two"))
    async with SpooledSink(Flaky(), tmp_path, **how), SpooledSink(third, tmp_path, **how) as b:
        assert await b.flush(5)
    assert [name for name, *_ in third.got] == ["two"]


async def test_a_webhook_in_it_is_tried_until_it_answers(tmp_path):
    answers, got = [503, 500, 429, 204], []

    async def take(request):
        got.append(await request.json())
        return web.Response(status=answers[len(got) - 1])

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        async with SpooledSink(WebhookSink(url), tmp_path, **QUICK) as sink:
            await sink.on_recording_complete(recorded(sink))
            assert await sink.flush(5)
    finally:
        await runner.cleanup()
    assert [each["extra"]["delivery_attempt"] for each in got] == [1, 2, 3, 4]
    assert len({each["extra"]["delivery_id"] for each in got}) == 1


async def test_too_much_is_refused_and_stays_where_it_grew(tmp_path):
    async with SpooledSink(Flaky(10**9), tmp_path, max_bytes=1000, **QUICK | {"grace_s": 0}) as sink:
        await sink.on_recording_complete(recorded(sink, "one", b"x" * 900))
        metadata = recorded(sink, "two", b"y" * 200, "other")
        with pytest.raises(SpoolError, match="900 bytes wait already"):
            await sink.on_recording_complete(metadata)
        assert Path(metadata.file_path).read_bytes() == b"y" * 200
    async with SpooledSink(inner := Flaky(), tmp_path, **QUICK) as sink:  # comes back as what was left behind
        assert await sink.flush(5)
    assert sorted(name for name, *_ in inner.got) == ["one", "recovered/other"]


async def test_a_disk_that_is_nearly_full_is_said(tmp_path):
    async with SpooledSink(Flaky(), tmp_path, **QUICK | {"min_free": 10**18}) as sink:
        with pytest.raises(SpoolError, match="the disk is nearly full"):
            await sink.on_recording_complete(recorded(sink))


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a disk to fill can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_on_a_full_disk_what_is_there_is_kept_and_goes_out(small_disk):
    inner = Flaky(failures=10**9)
    async with SpooledSink(inner, small_disk, **QUICK | {"parallel": 1}) as sink:
        await sink.on_recording_complete(recorded(sink, "one", b"x" * 100_000))
        path = small_disk / "fill"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as fill:
            while True:
                fill.write(bytes(4096))
        refused = RecordingMetadata("vx-1", "two", str(path), 1)

        async def until_refused():  # the pages SQLite has at hand are used up first
            for number in range(200):
                refused.name = f"two-{number}" + "z" * 80
                os.link(path, small_disk / f"fill-{number}")
                refused.file_path = str(small_disk / f"fill-{number}")
                await sink.on_recording_complete(refused)

        with pytest.raises(SpoolError, match=r"full|No space|I/O"):
            await until_refused()
        assert Path(refused.file_path).exists()
        for number in range(200):
            (small_disk / f"fill-{number}").unlink(missing_ok=True)
        inner.failures = 0
        assert await sink.flush(20)
    assert inner.got[0][:2] == ("one", b"x" * 100_000)
    assert not (small_disk / "reserve").exists() or (small_disk / "reserve").stat().st_size == RESERVE


def test_killed_at_random_nothing_acknowledged_is_lost_and_nothing_comes_twice(tmp_path):
    script = Path(__file__).with_name("spool_kills.py")
    ran = subprocess.run(
        [sys.executable, script, tmp_path, "60", str(int(time.time()))],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    print(found)
    assert found["acknowledged"] >= 10, found  # few on a busy machine
    assert (found["lost"], found["duplicated"], found["left"]) == (0, 0, 0), found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["put a", "put b", "put", "take", "done", "fail", "give back"]), max_size=40))
def test_a_lane_keeps_its_order_whatever_happens(steps):
    store = SpoolStore(None)
    taken, out, number = [], [], 0
    for step in steps:
        if step.startswith("put"):
            number += 1
            store.put([Entry("s", str(number), "webhook", lane=step[4:])])
        elif step == "take" and (entry := store.take("s")) is not None:
            taken.append(entry)
            lane = [each for each in taken if each.lane and each.lane == entry.lane]
            assert len(lane) <= 1
        elif taken and step != "take":
            entry = taken.pop()
            if step == "done":
                store.done(entry)
                out.append(entry)
            elif step == "fail":
                store.failed(entry, "no", 0.0)
            else:
                store.give_back(entry)
    for lane in "ab":
        ids = [entry.id for entry in out if entry.lane == lane]
        assert ids == sorted(ids)
    assert store.waiting("s") == number - len(out)
    store.close()


@given(st.integers(1, 200), st.floats(0, 1e6))
def test_waits_grow_within_their_bounds(attempts, asked):
    patience = Patience(attempts=150, first_s=1, most_s=60)
    wait = patience.wait_s(attempts, StorageError("503", retry_after_s=asked))
    assert (wait is None) == (attempts >= 150)
    if wait is not None:
        assert min(60, 2.0 ** (attempts - 1)) / 2 <= wait <= max(60, min(asked, 3000))
    assert patience.wait_s(1, StorageError("400", final=True)) is None


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"retry_s": (2, 1)}, {"parallel": 0}, {"deliver_s": 0}])
def test_numbers_that_cannot_be_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigurationError, match="SpooledSink"):
        SpooledSink(Flaky(), tmp_path, **wrong)


async def test_below_the_low_water_mark_nothing_new_is_recorded_and_the_call_goes_on(
    monkeypatch, tmp_path, caplog
):
    """The disk of the spool is nearly full: said as an event and in the log; it goes on once there is room."""
    events, names = [], []
    sink = SpooledSink(Flaky(), tmp_path, **QUICK | {"low_water": 10**18})

    async def talk(call):
        call.observe(events.append)
        names.append(await call.record_start("one"))
        assert call.recording is None
        assert await call.record_stop() is None
        sink._low_water = 1
        names.append(await call.record_start("two"))
        assert call.recording is not None
        await call.record_stop()
        await call.listen_dtmf(max_digits=1, timeout=5)

    async with running(monkeypatch, talk, recording_sink=sink) as world:
        world.call("17.4")
        async with asyncio.timeout(5):
            while len(names) < 2:
                await asyncio.sleep(0.002)
        world.ari.hang_up("17.4")
        await world.over()
        assert await sink.flush(5)
    assert names == ["one", "two"]
    (refused,) = [event for event in events if event.type == "error"]
    assert refused.error_type == "SpoolError"
    assert "not recorded, the call goes on: the disk of the spool" in refused.message
    assert "below the low-water mark" in refused.message
    (line,) = [each for each in caplog.records if "not recorded" in each.message]
    assert (line.levelname, line.call_id) == ("ERROR", "17.4")
    assert [name for name, *_ in sink.sinks["Flaky"].got] == ["two"]


async def test_a_composite_refuses_when_one_of_it_does(tmp_path):
    sink = SpooledSink(Flaky(), tmp_path / "spool", **QUICK)
    assert sink.refusal() == ""
    assert CompositeSink(Flaky(), sink).refusal() == ""
    full = SpooledSink(Flaky(), tmp_path / "other", **QUICK | {"low_water": 10**18})
    assert "low_water" in CompositeSink(Flaky(), full).refusal()


async def test_a_disk_that_fails_for_a_moment_stops_no_delivery(tmp_path, monkeypatch, caplog):
    """What SQLite and the system raise becomes an error of ours, and the next try works."""
    monkeypatch.setattr("voxtra.recording.spool.POLL_S", 0.02)
    failures = [sqlite3.OperationalError("disk I/O error"), OSError(errno.EIO, "Input/output error")]
    real = SpoolStore.next_due_s

    def ill(store, sink):
        if failures:
            raise failures.pop()
        return real(store, sink)

    monkeypatch.setattr(SpoolStore, "next_due_s", ill)
    async with SpooledSink(inner := Flaky(), tmp_path, **QUICK) as sink:
        while failures:
            await asyncio.sleep(0.005)
        await sink.on_recording_complete(recorded(sink))
        assert await sink.flush(5)
    assert len(inner.got) == 1
    assert "disk I/O error" in caplog.text


async def test_a_delivery_that_a_stop_breaks_off_is_not_stored_twice(tmp_path):
    """The thread that moves the file is not to be stopped: it is there when the next start tries again."""
    pyrage = pytest.importorskip("pyrage")
    key = str(pyrage.x25519.Identity.generate().to_public())

    def sealed() -> LocalFileSink:
        return LocalFileSink(tmp_path / "out", encrypt_to=key)

    files = sealed()
    begun, real = threading.Event(), files._seal

    def slow(source, goal):
        begun.set()
        time.sleep(0.2)
        real(source, goal)

    files._seal = slow
    async with SpooledSink(files, tmp_path / "s", **QUICK | {"grace_s": 0}) as sink:
        await sink.on_recording_complete(recorded(sink))
        await asyncio.to_thread(begun.wait, 5)
    async with asyncio.timeout(5):
        while not (tmp_path / "out" / "call.wav.age").exists():
            await asyncio.sleep(0.01)
    async with SpooledSink(sealed(), tmp_path / "s", **QUICK) as sink:
        assert await sink.flush(5)
    assert os.listdir(tmp_path / "out") == ["call.wav.age"]


async def test_a_row_is_struck_out_for_good_before_its_file_goes(tmp_path):
    """Else a power cut leaves a row whose file is gone, that nobody can deliver."""
    async with SpooledSink(Flaky(), tmp_path, **QUICK) as sink:
        said: list[str] = []
        await sink._spool.do(lambda store: store._db.set_trace_callback(said.append))
        await sink.on_recording_complete(recorded(sink))
        assert await sink.flush(5)
        await sink._spool.do(lambda store: store._db.set_trace_callback(None))
    done = next(index for index, sql in enumerate(said) if "'done'" in sql and sql.startswith("UPDATE"))
    assert [sql for sql in said[:done] if "synchronous" in sql][-1] == "PRAGMA synchronous=FULL"


def test_a_spool_whose_folder_can_not_be_reached_refuses_recordings(tmp_path):
    sink = SpooledSink(Flaky(), tmp_path / "disk" / "spool")
    (tmp_path / "disk").write_text("not a folder any more")
    assert "can't be reached" in sink.refusal()


def test_a_new_spool_is_on_the_disk_for_good_when_it_is_open(tmp_path, monkeypatch):
    synced, real = set(), os.fsync

    def noting(handle):
        synced.add(Path(os.readlink(f"/proc/self/fd/{handle}")))
        real(handle)

    monkeypatch.setattr(os, "fsync", noting)
    SpoolStore(tmp_path / "a" / "b").close()
    assert {tmp_path, tmp_path / "a", tmp_path / "a" / "b"} <= synced


async def test_what_was_delivered_is_not_remembered_for_ever(tmp_path, monkeypatch):
    """A process that runs for months delivers millions."""
    monkeypatch.setattr("voxtra.recording.spool_store.KEEP_DONE_S", 0.0)
    monkeypatch.setattr("voxtra.recording.spool_store.FORGET_EVERY", 5)
    async with SpooledSink(inner := Flaky(), tmp_path, **QUICK) as sink:
        for number in range(12):
            await sink.on_recording_complete(recorded(sink, f"call-{number}", file=f"growing-{number}"))
        assert await sink.flush(5)
        assert len(inner.got) == 12
        counts = await sink._spool.do(SpoolStore.counts)
    assert counts["Flaky"]["done"] <= 5


def test_what_an_earlier_process_left_may_have_arrived(tmp_path):
    """That it was taken is not synced: after a power cut it looks as if it had never been tried."""
    store = SpoolStore(tmp_path, min_free=0)
    store.put([Entry("s", "k", "webhook")])
    store.close()
    store = SpoolStore(tmp_path, min_free=0)
    entry = store.take("s")
    store.close()
    assert entry is not None
    assert entry.attempts == 2
