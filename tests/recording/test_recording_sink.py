"""Where recordings go: moved whole, never out of their folder, and told of with a signature."""
# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import hashlib
import hmac
import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from voxtra.errors import ConfigurationError, MediaError
from voxtra.recording import CompositeSink, LocalFileSink, RecordingMetadata, RecordingSink, WebhookSink
from voxtra.recording.placing import place
from voxtra.recording.sink import check_name


def recorded(folder, name="call", content=b"RIFF"):
    path = folder / "growing.wav"
    path.write_bytes(content)
    return RecordingMetadata("vx-1", name, str(path), 1.5)


@pytest.mark.proves("LocalFileSink(base_dir)")
async def test_the_file_is_moved_under_its_name_with_folders(tmp_path):
    metadata = recorded(tmp_path, "acme/2026/call-001")
    await LocalFileSink(tmp_path / "out").on_recording_complete(metadata)
    goal = tmp_path / "out" / "acme" / "2026" / "call-001.wav"
    assert metadata.file_path == str(goal)
    assert goal.read_bytes() == b"RIFF"
    assert sorted(os.listdir(tmp_path)) == ["out"]
    assert os.listdir(goal.parent) == ["call-001.wav"]


async def test_called_again_nothing_changes(tmp_path):
    sink = LocalFileSink(tmp_path)
    metadata = recorded(tmp_path)
    await sink.on_recording_complete(metadata)
    first = metadata.file_path
    await sink.on_recording_complete(metadata)
    assert metadata.file_path == first
    assert os.listdir(tmp_path) == ["call.wav"]


async def test_no_recording_replaces_another_of_its_name(tmp_path):
    sink = LocalFileSink(tmp_path / "out")
    found = []
    for content in (b"one", b"two", b"three"):
        metadata = recorded(tmp_path, content=content)
        await sink.on_recording_complete(metadata)
        found.append((Path(metadata.file_path).name, Path(metadata.file_path).read_bytes()))
    assert found == [("call.wav", b"one"), ("call-2.wav", b"two"), ("call-3.wav", b"three")]


async def test_over_disks_it_is_copied_and_then_shown(tmp_path, monkeypatch):
    metadata = recorded(tmp_path, content=b"x" * 3_000_000)
    stat = Path.stat

    def on_another_disk(path, **how):
        found = stat(path, **how)
        if path.name != "growing.wav":
            return found
        return SimpleNamespace(
            **{each: getattr(found, each) for each in dir(found) if "st_" in each} | {"st_dev": -1}
        )

    monkeypatch.setattr(Path, "stat", on_another_disk)
    await LocalFileSink(tmp_path / "out").on_recording_complete(metadata)
    monkeypatch.undo()
    assert os.listdir(tmp_path / "out") == ["call.wav"]
    assert (tmp_path / "out" / "call.wav").stat().st_size == 3_000_000
    assert not (tmp_path / "growing.wav").exists()


@pytest.mark.parametrize(
    "name", ["../x", "a/../../x", "/etc/x", "a//b", ".hidden", "a/.b", "", "a\\b", "a\0b", "x\n", "a/"]
)
async def test_a_name_never_leads_out_of_the_folder(tmp_path, name):
    (tmp_path / "in").mkdir()
    metadata = recorded(tmp_path, name)
    with pytest.raises(ConfigurationError, match="can't be a recording's name"):
        await LocalFileSink(tmp_path / "in" / "out").on_recording_complete(metadata)
    assert Path(metadata.file_path).exists()


async def test_a_link_never_leads_out_of_the_folder(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "acme").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="a link leads out"):
        await LocalFileSink(tmp_path / "out").on_recording_complete(recorded(tmp_path, "acme/call"))
    assert os.listdir(tmp_path / "elsewhere") == []


@given(st.text(max_size=60))
def test_a_name_that_is_let_through_stays_below_its_folder(name):
    try:
        check_name(name)
    except ConfigurationError:
        return
    goal = os.path.normpath(f"/base/{name}.wav")
    assert goal.startswith("/base/")
    assert "\0" not in goal
    assert not any(part.startswith(".") for part in goal.split("/"))


async def test_a_file_that_is_gone_is_a_named_error(tmp_path):
    metadata = RecordingMetadata("vx-1", "call", str(tmp_path / "gone.wav"))
    with pytest.raises(MediaError, match=r"can't move the recording .*gone\.wav.*No such file"):
        await LocalFileSink(tmp_path / "out").on_recording_complete(metadata)


class Broken(RecordingSink):
    async def on_recording_complete(self, metadata):
        raise ValueError("no room")


class Noting(RecordingSink):
    def __init__(self):
        self.paths = []

    async def on_recording_complete(self, metadata):
        self.paths.append(metadata.file_path)


@pytest.mark.proves("CompositeSink(*sinks)")
async def test_one_sinks_failure_is_not_anothers_and_later_ones_see_where_the_file_went(tmp_path, caplog):
    noting = Noting()
    sink = CompositeSink(Broken(), LocalFileSink(tmp_path / "out"), noting)
    assert sink.workspace == tmp_path / "out" / ".partial"
    await sink.on_recording_complete(recorded(tmp_path))
    assert noting.paths == [str(tmp_path / "out" / "call.wav")]
    assert "Broken failed for the recording 'call'" in caplog.text


class Receiver:
    """A web server that keeps what it was sent."""

    def __init__(self, status=204, hang=False):
        self.status, self.hang = status, hang
        self.got = []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _take(self, request):
        self.got.append((request.headers, await request.read()))
        if self.hang:
            await asyncio.sleep(30)
        return web.Response(status=self.status)


@pytest.mark.proves(
    "WebhookSink(url, signing_secret=, timeout_seconds=)",
    "X-Voxtra-Signature of a recording",
)
async def test_the_webhooks_body_is_the_metadata_and_its_signature_is_that_of_the_body():
    metadata = RecordingMetadata("vx-1", "appel-d'été", "/x.wav", 2.5, extra={"org": "acme"})
    async with Receiver() as receiver:
        await WebhookSink(receiver.url, signing_secret="s3cret").on_recording_complete(metadata)
        ((headers, body),) = receiver.got
    assert json.loads(body) == {
        "session_id": "vx-1",
        "name": "appel-d'été",
        "file_path": "/x.wav",
        "duration_seconds": 2.5,
        "format": "wav",
        "extra": {"org": "acme"},
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Voxtra-Signature"] == hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()


async def test_without_a_secret_there_is_no_signature():
    async with Receiver() as receiver:
        await WebhookSink(receiver.url).on_recording_complete(RecordingMetadata("vx-1", "call"))
        assert "X-Voxtra-Signature" not in receiver.got[0][0]


@pytest.mark.parametrize(("status", "hang"), [(500, False), (301, False), (204, True)])
async def test_a_webhook_that_fails_is_logged_without_secrets_and_never_raises(status, hang, caplog):
    async with Receiver(status, hang) as receiver:
        sink = WebhookSink(receiver.url + "?token=hidden", timeout_seconds=0.3)
        await sink.on_recording_complete(RecordingMetadata("vx-1", "call"))
    assert "'call'" in caplog.text
    assert "hidden" not in "".join(r.getMessage() for r in caplog.records if r.name == "voxtra.recording")


async def test_a_webhook_nobody_listens_to_is_logged(caplog):
    with caplog.at_level(logging.ERROR):
        await WebhookSink("http://127.0.0.1:9/x").on_recording_complete(RecordingMetadata("vx-1", "call"))
    assert "was not told of the recording 'call'" in caplog.text


@pytest.mark.parametrize("url", ["", "ftp://x/y", "hook", "http://", "http://[::1", "https://a..b/"])
def test_a_webhook_without_a_url_is_refused(url):
    with pytest.raises(ConfigurationError, match="is no URL"):
        WebhookSink(url)
    with pytest.raises(ConfigurationError, match="timeout_seconds"):
        WebhookSink("http://x/", timeout_seconds=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: WebhookSink(None), "url=None: should be text"),
        (lambda: WebhookSink("http://x/", signing_secret=None), "signing_secret: should be text"),
        (lambda: WebhookSink("http://x/", signing_secret=b"s3cret"), "signing_secret: should be text"),
        (lambda: WebhookSink("http://x/", timeout_seconds="10"), "timeout_seconds='10': should be a number"),
        (lambda: LocalFileSink(None), "base_dir=None: should be a folder"),
        (lambda: CompositeSink([LocalFileSink("out")]), "should be a RecordingSink"),
        (lambda: CompositeSink(None), "sink=None: should be a RecordingSink"),
    ],
)
def test_what_no_sink_can_be_made_of_is_refused_at_once(make, said):
    """Not when the first call has ended, and its recording is to go somewhere."""
    with pytest.raises(ConfigurationError, match=said) as caught:
        make()
    assert "s3cret" not in str(caught.value)


def test_a_new_name_is_on_the_disk_for_good_before_the_old_one_goes(tmp_path, monkeypatch):
    """Else a power cut could take both."""
    source = tmp_path / "growing.wav"
    source.write_bytes(b"RIFF")
    synced, real = [], os.fsync

    def noting(handle):
        assert source.exists()
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        real(handle)

    monkeypatch.setattr(os, "fsync", noting)
    place(source, tmp_path / "out", "2026/01/call.wav", "wav")
    assert not source.exists()
    out = tmp_path / "out"
    assert set(synced) == {out / "2026/01", out / "2026", out, tmp_path}
