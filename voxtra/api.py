"""The HTTP API of an app: calls as a service, for programs elsewhere.

::

    app = VoxtraApp(api=Api(port=8080))

or ``voxtra run app:app --api 8080``. It answers the ClutchCall Voice SDK (:mod:`voxtra.voice`) and plain REST.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from voxtra.ari.listener import server_tls
from voxtra.config import ApiConfig
from voxtra.errors import ConfigurationError, MissingExtraError, NotConnectedError, RelayError

try:
    import phonenumbers as _  # noqa: F401 - the gate's; said here what is missing
except ImportError:
    raise MissingExtraError("the HTTP API", "api") from None

from voxtra.control.desk import CallDesk
from voxtra.control.doorman import Doorman, Keys
from voxtra.control.idempotency import Idempotency
from voxtra.control.keys import KeyRing
from voxtra.control.openapi import document
from voxtra.control.operations import Operation, Operations
from voxtra.control.page import Pages
from voxtra.control.placing import Grant
from voxtra.control.procedures import Procedures
from voxtra.control.rest import CallRoutes
from voxtra.control.server import ApiServer
from voxtra.control.trunk_routes import TrunkRoutes
from voxtra.control.vitals import Vitals
from voxtra.relay.relay import Relay
from voxtra.tokens import RelayKeys
from voxtra.wire import BridgeGrant, Role

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.session import CallSession

__all__ = ["Api"]

log = logging.getLogger("voxtra.control")


class Api:
    """The HTTP API of one app, for ``VoxtraApp(api=...)``.

    Args:
        port: TCP port, 0 = a free one; None = that of the settings (``api.port``), else 8080.
        keys: who holds which key; None = the file of the settings (``api.keys``).
        options: further settings of the section ``api``, as ``host="0.0.0.0"``, ``trunks=[{...}]``.

    Attributes:
        url: where it listens, once started.

    Raises:
        ConfigurationError: a setting can't be.
        MissingExtraError: ``voxtra[api]`` is not installed.
    """

    def __init__(self, port: int | None = None, *, keys: Keys | None = None, **options: Any) -> None:
        given = options | ({} if port is None else {"port": port})
        ApiConfig(**given)  # what is wrong is said where it was written
        self._given = given
        self._keys = keys
        self._desk: CallDesk | None = None
        self._relay: Relay | None = None
        self._vitals: Vitals | None = None  # one for all starts of the app: its figures go on
        self._resources = contextlib.AsyncExitStack()
        self.url = ""

    @property
    def desk(self) -> CallDesk:
        """The calls. Raises NotConnectedError when the app is not started."""
        if self._desk is None:
            raise NotConnectedError("the api is not started: await app.start() first")
        return self._desk

    @property
    def relay(self) -> Relay | None:
        """The relay of calls' sound, once started; None where there is none."""
        return self._relay

    async def start(self, app: VoxtraApp) -> None:
        """Begin to answer. Called by the app, once it is connected.

        Raises:
            ConfigurationError: a setting can't be, or a port can't be had.
            MissingExtraError: the relay's part of ``voxtra[api]`` is not installed.
        """
        self._resources = contextlib.AsyncExitStack()
        try:
            await self._start(app, self._settings(app))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Answer no longer. Idempotent."""
        self._desk = self._relay = None
        await self._resources.aclose()

    def _settings(self, app: VoxtraApp) -> ApiConfig:
        settings = ApiConfig(**{**app.settings.api.model_dump(exclude_unset=True), **self._given})
        return settings if settings.port is not None else settings.model_copy(update={"port": 8080})

    async def _start(self, app: VoxtraApp, settings: ApiConfig) -> None:
        if settings.cert:  # before the relay says it in its own words
            server_tls(settings.cert, settings.key, "api.cert")
        later = self._resources.push_async_callback
        desk = CallDesk(app, settings)
        later(desk.close)
        app.middlewares.insert(0, desk.around)
        self._resources.callback(app.middlewares.remove, desk.around)
        with contextlib.suppress(ConfigurationError):  # it has a default of its own
            app.default()(_unrouted)
        keys = self._keys or KeyRing(Path(settings.keys))
        if isinstance(keys, KeyRing) and not keys.stored():
            log.warning("no keys in %s: make one with  voxtra keys create --org ORG", settings.keys)
        doorman = Doorman(keys, settings.requests_per_second)
        grant = await self._open_relay(desk, settings)
        once = Idempotency(asyncio.get_running_loop().time)
        table: Sequence[Operation] = (
            *CallRoutes(desk, grant, once).table(),
            *TrunkRoutes(desk.trunks).table(),
        )
        if self._vitals is None:
            self._vitals = Vitals(app, settings.metrics_token.get_secret_value())
        vitals = await self._resources.enter_async_context(self._vitals)
        server = ApiServer(
            [
                Procedures(desk, doorman, grant, once),
                Operations(doorman, table),
                Pages(document(table)),
                vitals,
            ],
            host=settings.host,
            port=settings.port or 0,
            cert=settings.cert,
            key=settings.key,
            insecure=settings.insecure,
            origins=settings.origins,
            count=vitals.count,
        )
        later(server.close)
        await server.start()
        self._desk, self.url = desk, server.url

    async def _open_relay(self, desk: CallDesk, settings: ApiConfig) -> Grant | None:
        if not settings.relay:
            return None
        try:
            keys = RelayKeys.load_or_create(settings.relay_key)
        except MissingExtraError as error:
            if "relay" in settings.model_fields_set:
                raise
            log.info("no audio bridge: %s", error)
            return None
        tls = (settings.cert, settings.key) if settings.cert else None
        relay = Relay(desk, keys, host=settings.host, port=settings.relay_port, tls=tls)
        self._resources.push_async_callback(relay.close)
        try:
            await relay.start()
        except RelayError as error:
            raise ConfigurationError(f"api.relay_port: {error}") from error
        self._relay = relay

        def grant(org: str, sid: str, role: Role, asked_at: str) -> BridgeGrant:
            token, until = keys.sign(org, sid, role=role)
            anywhere = settings.host in ("0.0.0.0", "::")  # which is nobody's address
            host = settings.relay_host or (asked_at if anywhere and asked_at else None)
            return BridgeGrant(
                token=token,
                expires_at=until,
                quic=_at(relay.quic_url, host),
                websocket=_at(relay.websocket_url, host) or "",
                fingerprints=relay.fingerprints,
            )

        return grant


async def _unrouted(call: CallSession) -> None:
    """Where the app has no default: what no route takes is refused, but only after the API had a look at it."""
    await call.hangup("unallocated")


def _at(url: str | None, host: str | None) -> str | None:
    """``url`` at another host."""
    if url is None or host is None:
        return url
    parts = urlsplit(url)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{parts.port}"
