"""Where a finished recording goes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from voxtra._checks import can_be_host, checked
from voxtra.errors import ConfigurationError, MediaError, StorageError
from voxtra.recording.answers import retry_after_s
from voxtra.recording.names import NameTemplate
from voxtra.recording.names import check_name as check_name
from voxtra.recording.placing import SEALED, Seal, expire, place
from voxtra.recording.retention import Retention, check_days

log = logging.getLogger("voxtra.recording")

SIGNATURE_HEADER = "X-Voxtra-Signature"


@dataclass(slots=True)
class RecordingMetadata:
    """What is known of a finished recording.

    Attributes:
        session_id: the call, ``CallSession.id``.
        name: the recording's name; ``/`` makes folders of it.
        file_path: where the file is; a sink that moves the file sets it anew.
        duration_seconds: length of the sound, None when unknown.
        format: ``wav``.
        extra: what else there is to say, JSON-able.
    """

    session_id: str
    name: str
    file_path: str = ""
    duration_seconds: float | None = None
    format: str = "wav"
    extra: dict[str, Any] = field(default_factory=dict)


class RecordingSink(ABC):
    """Takes finished recordings. Subclass it to send them where you like.

    The file at ``metadata.file_path`` is the sink's: it may move or delete it.
    """

    then: RecordingSink | None = None
    """Who is told once a recording is stored here; see ``then`` of the sinks that store."""

    @property
    def workspace(self) -> Path | None:
        """Folder where a recording for this sink best grows (same disk as its goal); None = any."""
        return None

    def refusal(self) -> str:
        """Why a recording for this sink had better not be begun now (its disk is nearly full); "" = no reason."""
        return ""

    @abstractmethod
    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """A recording is whole and closed. Called once for each; must bear being called again.

        What it raises is logged and never reaches the call.
        """

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """As :meth:`on_recording_complete`, but what goes wrong is raised, and ``then`` is not told."""
        await self.on_recording_complete(metadata)

    async def start(self) -> None:  # noqa: B027 - few sinks have anything to start
        """The app starts. Called before the first recording, again after :meth:`close`."""

    async def close(self) -> None:  # noqa: B027
        """The app has stopped: end what is under way, close connections. Idempotent."""

    def share(self, processes: int) -> None:  # noqa: B027 - few sinks keep anything of their own
        """So many processes run this app side by side, each with this sink. Called before ``start``."""


async def tell(then: RecordingSink | None, metadata: RecordingMetadata) -> None:
    """Tell ``then`` of what is stored. What fails is logged: the recording is safe, and that is what counts."""
    if then is None:
        return
    try:
        await then.on_recording_complete(metadata)
    except Exception:  # a sink is anyone's code
        log.exception("%s was not told of the recording %r", type(then).__name__, metadata.name)


class LocalFileSink(RecordingSink):
    """Moves each recording to a name under ``base_dir``, in one step: it is there whole, or not at all.

    A name that is taken gets a number (``name-2.wav``): no recording is lost to another.

    Args:
        base_dir: the folder; made when it is needed.
        name: where in it, see :class:`~voxtra.recording.names.NameTemplate`.
        keep_days: remove what is older, each hour while the app runs; 0 = keep it for ever.
        encrypt_to: public keys (``age1...``, ``ssh-ed25519 ...``), one or several: files are encrypted to them and
            get ``.age`` at their end. Wants ``voxtra[age]``.
        then: is told once the file is there; ``metadata.extra["uri"]`` says where.

    Raises:
        ConfigurationError: an argument can't be.
        MissingExtraError: there is no encryption installed.
    """

    def __init__(
        self,
        base_dir: str | PathLike[str],
        *,
        name: str = "{name}.{format}",
        keep_days: float = 0,
        encrypt_to: str | Sequence[str] = (),
        then: RecordingSink | None = None,
    ) -> None:
        checked("LocalFileSink: base_dir", base_dir, (str, PathLike), "a folder")
        self.base_dir = Path(base_dir)
        self.then = then
        self._template = NameTemplate(name)
        self._keep_days = check_days(keep_days, "LocalFileSink")
        self._seal: Seal | None = None
        if encrypt_to:
            from voxtra.recording.sealing import sealer

            self._seal = sealer([encrypt_to] if isinstance(encrypt_to, str) else encrypt_to)
        self._retention = Retention(self._expire, str(self.base_dir))

    @property
    def workspace(self) -> Path | None:
        """A folder on the same disk, hidden from who lists recordings."""
        return self.base_dir / ".partial"

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Move the file and set ``metadata.file_path`` to where it is now; then tell ``then``.

        Raises:
            ConfigurationError: the name would lead out of ``base_dir``.
            MediaError: the file can't be moved; it stays where it is.
        """
        await self.deliver(metadata)
        await tell(self.then, metadata)

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """Move the file, without telling ``then``. Raises as :meth:`on_recording_complete`."""
        try:
            path = await asyncio.to_thread(self._move, metadata)
        except OSError as error:
            why = error.strerror or error
            raise MediaError(
                f"can't move the recording {metadata.file_path} to {self.base_dir}: {why}"
            ) from error
        metadata.file_path = str(path)
        metadata.extra["uri"] = path.absolute().as_uri()
        if self._seal is not None:
            metadata.extra["encrypted"] = SEALED

    def _move(self, metadata: RecordingMetadata) -> Path:
        source = Path(metadata.file_path)
        check_name(metadata.name)
        name = self._template.render(
            session_id=metadata.session_id, name=metadata.name, format=metadata.format,
            ended=source.stat().st_mtime,
        )  # fmt: skip
        ending = metadata.format
        if self._seal is not None:
            name, ending = f"{name}.{SEALED}", f"{ending}.{SEALED}"
        again = metadata.extra.get("delivery_attempt", 1) > 1
        return place(source, self.base_dir, name, ending, again=again, seal=self._seal)

    async def start(self) -> None:
        """Begin to remove what is too old, where that is asked for."""
        if self._keep_days:
            self._retention.start()
        if self.then is not None:
            await self.then.start()

    async def _expire(self) -> None:
        gone = await asyncio.to_thread(self._expired, time.time())
        if gone:
            log.info(
                "%s: removed %d recordings older than %g days", self.base_dir, len(gone), self._keep_days
            )

    def _expired(self, now: float) -> list[Path]:
        whole = expire(self.base_dir, self._keep_days, now)
        # What a crash cut off is as private: nothing that still grows is so old.
        return whole + expire(self.base_dir / ".partial", self._keep_days, now, hidden=True)

    async def close(self) -> None:
        """End the removing. Idempotent."""
        await self._retention.close()
        if self.then is not None:
            await self.then.close()


class CompositeSink(RecordingSink):
    """Hands each recording to several sinks, one after another; the failure of one is not another's.

    A sink that moves the file comes before those that tell where it is.

    Raises:
        ConfigurationError: one of them is no RecordingSink.
    """

    def __init__(self, *sinks: RecordingSink) -> None:
        for sink in sinks:
            checked(
                "CompositeSink: sink",
                sink,
                (RecordingSink,),
                "a RecordingSink; several are CompositeSink(a, b)",
            )
        self.sinks = sinks

    @property
    def workspace(self) -> Path | None:
        """That of the first sink that has one."""
        return next((sink.workspace for sink in self.sinks if sink.workspace is not None), None)

    def refusal(self) -> str:
        """That of the first sink that has one."""
        return next((why for sink in self.sinks if (why := sink.refusal())), "")

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Hand ``metadata`` to every sink. Errors are logged with the sink's name."""
        for sink in self.sinks:
            try:
                await sink.on_recording_complete(metadata)
            except Exception:  # a sink is anyone's code; the next one must have its turn
                log.exception("%s failed for the recording %r", type(sink).__name__, metadata.name)

    def share(self, processes: int) -> None:
        """Tell every sink."""
        for sink in self.sinks:
            sink.share(processes)

    async def start(self) -> None:
        """Start every sink."""
        for sink in self.sinks:
            await sink.start()

    async def close(self) -> None:
        """Close every sink."""
        await asyncio.gather(*(sink.close() for sink in self.sinks))


class WebhookSink(RecordingSink):
    """POSTs each recording's metadata, as JSON, to a URL. The sound itself is not sent.

    Args:
        url: http or https.
        signing_secret: when set, ``X-Voxtra-Signature`` is the hex HMAC-SHA256 of the body under it.
        timeout_seconds: for the whole request.

    Raises:
        ConfigurationError: the URL is none, the timeout is not above 0, or the secret is no text.
    """

    def __init__(self, url: str, *, signing_secret: str = "", timeout_seconds: float = 10) -> None:
        checked("WebhookSink: url", url, (str,), "text, like 'https://host/path'")
        checked("WebhookSink: timeout_seconds", timeout_seconds, (int, float), "a number of seconds")
        if not isinstance(signing_secret, str):  # not shown: it may be one
            raise ConfigurationError("WebhookSink: signing_secret: should be text; leave it out for none")
        try:
            parts = urlsplit(url)
            good = parts.scheme in ("http", "https") and can_be_host(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good:
            raise ConfigurationError(f"WebhookSink: {url!r} is no URL: use https://host/path")
        if not timeout_seconds > 0:
            raise ConfigurationError(f"WebhookSink: timeout_seconds must be above 0, not {timeout_seconds}")
        self.url = url
        self._shown = f"{parts.scheme}://{parts.hostname}{parts.path}"
        """For logs: a query or a user's name may hold a secret."""
        self._secret = signing_secret.encode()
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        """Send it. An error is logged, not raised."""
        try:
            await self.deliver(metadata)
        except StorageError as error:
            log.error("%s", error)

    async def deliver(self, metadata: RecordingMetadata) -> None:
        """Send it. Raises StorageError."""
        body = json.dumps(asdict(metadata), ensure_ascii=False, default=str).encode(
            "utf-8", "backslashreplace"
        )
        headers = {"Content-Type": "application/json"}
        if self._secret:
            headers[SIGNATURE_HEADER] = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as client,
                client.post(self.url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise StorageError(
                        f"{self._shown} answered {response.status} for the recording {metadata.name!r}",
                        retry_after_s=retry_after_s(response.headers.get("Retry-After", "")),
                    )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise StorageError(
                f"{self._shown} was not told of the recording {metadata.name!r}: {why}"
            ) from error
