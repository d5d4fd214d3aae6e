"""The ARI client on a fake Asterisk: every operation, model and error is the real client's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from voxtra.ari import ARIClient, ConnectionState, Snapshot
from voxtra.ari.protocol import Request
from voxtra.ari.protocol import refusal as refusal_of
from voxtra.errors import TelephonyError
from voxtra.testing import fake_operations, fake_recordings  # noqa: F401 - they register what can be asked
from voxtra.testing.fake_asterisk import FakeAsterisk
from voxtra.testing.fake_rest import answer

REQUEST_S = 0.001
"""How long a request takes, s of virtual time."""


class FakeARI(ARIClient):
    """Sends its requests to a :class:`FakeAsterisk` and gets its events.

    Attributes:
        broken: set by who wants to know what the fake Asterisk could not do.
    """

    def __init__(self, asterisk: FakeAsterisk) -> None:
        super().__init__("http://127.0.0.1:1", "fake", "fake", app=asterisk.app)
        self._asterisk = asterisk
        self._state = ConnectionState.CLOSED
        self.broken: Callable[[Exception], None] = lambda error: None
        asterisk.deliver = self._fanout.deliver

    @property
    def state(self) -> ConnectionState:
        """``ready`` from ``connect`` to ``close``."""
        return self._state

    @property
    def last_error(self) -> TelephonyError | None:
        """None: nothing breaks."""
        return None

    @property
    def attempts(self) -> int:
        """0: the first one succeeds."""
        return 0

    async def connect(self, *, wait: bool = True, timeout: float | None = None) -> None:
        """Be ready at once."""
        self._connection.on_resync.call(
            Snapshot(
                await self.applications.get(application_name=self.app or ""),
                tuple(await self.channels.list()),
                tuple(await self.bridges.list()),
            )
        )
        self._become(ConnectionState.READY)

    async def wait_ready(self, timeout: float | None = None) -> None:
        """Ready already."""

    async def close(self) -> None:
        """End all streams of events."""
        self._become(ConnectionState.CLOSED)
        self._fanout.end()

    def _become(self, state: ConnectionState) -> None:
        if state is not self._state:
            self._state = state
            self._connection.on_state.call(state)

    async def send(self, request: Request, timeout_s: float | None = None) -> str | bytes:
        """Carry a request out, in a millisecond."""
        await asyncio.sleep(REQUEST_S / 2)
        try:
            response = answer(self._asterisk, request)
        except Exception as error:
            self.broken(error)
            raise
        await asyncio.sleep(REQUEST_S / 2)
        if not 200 <= response.status < 300:
            raise refusal_of(request, response)
        return response.body
