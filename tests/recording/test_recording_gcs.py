"""Google Cloud Storage: Google's own client against a server that speaks its protocol, through every fault."""

# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import base64
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

import google_crc32c
import pytest
from aiohttp import web
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from voxtra.errors import StorageError
from voxtra.recording import GCSSink, RecordingMetadata, SpooledSink

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import FaultProxy

BIG = 9 * 1024 * 1024 + 17


class Bucket:
    """The parts of https://cloud.google.com/storage/docs/json_api that an upload uses."""

    def __init__(self):
        self.objects, self.writes, self.sessions = {}, Counter(), {}
        self.failures, self.keys = [], []
        self.fail_chunk = 0
        self.about = {"name": "calls", "metageneration": "1"}

    async def __aenter__(self):
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/upload/storage/v1/b/{bucket}/o", self._upload)
        app.router.add_put("/session/{id}", self._chunk)
        app.router.add_get("/storage/v1/b/{bucket}/o/{name:.+}", self._get)
        app.router.add_get("/storage/v1/b/{bucket}", self._bucket)
        app.router.add_patch("/storage/v1/b/{bucket}", self._patch)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    def _shown(self, name):
        about, data = self.objects[name]
        digest = google_crc32c.Checksum(data).digest()
        return about | {
            "size": str(len(data)),
            "crc32c": base64.b64encode(digest).decode(),
            "generation": "1",
        }

    def _keep(self, name, about, data, precondition):
        if precondition == "0" and name in self.objects:
            return web.json_response({"error": {"code": 412, "message": "conditionNotMet"}}, status=412)
        self.objects[name] = (about, data)
        self.writes[name] += 1
        return web.json_response(self._shown(name))

    async def _upload(self, request):
        if self.failures:
            await request.read()
            return web.json_response({}, status=self.failures.pop(0))
        precondition = request.query.get("ifGenerationMatch")
        self.keys.append(request.query.get("kmsKeyName"))
        if request.query["uploadType"] == "resumable":
            about, number = await request.json(), str(len(self.sessions))
            about["contentType"] = request.headers["X-Upload-Content-Type"]
            self.sessions[number] = (about, bytearray(), precondition)
            return web.Response(headers={"Location": f"http://{request.host}/session/{number}"})
        reader = await request.multipart()
        about = json.loads(await (await reader.next()).read())
        media = await reader.next()
        about["contentType"] = media.headers["Content-Type"]
        data = bytes(await media.read())
        return self._keep(about["name"], about, data, precondition)

    async def _chunk(self, request):
        about, data, precondition = self.sessions[request.match_info["id"]]
        span = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", request.headers["Content-Range"])
        body = await request.read()
        if self.fail_chunk:
            self.fail_chunk -= 1
            return web.Response(status=503)
        if span[1] is not None and int(span[1]) == len(data):
            data += body
        if span[3] != "*" and len(data) == int(span[3]):
            if self.objects.get(about["name"], (None, b""))[1] == bytes(data):
                return web.json_response(self._shown(about["name"]))
            return self._keep(about["name"], about, bytes(data), precondition)
        return web.Response(status=308, headers={"Range": f"bytes=0-{len(data) - 1}"} if data else {})

    async def _bucket(self, request):
        return web.json_response(self.about)

    async def _patch(self, request):
        assert request.query["ifMetagenerationMatch"] == self.about["metageneration"]
        self.about |= await request.json() | {"metageneration": str(int(self.about["metageneration"]) + 1)}
        return web.json_response(self.about)

    async def _get(self, request):
        name = request.match_info["name"]
        return web.json_response(self._shown(name)) if name in self.objects else web.Response(status=404)


def client_of(port):
    url = f"http://127.0.0.1:{port}"
    return storage.Client("test", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})


@pytest.fixture
async def bucket():
    async with Bucket() as made:
        yield made


@pytest.fixture
def sinks():
    """Makes sinks, and closes their clients."""
    made = []

    def make(port, **options):
        made.append(client_of(port))
        return GCSSink("calls", client=made[-1], **{"timeout": 30} | options)

    yield make
    for client in made:
        client.close()


def recorded(tmp_path, content=b"RIFF", name="a/call", number=1):
    path = tmp_path / f"growing-{number}.wav"
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return RecordingMetadata("vx-1/2", name, str(path), 1.5)


@pytest.mark.proves("voxtra.GCSSink")
async def test_it_is_stored_under_its_name_with_type_and_metadata(tmp_path, bucket, sinks):
    sink = sinks(bucket.port, metadata={"org": "acme"})
    metadata = recorded(tmp_path)
    await sink.on_recording_complete(metadata)
    ((name, (about, data)),) = bucket.objects.items()
    assert name == "2023-11-14/vx-1-2/a/call.wav"
    assert metadata.extra["uri"] == f"gs://calls/{name}"
    assert data == b"RIFF"
    assert about["contentType"] == "audio/wav"
    assert about["metadata"] == {"session-id": "vx-1/2", "recording-name": "a/call", "org": "acme"}
    assert not Path(metadata.file_path).exists()
    await sink.on_recording_complete(metadata)  # called again
    assert sum(bucket.writes.values()) == 1
    await sink.close()


async def test_no_recording_replaces_another_and_none_is_stored_twice(tmp_path, bucket, sinks):
    sink = sinks(bucket.port, name="{name}.{format}", keep_file=True)
    for content in (b"one", b"two", b"one"):
        await sink.on_recording_complete(recorded(tmp_path, content))
    assert {name: data for name, (_, data) in bucket.objects.items()} == {
        "a/call.wav": b"one",
        "a/call-2.wav": b"two",
    }
    await sink.close()


@pytest.mark.parametrize("status", [503, 429])
async def test_a_server_that_is_busy_is_asked_again(tmp_path, bucket, sinks, status):
    bucket.failures = [status]
    sink = sinks(bucket.port)
    await sink.on_recording_complete(recorded(tmp_path))
    assert len(bucket.objects) == 1
    await sink.close()


async def test_nine_megabytes_go_up_in_pieces_and_go_on_after_a_failure(tmp_path, bucket, sinks):
    content = os.urandom(BIG)
    bucket.fail_chunk = 1
    sink = sinks(bucket.port)
    await sink.on_recording_complete(recorded(tmp_path, content))
    ((_, data),) = bucket.objects.values()
    assert data == content
    assert len(bucket.sessions) == 1
    await sink.close()


async def test_what_is_refused_is_a_named_error_and_the_file_stays(tmp_path, bucket, sinks):
    bucket.failures = [403]
    sink = sinks(bucket.port)
    metadata = recorded(tmp_path)
    with pytest.raises(StorageError, match=r"gs://calls/2023-11-14/vx-1-2/a/call\.wav was not stored"):
        await sink.on_recording_complete(metadata)
    assert Path(metadata.file_path).exists()
    await sink.close()


async def _reset(proxy):
    for _ in range(4):
        await asyncio.sleep(0.1)
        proxy.reset()


async def _outage(proxy):
    proxy.refuse = True
    proxy.reset()
    await asyncio.sleep(1.5)
    proxy.refuse = False


async def _lose_answers(proxy):
    proxy.swallow = True
    await asyncio.sleep(0.4)
    proxy.reset()
    proxy.swallow = False


@pytest.mark.parametrize(
    "fault", [_reset, _outage, _lose_answers], ids=["reset", "outage", "lost acknowledgement"]
)
async def test_through_the_spool_no_fault_loses_or_doubles_a_recording(fault, tmp_path, bucket, sinks):
    contents = {f"call-{number}": os.urandom(BIG if number == 0 else 20_000) for number in range(6)}
    async with FaultProxy("127.0.0.1", bucket.port) as proxy:
        sink = sinks(proxy.port, timeout=20)
        spooled = SpooledSink(sink, tmp_path / "spool", retry_s=(0.05, 0.2), min_free=0)
        async with spooled:
            breaking = asyncio.ensure_future(fault(proxy))
            for name, content in contents.items():
                await spooled.on_recording_complete(recorded(tmp_path, content, name, name))
            await breaking
            assert await spooled.flush(40)
        sink._client.close()
    stored = Counter(data for _, data in bucket.objects.values())
    print(
        f"gcs, {fault.__name__}: sent 6 stored {len(stored)} duplicated {sum(stored.values()) - len(stored)}"
    )
    assert stored == Counter(contents.values())


async def kept(sink, caplog):
    with caplog.at_level("INFO", "voxtra.recording"):
        await sink.start()
        async with asyncio.timeout(10):
            while "days" not in caplog.text:
                await asyncio.sleep(0.01)
    await sink.close()
    said, _ = caplog.messages, caplog.clear()
    return said


async def test_the_bucket_removes_what_is_too_old_and_its_other_rules_stay(bucket, sinks, caplog):
    theirs = {"action": {"type": "Delete"}, "condition": {"age": 1, "matchesPrefix": ["tmp/"]}}
    bucket.about["lifecycle"] = {"rule": [theirs]}
    name = "calls/{date}/{name}.{format}"

    def ours(days):
        return {"action": {"type": "Delete"}, "condition": {"age": days, "matchesPrefix": ["calls/"]}}

    said = await kept(sinks(bucket.port, keep_days=30, name=name), caplog)
    assert said == ["gs://calls/calls/: from now on removed after 30 days"]
    assert bucket.about["lifecycle"] == {"rule": [theirs, ours(30)]}
    said = await kept(sinks(bucket.port, keep_days=30, name=name), caplog)
    assert said == ["gs://calls/calls/: is removed after 30 days"]
    assert bucket.about["metageneration"] == "2"
    await kept(sinks(bucket.port, keep_days=60, name=name), caplog)
    assert bucket.about["lifecycle"] == {"rule": [theirs, ours(60)]}


async def test_it_is_encrypted_with_the_key_that_is_named(tmp_path, bucket, sinks):
    key = "projects/p/locations/eu/keyRings/r/cryptoKeys/calls"
    for name, content in (("small", b"RIFF"), ("big", os.urandom(BIG))):
        sink = sinks(bucket.port, kms_key=key)
        await sink.on_recording_complete(recorded(tmp_path, content, name))
        await sink.close()
    plain = sinks(bucket.port)
    await plain.on_recording_complete(recorded(tmp_path, b"plain", "plain"))
    await plain.close()
    assert bucket.keys == [key, key, None]


def test_what_arrives_damaged_is_a_named_error():
    from google.resumable_media import DataCorruption

    with (
        pytest.raises(StorageError, match="gs://calls/x was not stored"),
        GCSSink._named("gs://calls/x was not stored"),
    ):
        raise DataCorruption(None, "checksum mismatch")
