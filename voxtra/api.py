"""The HTTP API of an app: calls as a service, for programs elsewhere.

::

    app = VoxtraApp(api=Api(port=8080))

or ``voxtra run app:app --api 8080``. It answers the ClutchCall Voice SDK (:mod:`voxtra.voice`) and plain REST.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtra.config import ApiConfig
from voxtra.control.desk import CallDesk
from voxtra.control.doorman import Doorman, Keys
from voxtra.control.keys import KeyRing
from voxtra.control.procedures import Procedures
from voxtra.control.server import ApiServer
from voxtra.errors import ConfigurationError, NotConnectedError

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp

__all__ = ["Api"]


class Api:
    """The HTTP API of one app, for ``VoxtraApp(api=...)``.

    Args:
        port: TCP port, 0 = a free one; None = that of the settings (``api.port``).
        keys: who holds which key; None = the file of the settings (``api.keys``).
        options: further settings of the section ``api``, as ``host="0.0.0.0"``, ``trunks=[{...}]``.

    Attributes:
        desk: the calls.
        url: where it listens, once started.

    Raises:
        ConfigurationError: a setting can't be.
    """

    def __init__(self, port: int | None = None, *, keys: Keys | None = None, **options: Any) -> None:
        given = options | ({} if port is None else {"port": port})
        ApiConfig(**given)  # what is wrong is said where it was written
        self._given = given
        self._keys = keys
        self._desk: CallDesk | None = None
        self._resources = contextlib.AsyncExitStack()
        self.url = ""

    @property
    def desk(self) -> CallDesk:
        """The calls. Raises NotConnectedError when the app is not started."""
        if self._desk is None:
            raise NotConnectedError("the api is not started: await app.start() first")
        return self._desk

    async def start(self, app: VoxtraApp) -> None:
        """Begin to answer. Called by the app, once it is connected. Raises ConfigurationError."""
        own = app.settings.api.model_dump(exclude_unset=True)
        settings = ApiConfig(**{**own, **self._given})
        if settings.port is None:
            raise ConfigurationError("api.port is not set: give the port where the API is to listen")
        self._resources = contextlib.AsyncExitStack()
        desk = CallDesk(app, settings)
        self._resources.push_async_callback(desk.close)
        app.middlewares.insert(0, desk.around)
        self._resources.callback(app.middlewares.remove, desk.around)
        doorman = Doorman(self._keys or KeyRing(Path(settings.keys)), settings.requests_per_second)
        server = ApiServer(
            [Procedures(desk, doorman, None)],
            host=settings.host,
            port=settings.port,
            cert=settings.cert,
            key=settings.key,
            insecure=settings.insecure,
        )
        self._resources.push_async_callback(server.close)
        try:
            await server.start()
        except BaseException:
            await self.close()
            raise
        self._desk, self.url = desk, server.url

    async def close(self) -> None:
        """Answer no longer. Idempotent."""
        self._desk = None
        await self._resources.aclose()
