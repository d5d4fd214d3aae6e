"""S3: Amazon's own client against moto's server, through every fault."""

# ruff: noqa: ASYNC240 - small files of a test

import asyncio
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from voxtra.errors import ConfigurationError, StorageError
from voxtra.recording import RecordingMetadata, S3Sink, SpooledSink

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import FaultProxy

BIG = 17 * 1024 * 1024 + 5
_SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def port():
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ) as server:  # fmt: skip
        yield int(server.stdout.readline())
        server.kill()


def client_of(port, attempts=6):
    return boto3.session.Session().client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={"max_attempts": attempts, "mode": "standard"}, connect_timeout=2, read_timeout=3),
    )  # fmt: skip


@pytest.fixture
def s3(port):
    urllib.request.urlopen(
        urllib.request.Request(f"http://127.0.0.1:{port}/moto-api/reset", method="POST"), timeout=10
    ).close()
    client = client_of(port)
    client.create_bucket(Bucket="calls")
    yield client
    client.close()


def objects(s3):
    found = {}
    for each in s3.list_objects_v2(Bucket="calls").get("Contents", []):
        with s3.get_object(Bucket="calls", Key=each["Key"])["Body"] as body:
            found[each["Key"]] = body.read()
    return found


def recorded(tmp_path, content=b"RIFF", name="a/call", number=1):
    path = tmp_path / f"growing-{number}.wav"
    path.write_bytes(content)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return RecordingMetadata("vx-1/2", name, str(path), 1.5)


async def test_it_is_stored_under_its_name_with_type_metadata_and_encryption(tmp_path, s3):
    sink = S3Sink("calls", client=s3, metadata={"org": "ümlaut"}, encryption="AES256")
    metadata = recorded(tmp_path)
    await sink.on_recording_complete(metadata)
    key = "2023-11-14/vx-1-2/a/call.wav"
    assert metadata.extra["uri"] == f"s3://calls/{key}"
    head = s3.head_object(Bucket="calls", Key=key)
    assert (head["ContentType"], head["ServerSideEncryption"]) == ("audio/wav", "AES256")
    assert head["Metadata"]["session-id"] == "vx-1/2"
    assert head["Metadata"]["org"] == "\\xfcmlaut"
    assert not Path(metadata.file_path).exists()
    await sink.on_recording_complete(metadata)  # called again
    assert objects(s3) == {key: b"RIFF"}
    await sink.close()


async def test_no_recording_replaces_another_and_none_is_stored_twice(tmp_path, s3):
    sink = S3Sink("calls", client=s3, name="{name}.{format}", keep_file=True)
    for content in (b"one", b"two", b"one"):
        await sink.on_recording_complete(recorded(tmp_path, content))
    assert objects(s3) == {"a/call.wav": b"one", "a/call-2.wav": b"two"}
    await sink.close()


async def test_a_large_one_goes_up_in_parts_and_is_not_stored_twice(tmp_path, s3):
    content = os.urandom(BIG)
    sink = S3Sink("calls", client=s3, name="{name}.{format}", keep_file=True)
    for _ in range(2):
        await sink.on_recording_complete(recorded(tmp_path, content))
    assert objects(s3) == {"a/call.wav": content}
    assert not s3.list_multipart_uploads(Bucket="calls").get("Uploads")
    await sink.close()


async def test_what_is_refused_is_a_named_error_and_the_file_stays(tmp_path, s3):
    sink = S3Sink("no-such-bucket", client=s3)
    metadata = recorded(tmp_path)
    with pytest.raises(StorageError, match=r"was not stored.*NoSuchBucket"):
        await sink.on_recording_complete(metadata)
    assert Path(metadata.file_path).exists()
    await sink.close()


async def _reset(proxy):
    for _ in range(4):
        await asyncio.sleep(0.1)
        proxy.reset()


async def _stall(proxy):
    proxy.stall()
    await asyncio.sleep(4)
    proxy.resume()
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


FAULTS = {"reset": _reset, "stall": _stall, "outage": _outage, "lost acknowledgement": _lose_answers}


@pytest.mark.parametrize("fault", FAULTS)
async def test_through_the_spool_no_fault_loses_or_doubles_a_recording(fault, tmp_path, s3, port):
    contents = {f"call-{number}": os.urandom(BIG if number == 0 else 20_000) for number in range(6)}
    async with FaultProxy("127.0.0.1", port) as proxy:
        client = client_of(proxy.port, attempts=2)
        sink = S3Sink("calls", client=client, timeout=30)
        async with SpooledSink(sink, tmp_path / "spool", retry_s=(0.05, 0.2), min_free=0) as spooled:
            breaking = asyncio.ensure_future(FAULTS[fault](proxy))
            for name, content in contents.items():
                await spooled.on_recording_complete(recorded(tmp_path, content, name, name))
            await breaking
            assert await spooled.flush(60)
        client.close()
    stored = Counter(objects(s3).values())
    print(f"s3, {fault}: sent 6 stored {len(stored)} duplicated {sum(stored.values()) - len(stored)}")
    assert stored == Counter(contents.values())


async def kept(sink, caplog):
    with caplog.at_level("INFO", "voxtra.recording"):
        await sink.start()
        async with asyncio.timeout(10):
            while not caplog.messages:
                await asyncio.sleep(0.01)
    await sink.close()
    said, _ = caplog.messages, caplog.clear()
    return said


def rules(s3):
    found = s3.get_bucket_lifecycle_configuration(Bucket="calls")["Rules"]
    return {each["ID"]: (each["Filter"], each["Expiration"].get("Days")) for each in found}


async def test_the_bucket_removes_what_is_too_old_and_its_other_rules_stay(s3, caplog):
    theirs = {"ID": "tmp", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket="calls", LifecycleConfiguration={"Rules": [theirs]})
    name = "calls/{date}/{name}.{format}"
    for days, said in ((30, "from now on removed"), (30, "is removed"), (60, "from now on removed")):
        sink = S3Sink("calls", client=s3, keep_days=days, name=name)
        assert await kept(sink, caplog) == [f"s3://calls/calls/: {said} after {days} days"]
        assert rules(s3) == {
            "tmp": ({"Prefix": "tmp/"}, 1),
            "voxtra-keep-calls": ({"Prefix": "calls/"}, days),
        }
    first = S3Sink("calls", client=s3, keep_days=7)  # no folder of its own: the whole bucket
    await kept(first, caplog)
    assert rules(s3)["voxtra-keep"] == ({"Prefix": ""}, 7)


async def test_a_rule_that_cannot_be_set_is_said_and_recordings_go_on(s3, caplog, tmp_path):
    sink = S3Sink("no-such-bucket", client=s3, keep_days=30)
    (said,) = await kept(sink, caplog)
    assert "s3://no-such-bucket: no lifecycle rule could be set" in said


async def test_it_is_encrypted_with_the_key_that_is_named(tmp_path, s3):
    for number, content in enumerate((b"RIFF", os.urandom(BIG))):
        sink = S3Sink("calls", client=s3, kms_key="alias/calls", name="{name}.{format}")
        await sink.on_recording_complete(recorded(tmp_path, content, f"call-{number}"))
        head = s3.head_object(Bucket="calls", Key=f"call-{number}.wav")
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/calls")
        await sink.close()


def test_an_endpoint_that_is_no_url_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="endpoint_url='localhost:9000'"):
        S3Sink("calls", endpoint_url="localhost:9000")
