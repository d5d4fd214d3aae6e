"""Recordings at rest: encrypted to a key that is elsewhere, removed in time, and told of once they are there."""

import asyncio
import os
import time
from pathlib import Path

import pyrage
import pytest

from voxtra.errors import ConfigurationError
from voxtra.recording import CompositeSink, LocalFileSink, RecordingMetadata, RecordingSink, SpooledSink
from voxtra.recording.placing import DAY_S, expire

ONE, OTHER = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
CONTENT = b"RIFF" + os.urandom(300_000)


def recorded(tmp_path, content=CONTENT, name="call", file="growing"):
    path = tmp_path / f"{file}.wav"
    path.write_bytes(content)
    return RecordingMetadata("vx-1", name, str(path), 1.5)


# ---- encryption


async def test_a_file_can_be_opened_with_either_key_and_holds_nothing_in_clear(tmp_path):
    keys = [str(ONE.to_public()), str(OTHER.to_public())]
    sink = LocalFileSink(tmp_path / "out", encrypt_to=keys)
    found = []
    for _ in range(2):
        metadata = recorded(tmp_path)
        await sink.on_recording_complete(metadata)
        await sink.on_recording_complete(metadata)  # called again
        found.append(Path(metadata.file_path))
        assert metadata.extra["encrypted"] == "age"
    assert [path.name for path in found] == ["call.wav.age", "call-2.wav.age"]
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert sorted(os.listdir(tmp_path / "out")) == ["call-2.wav.age", "call.wav.age"]
    sealed = found[0].read_bytes()
    assert sealed.startswith(b"age-encryption.org/v1\n")
    assert CONTENT[100:140] not in sealed
    assert pyrage.decrypt(sealed, [ONE]) == pyrage.decrypt(sealed, [OTHER]) == CONTENT
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed, [pyrage.x25519.Identity.generate()])


async def test_delivered_again_after_a_crash_it_is_stored_once(tmp_path):
    sink = LocalFileSink(tmp_path / "out", encrypt_to=str(ONE.to_public()))
    metadata = recorded(tmp_path)
    kept = tmp_path / "spooled.wav"
    os.link(metadata.file_path, kept)
    await sink.deliver(metadata)
    again = RecordingMetadata("vx-1", "call", str(kept), extra={"delivery_attempt": 2})
    await sink.deliver(again)
    assert os.listdir(tmp_path / "out") == ["call.wav.age"]
    another = recorded(tmp_path)  # the same words, another recording
    another.extra["delivery_attempt"] = 2
    await sink.deliver(another)
    assert len(os.listdir(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "key",
    ["age1nonsense", "hunter2", str(ONE), "ssh-ed25519 AAAA", ""],
    ids=["age", "text", "secret", "ssh", "none"],
)
def test_what_is_no_public_key_is_refused_and_a_secret_one_is_not_repeated(key):
    with pytest.raises(ConfigurationError, match="is no public key") as raised:
        LocalFileSink("out", encrypt_to=[key])
    assert key in ("", "age1nonsense") or key not in str(raised.value)


# ---- retention


def aged(folder, name, days):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - days * DAY_S,) * 2)
    return path


def left(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_is_old_goes_with_its_empty_folders_and_nothing_else(tmp_path):
    base = tmp_path / "out"
    for name, days in (
        ("2026/01/a.wav", 40), ("2026/01/b.json", 31), ("2026/02/c.wav", 40), ("2026/02/d.wav", 1), ("new.wav", 29),
        (".partial/growing.wav", 99), ("x/.hidden", 99),
    ):  # fmt: skip
        aged(base, name, days)
    outside = aged(tmp_path, "else/outside.wav", 99)
    (base / "link.wav").symlink_to(outside)
    (base / "linked").symlink_to(outside.parent)
    before = left(base)
    assert len(expire(base, 30, time.time(), dry_run=True)) == 3
    assert left(base) == before
    gone = expire(base, 30, time.time())
    assert sorted(path.name for path in gone) == ["a.wav", "b.json", "c.wav"]
    assert left(base) == [
        ".partial", ".partial/growing.wav", "2026", "2026/02", "2026/02/d.wav", "link.wav", "linked", "new.wav",
        "x", "x/.hidden",
    ]  # fmt: skip
    assert outside.exists()
    assert base.exists()


async def test_it_is_removed_while_the_sink_is_open_also_within_a_spool(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("voxtra.recording.retention.EVERY_S", 0.02)
    base = tmp_path / "out"
    aged(base, "old.wav", 8)
    young = aged(base, "young.wav", 6)
    sink = CompositeSink(LocalFileSink(base, keep_days=7))
    with caplog.at_level("INFO", "voxtra.recording"):
        async with SpooledSink(sink, tmp_path / "spool", min_free=0), asyncio.timeout(5):
            while (base / "old.wav").exists():
                await asyncio.sleep(0.005)
            aged(base, "older.wav", 9)
            while (base / "older.wav").exists():
                await asyncio.sleep(0.005)
    assert young.exists()
    assert caplog.messages.count(f"{base}: removed 1 recordings older than 7 days") == 2


async def test_without_days_nothing_is_ever_removed(tmp_path):
    old = aged(tmp_path, "old.wav", 9999)
    sink = LocalFileSink(tmp_path)
    await sink.start()
    await asyncio.sleep(0.05)
    await sink.close()
    assert old.exists()


@pytest.mark.parametrize("days", [-1, 40_000, float("nan")])
def test_days_that_cannot_be_are_refused(days):
    with pytest.raises(ConfigurationError, match="keep_days must be days"):
        LocalFileSink("x", keep_days=days)


# ---- told once it is there


class Told(RecordingSink):
    """Fails as often as told; writes down what it hears."""

    def __init__(self, failures=0):
        self.failures, self.got, self.open = failures, [], None

    async def on_recording_complete(self, metadata):
        if self.failures:
            self.failures -= 1
            raise OSError("no answer")
        self.got.append((metadata.name, metadata.extra["uri"], metadata.extra.get("delivery_id")))

    async def start(self):
        self.open = True

    async def close(self):
        self.open = False


async def test_without_a_spool_the_one_to_tell_hears_where_it_is_once(tmp_path, caplog):
    told = Told()
    sink = LocalFileSink(tmp_path / "out", then=told)
    await sink.start()
    await sink.on_recording_complete(recorded(tmp_path))
    assert told.got == [("call", (tmp_path / "out" / "call.wav").as_uri(), None)]
    told.failures = 1
    await sink.on_recording_complete(recorded(tmp_path))  # stored all the same
    assert (tmp_path / "out" / "call-2.wav").exists()
    assert "Told was not told of the recording 'call'" in caplog.text
    await sink.close()
    assert told.open is False


async def test_in_a_spool_it_is_told_until_it_hears_and_nothing_is_stored_twice(tmp_path):
    told, stored = Told(failures=3), []

    class Counting(LocalFileSink):
        async def deliver(self, metadata):
            await super().deliver(metadata)
            stored.append(metadata.name)

    sink = Counting(tmp_path / "out", then=told)
    spooled = SpooledSink(sink, tmp_path / "spool", retry_s=(0.01, 0.02), min_free=0)
    assert list(spooled.sinks) == ["Counting", "Counting then Told"]
    async with spooled:
        await spooled.on_recording_complete(recorded(tmp_path))
        assert await spooled.flush(5)
    ((name, uri, delivery_id),) = told.got
    assert (name, uri) == ("call", (tmp_path / "out" / "call.wav").as_uri())
    assert delivery_id
    assert stored == ["call"]


async def test_whom_to_tell_outlives_a_stop(tmp_path):
    deaf = Told(failures=10**9)
    sink = LocalFileSink(tmp_path / "out", then=deaf)
    async with SpooledSink(
        sink, tmp_path / "spool", retry_s=(0.01, 0.02), min_free=0, grace_s=0.1
    ) as spooled:
        await spooled.on_recording_complete(recorded(tmp_path))
        await spooled.flush(0.2)
    assert (tmp_path / "out" / "call.wav").exists()
    well = Told()
    sink = LocalFileSink(tmp_path / "out", then=well)
    async with SpooledSink(sink, tmp_path / "spool", retry_s=(0.01, 0.02), min_free=0) as spooled:
        assert await spooled.flush(5)
    assert [name for name, *_ in well.got] == ["call"]
    assert os.listdir(tmp_path / "out") == ["call.wav"]


async def test_what_a_crash_cut_off_is_kept_no_longer_than_the_rest(tmp_path):
    sink = LocalFileSink(tmp_path, keep_days=30)
    for name, days in (("old", 40), ("new", 1)):
        path = tmp_path / ".partial" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"RIFF")
        ended = time.time() - days * 86_400
        os.utime(path, (ended, ended))
    await sink._expire()
    assert [path.name for path in tmp_path.rglob("*.wav")] == ["new.wav"]
