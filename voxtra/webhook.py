"""News of calls for a backend: each event as one signed POST, in order, until it is taken."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import SecretStr

from voxtra._checks import can_be_host, checked
from voxtra._public_net import PublicOnly, check_url
from voxtra.errors import ConfigurationError, SpoolError, StorageError
from voxtra.events import EventType, VoxtraEvent
from voxtra.recording.answers import AGAIN, retry_after_s
from voxtra.recording.spool import Patience, Spool
from voxtra.recording.spool_store import Entry, SpoolStore

log = logging.getLogger("voxtra.webhook")

SIGNATURE_HEADER = "X-Voxtra-Signature"
TIMED_HEADER = "X-Voxtra-Signature-Timed"
BATCH = 200
"""Events that are made safe with one write."""
_FRAMES = (EventType.AUDIO_FRAME_RECEIVED, EventType.AUDIO_FRAME_SENT)
_BASE = {each.name for each in dataclasses.fields(VoxtraEvent)}
_NUMBERS = ("timeout", "retries", "backoff", "max_waiting", "parallel", "flush", "processes")
_ALLOWED_BY = "WebhookConfig(private_urls=True) allows it"


@dataclass(frozen=True, kw_only=False)
class WebhookConfig:
    """Where news go, and how.

    Attributes:
        url: http or https.
        signing_secret: when set, requests are signed, see :func:`verify_signature`.
        events: names of events, ``"call.ended"``; empty = all but audio frames.
        timeout: of one request, s.
        retries: tries after the first one; with a ``spool`` there are at least 100.
        backoff: wait before the first retry, s; it doubles each time, and half of it is chance.
        private_urls: let the URL lead into private networks and to this machine.
        spool: a folder that keeps events until they are delivered, over restarts and crashes. Of this process
            and this webhook alone. None = they are kept in memory, and at a stop in ``left``.
        left: without a ``spool``: the folder for what could not be delivered before the stop. The next start
            that finds it delivers from there, and uses it as its spool. None = it is lost, and logged.
        max_waiting: events that may wait; what comes then is lost, and logged.
        parallel: requests at a time; the events of one call always go one after another.
        flush: how long stopping waits for deliveries, s.
        processes: how many processes may share the spool's folder; ``voxtra run --workers`` says so itself.

    Raises:
        ConfigurationError: a value can't be.
    """

    url: str
    signing_secret: str | SecretStr = field(default="", repr=False)
    events: Sequence[str] = ()
    timeout: float = 10.0
    retries: int = 3
    backoff: float = 1.0
    private_urls: bool = False
    spool: str | PathLike[str] | None = None
    left: str | PathLike[str] | None = "webhook-left"
    max_waiting: int = 10_000
    parallel: int = 8
    flush: float = 5.0
    processes: int = 1

    def __post_init__(self) -> None:
        checked("webhook url", self.url, (str,), "text, like 'https://backend.example/hook'")
        if not isinstance(self.signing_secret, str | SecretStr):  # not shown: it may be one
            raise ConfigurationError("webhook signing_secret: should be text; leave it out for none")
        if isinstance(self.events, str) or not isinstance(self.events, Collection):
            raise ConfigurationError(f"webhook events={self.events!r}: should be a list, like ['call.ended']")
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        for name, value in numbers.items():
            checked(f"webhook {name}", value, (int, float), "a number")
        check_url(self.url, private=self.private_urls, allowed_by=_ALLOWED_BY)
        if not can_be_host(urlsplit(self.url).hostname):
            raise ConfigurationError(f"{self.url!r} is no http or https URL: there can't be such a host")
        known = {str(each) for each in EventType} - {str(each) for each in _FRAMES}
        if wrong := [each for each in self.events if str(each) not in known]:
            raise ConfigurationError(f"webhook events: {wrong[0]!r} is none of {', '.join(sorted(known))}")
        for name, value in numbers.items():
            if name in ("retries", "flush"):
                if not value >= 0:
                    raise ConfigurationError(f"webhook {name} must be 0 or more, not {value}")
            elif not value > 0:
                raise ConfigurationError(f"webhook {name} must be above 0, not {value}")

    @property
    def secret(self) -> bytes:
        """The signing secret, b"" when there is none."""
        given = self.signing_secret
        return (given.get_secret_value() if isinstance(given, SecretStr) else given).encode()


class BackendWebhook:
    """Sends events to a backend. ``VoxtraApp(webhook=BackendWebhook(WebhookConfig(...)))`` does the rest.

    Events of one call arrive in their order, one after another. One that fails (5xx, 429, 408, no answer) is
    tried again, and the call's later ones wait for it; one that is refused (other 4xx) is given up at once. An
    event may arrive twice when an answer was lost: ``X-Voxtra-Event-Id`` is the same then.

    Attributes:
        sent: delivered so far.
        lost: what came when ``max_waiting`` others waited, or could not be kept at the end.
    """

    def __init__(self, config: WebhookConfig) -> None:
        if not isinstance(config, WebhookConfig):
            raise ConfigurationError(f"webhook={config!r}: should be a WebhookConfig(url=...)")
        self.config = config
        parts = urlsplit(config.url)
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        """For logs: a query or a user's name may hold a secret."""
        self._events = {str(each) for each in config.events}
        self._inbox: deque[tuple[VoxtraEvent, int]] = deque()
        """Events, each with its number within its call."""
        self._arrived = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._client: aiohttp.ClientSession | None = None
        self._spool = Spool(config.spool, processes=config.processes, max_entries=config.max_waiting)
        self._spool_processes = config.processes
        self._numbers: dict[str, int] = {}
        self.sent = 0
        self.lost = 0
        self._resolver: PublicOnly | None = None

    async def start(self) -> None:
        """Begin to deliver, first what an earlier process left in the spool. Idempotent.

        Raises:
            ConfigurationError: another process uses the spool's folder.
            SpoolError: it can't be opened.
        """
        if self._writer is not None:
            return
        config = self.config
        await self._open_spool()
        try:
            await self._name_others()
        except BaseException:
            await self._spool.close()
            raise
        self._resolver = None if config.private_urls else PublicOnly(_ALLOWED_BY)
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=self._resolver, limit=config.parallel),
            timeout=aiohttp.ClientTimeout(total=config.timeout),
            trust_env=False,
        )
        attempts, most_s = config.retries + 1, 60.0
        if self._spool.folder is not None:
            attempts, most_s = max(attempts, 100), 600.0
        patience = Patience(attempts, config.backoff, max(most_s, config.backoff), config.timeout + 5)
        self._spool.add_outlet(self._name, self._deliver, patience=patience, parallel=config.parallel)
        self._writer = asyncio.ensure_future(self._write())

    async def _open_spool(self) -> None:
        left = self.config.left
        if self.config.spool is None and left is not None and await asyncio.to_thread(Path(left).is_dir):
            found = self._left_spool(left)
            try:
                await found.open()
            except (ConfigurationError, SpoolError) as error:
                log.warning("%s: what an earlier run left stays there: %s", self._shown, error)
            else:
                self._spool = found
                return
        await self._spool.open()

    async def _name_others(self) -> None:
        """Say what waits in the spool for a URL that it is not sent to any more."""
        for name, states in (await self._spool.do(SpoolStore.counts)).items():
            if name != self._name:
                log.warning("the spool %s has %d for %s, where nothing is sent now: voxtra spool list -f %s",
                            self._spool.folder, sum(states.values()), name, self._spool.folder)  # fmt: skip

    def share(self, processes: int) -> None:
        """So many processes run this app side by side: each has a folder of its own in the spool's."""
        self._spool_processes = max(processes, self._spool_processes)
        self._spool.share(processes)

    @property
    def _name(self) -> str:
        return f"webhook {self._shown}"

    def send(self, event: VoxtraEvent) -> None:
        """Take one event; never waits. What is not asked for (``events``) is left."""
        wanted = event.type not in _FRAMES and (not self._events or event.type in self._events)
        if wanted and len(self._inbox) >= self.config.max_waiting:
            self._lose(1, "too many wait")
        elif wanted:
            number = self._numbers[event.session_id] = self._numbers.get(event.session_id, 0) + 1
            self._inbox.append((event, number))
            self._arrived.set()
        if event.type is EventType.SESSION_DESTROYED:  # the last of its call
            self._numbers.pop(event.session_id, None)

    async def close(self) -> None:
        """Deliver what waits, within ``flush`` s. The rest stays in the spool, or is lost. Idempotent."""
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        await self._store()
        if not await self._spool.flush(self.config.flush):
            if self._spool.folder is None:
                await self._keep_left()
            else:
                left = await self._spool.do(SpoolStore.waiting, self._name)
                log.info("%s: %d events stay in the spool %s", self._shown, left, self._spool.folder)
        await self._spool.close()
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None

    def _left_spool(self, folder: str | PathLike[str]) -> Spool:
        return Spool(folder, processes=self._spool_processes, max_entries=self.config.max_waiting)

    async def _keep_left(self) -> None:
        """Put what waits in memory into the folder ``left``."""
        rows = await self._spool.do(
            SpoolStore.entries, ("pending", "taken"), self._name, self.config.max_waiting
        )
        entries, left = list(rows), self.config.left
        if left is None:
            self._lose(len(entries), "not delivered before the end; WebhookConfig(spool=...) keeps them")
            return
        folder = self._left_spool(left)
        try:
            await folder.open()
            try:
                await folder.put(entries)
            finally:
                await folder.close()
        except (ConfigurationError, SpoolError) as error:
            self._lose(len(entries), f"not delivered before the end, and not kept: {error}")
        else:
            log.warning(
                "%s: %d events are not delivered yet: kept in %s for the next start (voxtra spool list -f %s)",
                self._shown, len(entries), folder.folder, folder.folder,
            )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    # ---- into the spool

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await asyncio.shield(self._store())

    async def _store(self) -> None:
        while self._inbox:
            events = [self._inbox.popleft() for _ in range(min(BATCH, len(self._inbox)))]
            batch = [entry for each in events if (entry := self._entry(*each)) is not None]
            try:
                await self._spool.put(batch)
            except SpoolError:
                await self._store_singly(batch)

    async def _store_singly(self, batch: list[Entry]) -> None:
        for number, entry in enumerate(batch):
            try:
                await self._spool.put([entry])
            except SpoolError as error:
                self._lose(len(batch) - number, str(error))
                return

    def _lose(self, count: int, why: str) -> None:
        self.lost += count
        log.error("%s: %d events lost (%d so far): %s", self._shown, count, self.lost, why)

    def _entry(self, event: VoxtraEvent, number: int) -> Entry | None:
        try:
            body = payload(event, number)
        except (TypeError, ValueError, RecursionError) as error:
            self._lose(1, f"{event.type} can't be JSON: {error}")
            return None
        return Entry(self._name, event.id, "webhook", body, lane=event.session_id)

    # ---- out

    async def _deliver(self, entry: Entry) -> None:
        client = self._client
        assert client is not None
        # Half a character (a lone surrogate, from a model's tokens) goes out as JSON's own escape of it.
        body = json.dumps(entry.body, ensure_ascii=False).encode("utf-8", "backslashreplace")
        headers = {
            "Content-Type": "application/json",
            "X-Voxtra-Event": str(entry.body["type"]),
            "X-Voxtra-Event-Id": entry.key,
            "X-Voxtra-Session-Id": _header(entry.lane),
            **signature_headers(self.config.secret, body),
        }
        try:
            async with client.post(
                self.config.url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                _check_answer(self._shown, answer)
        except ConfigurationError as error:
            raise StorageError(f"{self._shown}: {error}", final=True) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(cause := error.__cause__, ConfigurationError):
                raise StorageError(f"{self._shown}: {cause}", final=True) from error
            why = str(error) or type(error).__name__
            raise StorageError(f"{self._shown} does not answer: {why}") from error
        self.sent += 1


def _check_answer(shown: str, answer: aiohttp.ClientResponse) -> None:
    if answer.status < 300:
        return
    again = answer.status >= 500 or answer.status in AGAIN
    after = retry_after_s(answer.headers.get("Retry-After", "")) if again else None
    raise StorageError(f"{shown} answered {answer.status}", final=not again, retry_after_s=after)


def _header(text: str) -> str:
    """A session id comes from the channel's: what no header can hold is left out."""
    return "".join(each for each in text if " " <= each <= "~")


def payload(event: VoxtraEvent, sequence: int) -> dict[str, Any]:
    """An event as it goes out: ``id, type, session_id, sequence, timestamp, data``, JSON values only.

    Args:
        event: its own fields (``text``, ``digit`` ...) go into ``data``.
        sequence: counts the events of its call, from 1.

    Raises:
        TypeError, ValueError, RecursionError: ``data`` can't be JSON (keys that are no text, rings).
    """
    fields = dataclasses.fields(event)
    own = {each.name: getattr(event, each.name) for each in fields if each.name not in _BASE}
    found: dict[str, Any] = json.loads(json.dumps({**event.data, **own}, default=str))
    return {
        "id": event.id,
        "type": str(event.type),
        "session_id": event.session_id,
        "sequence": sequence,
        "timestamp": event.timestamp.isoformat(timespec="milliseconds"),
        "data": found,
    }


def signature_headers(secret: bytes, body: bytes, now: float | None = None) -> dict[str, str]:
    """Headers that prove who sent ``body``; none without a secret.

    ``X-Voxtra-Signature`` is the hex HMAC-SHA256 of the body. ``X-Voxtra-Signature-Timed`` is ``t=T,v1=H``: T
    the time of sending, s since the epoch, H the hex HMAC-SHA256 of ``T.body``, which can't be replayed later.
    """
    if not secret:
        return {}
    stamp = str(int(time.time() if now is None else now))
    return {
        SIGNATURE_HEADER: hmac.new(secret, body, hashlib.sha256).hexdigest(),
        TIMED_HEADER: f"t={stamp},v1={_timed(secret, stamp, body)}",
    }


def verify_signature(
    secret: str | bytes,
    body: bytes,
    header: str,
    *,
    tolerance: float = 300.0,
    now: Callable[[], float] = time.time,
) -> bool:
    """Whether a request is from who has the secret. For receivers.

    Args:
        secret: the ``signing_secret``.
        body: of the request, as it came.
        header: value of ``X-Voxtra-Signature-Timed`` (better) or of ``X-Voxtra-Signature``.
        tolerance: how old a timed one may be, s; also how much its clock may be ahead.
        now: the time, s since the epoch.

    Raises:
        ConfigurationError: the secret is empty: anybody could sign with it.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if not key:
        raise ConfigurationError("verify_signature: the secret is empty: anybody could sign with it")
    if "=" not in header:
        good = hmac.new(key, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(good.encode(), header.encode("utf-8", "replace"))
    parts = dict(part.partition("=")[::2] for part in header.split(","))
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 16) or abs(now() - int(stamp)) > tolerance:
        return False
    return hmac.compare_digest(
        _timed(key, stamp, body).encode(), parts.get("v1", "").encode("utf-8", "replace")
    )


def _timed(secret: bytes, stamp: str, body: bytes) -> str:
    return hmac.new(secret, stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
