"""Procedures and event streams of an engine, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from voxtra.voice.errors import VoiceError, bad_argument
from voxtra.voice.retry import Again, Failure, wait_before_retry
from voxtra.wire import PROCEDURES, Wire

TIMEOUT_S = 30.0
"""An operation is over after so long, tries and waits between them included."""
_MAX_REPLY = 1 << 20


class Http:
    """One engine, as one organisation with one key sees it. Of one event loop.

    Args:
        base_url: origin of the control plane, http or https; a trailing slash is stripped.
        api_key: of ``voxtra keys create``.
        org_id: the organisation.
        timeout_s: of one operation.

    Raises:
        VoiceError: BAD_ARGUMENT: one of them is empty, or no such thing.
    """

    def __init__(self, base_url: str, api_key: str, org_id: str, timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = _url(base_url)
        self.org_id = _words("org_id", org_id, "the id of your organisation")
        self._key = _words("api_key", api_key, "a key made by  voxtra keys create")
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._readers: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"Http({self.base_url!r}, org_id={self.org_id!r})"  # never the key

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections, made when first wanted.

        Raises:
            VoiceError: CLOSED.
        """
        if self._closed:
            raise VoiceError("this Voice is closed", code="CLOSED")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # each bridge and each stream of events has one for as long as its call: no request may wait for those
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s, sock_connect=10),
                headers={"User-Agent": "voxtra-voice"},
            )
        return self._session

    async def call(
        self, procedure: str, given: Wire, *, again: Again = "unsent", idempotency_key: str = ""
    ) -> Any:
        """The ``data`` that a procedure gives. With an idempotency key it may be sent twice and is done once.

        Raises:
            VoiceError: it was refused, or there was no answer in time.
        """
        deadline = time.monotonic() + self._timeout_s
        tries = 0
        while True:
            tries += 1
            failure: Failure = "answered"
            error: VoiceError
            retry_after: float | None = None
            try:
                return await self._once(procedure, given, idempotency_key, deadline)
            except _Refused as refused:
                error, retry_after = refused.error, refused.retry_after_s
            except aiohttp.ClientConnectorError as lost:
                failure, error = "unconnected", _network(self.base_url, procedure, lost)
            except aiohttp.ClientError as lost:
                failure, error = "broken", _network(self.base_url, procedure, lost)
            except TimeoutError:
                raise VoiceError(
                    f"{procedure}: no answer from {self.base_url} within {self._timeout_s:g} s",
                    code="TIMEOUT",
                ) from None
            wait_s = wait_before_retry(tries, again, failure, status=error.status, retry_after_s=retry_after)
            if wait_s is None or time.monotonic() + wait_s >= deadline:
                raise error from None
            await asyncio.sleep(wait_s)

    async def _once(self, procedure: str, given: Wire, idempotency_key: str, deadline: float) -> Any:
        body = json.dumps(given.to_wire(), separators=(",", ":"))
        headers = {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        query = PROCEDURES[procedure].kind == "query"
        if not query:
            headers["Content-Type"] = "application/json"
        async with (
            asyncio.timeout(max(0.001, deadline - time.monotonic())),
            self.session.request(
                "GET" if query else "POST",
                f"{self.base_url}/api/trpc/{procedure}",
                params={"input": body} if query else None,
                data=None if query else body,
                headers=headers,
                allow_redirects=False,  # a redirect would carry the key elsewhere
            ) as response,
        ):
            text = await response.content.read(_MAX_REPLY + 1)
            while len(text) <= _MAX_REPLY and (more := await response.content.read(_MAX_REPLY + 1)):
                text += more
        return _data(procedure, self.base_url, response, text)

    def events(self, sid: str, after: int) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The stream of a call's events behind number ``after``. It is not limited in time, its silences are."""
        return self.session.get(
            f"{self.base_url}/v1/calls/{sid}/events",
            headers={
                "Authorization": f"Bearer {self._key}", "Accept": "text/event-stream", "Last-Event-ID": str(after)
            },
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60),
            allow_redirects=False,
        )  # fmt: skip

    def reading(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run what reads a stream; it is cancelled by :meth:`close`, which no read notices by itself.

        Raises:
            VoiceError: CLOSED.
        """
        try:
            _ = self.session
        except VoiceError:
            work.close()
            raise
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)
        return task

    async def close(self) -> None:
        """Nothing can be asked any more, and no stream goes on."""
        self._closed = True
        readers = list(self._readers)
        for task in readers:
            task.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Refused(Exception):
    def __init__(self, error: VoiceError, retry_after_s: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


def _data(procedure: str, base_url: str, response: aiohttp.ClientResponse, text: bytes) -> Any:
    """What the envelope holds."""
    request_id = response.headers.get("X-Request-Id", "")
    try:
        envelope = json.loads(text) if len(text) <= _MAX_REPLY else None
    except (ValueError, RecursionError):
        envelope = None
    if isinstance(envelope, dict):
        result, refusal = envelope.get("result"), envelope.get("error")
        if response.status < 300 and isinstance(result, dict) and "data" in result:
            return result["data"]
        if isinstance(refusal, dict):
            raise _Refused(_refusal(procedure, refusal, response.status, request_id), _retry_after(response))
    error = VoiceError(
        f"{procedure}: {base_url} answered {response.status} with something that is not this API's"
        f" ({response.content_type}): is base_url right?",
        code="BAD_REPLY",
        status=response.status,
        request_id=request_id,
    )
    raise _Refused(error, _retry_after(response))


def _refusal(procedure: str, refusal: dict[str, Any], status: int, request_id: str) -> VoiceError:
    data = refusal.get("data")
    field = data.get("field") if isinstance(data, dict) else None
    return VoiceError(
        f"{procedure}: {refusal.get('message') or 'refused'}",
        code=str(refusal.get("code") or "INTERNAL_SERVER_ERROR"),
        status=status,
        field=field if isinstance(field, str) else "",
        request_id=request_id,
    )


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    said = response.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else None


def _network(base_url: str, procedure: str, error: Exception) -> VoiceError:
    return VoiceError(f"{procedure}: no connection to {base_url}: {error}", code="NETWORK")


def _words(name: str, value: object, wanted: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise bad_argument(f"{name} = {value!r}: should be {wanted}", name)
    if not (value.isascii() and value.isprintable() and " " not in value.strip()):
        raise bad_argument(f"{name}: should be {wanted}; it has characters that can't be in one", name)
    return value.strip()


def _url(base_url: object) -> str:
    url = _words("base_url", base_url, "the engine's address, like https://engine.example.com").rstrip("/")
    scheme, _, rest = url.partition("://")
    place = rest.partition("/")[0]
    if scheme.lower() not in ("http", "https") or not is_place(place) or "?" in rest or "#" in rest:
        raise bad_argument(
            f"base_url = {base_url!r}: should be the engine's address, like https://engine.example.com",
            "base_url",
        )
    return url


def is_place(place: object) -> bool:
    """Whether it is ``host`` or ``host:port``, and nothing more."""
    if not isinstance(place, str):
        return False
    try:
        parts = urlsplit(f"//{place}")
        _ = parts.port
        name = parts.hostname or ""
        name.encode("idna")  # empty and overlong labels, which would be found out only by connecting
    except ValueError:
        return False
    return (
        bool(name) and parts.netloc == place and "@" not in place and place.isprintable() and " " not in place
    )
