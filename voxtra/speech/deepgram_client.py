"""Deepgram's SDK: how its clients are made, for recognisers and voices alike."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from typing import Any

from pydantic import Field, SecretStr

from voxtra.errors import ProviderError
from voxtra.speech.sdk import as_error, check_url, http_client, import_sdk, read_key, websocket_url
from voxtra.speech.settings import ProviderSettings

HOST = "https://api.deepgram.com"
CLOSE_S = 1.0


class DeepgramAccount(ProviderSettings):
    """How to reach Deepgram.

    Attributes:
        api_key: key; None = the environment's DEEPGRAM_API_KEY.
        base_url: address of the API, http or https (self-hosted, EU: ``https://api.eu.deepgram.com``); the
            WebSockets are there too. None = ``https://api.deepgram.com``.
    """

    api_key: SecretStr | None = Field(None)
    base_url: str | None = None


class Client:
    """The SDK's ``AsyncDeepgramClient`` with its HTTP connections.

    Raises:
        ConfigurationError: there is no key, or the address can't be one.
        MissingExtraError: ``voxtra[deepgram]`` is not installed.
    """

    def __init__(self, account: DeepgramAccount, *, of: str) -> None:
        self.http, self.sdk = _make(account, of)

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        await self.http.aclose()


def _make(account: DeepgramAccount, of: str) -> tuple[Any, Any]:
    key = read_key(account.api_key, "DEEPGRAM_API_KEY", of=of)
    url = check_url(account.base_url, "base_url", ("http", "https"), of=of) or HOST
    sdk = import_sdk(
        "deepgram",
        "deepgram.listen.v1.client",
        "deepgram.listen.v2.client",
        "deepgram.speak.v1.audio.client",
        what="the Deepgram client",
        extra="deepgram",
    )
    sockets = websocket_url(url)
    where = sdk.DeepgramClientEnvironment(base=url, production=sockets, agent=sockets, agent_rest=url)
    http = http_client()
    return http, sdk.AsyncDeepgramClient(api_key=key, environment=where, httpx_client=http)


class Socket:
    """One of the SDK's WebSockets, entered and left, with errors of ours.

    Args:
        manager: what ``client.listen.v1.connect(...)`` gives.
        kind: STTError or TTSError.
        name: the provider, for messages.
    """

    def __init__(
        self, manager: AbstractAsyncContextManager[Any], kind: type[ProviderError], name: str
    ) -> None:
        self._manager = manager
        self._kind = kind
        self._name = name
        self.sdk: Any = None

    async def open(self) -> Socket:
        """Connect. Raises an error of ``kind`` with Deepgram's words."""
        with self.errors():
            self.sdk = await self._manager.__aenter__()
        return self

    @contextlib.contextmanager
    def errors(self) -> Any:
        """Whatever the SDK raises within becomes an error of ``kind``."""
        try:
            yield
        except ProviderError:
            raise
        except Exception as problem:  # the SDK lets its WebSocket's and its own errors through
            raise as_error(self._kind, self._name, problem) from problem

    async def close(self) -> None:
        """Leave. A server that does not say good-bye is not waited for."""
        if self.sdk is None:
            return
        closing = asyncio.ensure_future(self._manager.__aexit__(None, None, None))
        done, _ = await asyncio.wait([closing], timeout=CLOSE_S)
        if not done:
            # the SDK gives no other way to its socket, and the handshake may last 10 s more
            self.sdk._websocket.fail_connection()
            await asyncio.wait([closing], timeout=CLOSE_S)
        with contextlib.suppress(Exception):  # it is over, however it ended
            closing.result()
