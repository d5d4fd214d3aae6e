"""One connection of the events WebSocket: events in order, and requests where Asterisk takes them there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from voxtra.ari.events import Event, MissingParams, RESTResponse
from voxtra.ari.http import words
from voxtra.ari.protocol import Request, Response, encode_request, parse_message, response_of
from voxtra.errors import (
    ARIConnectionLostError,
    ARIError,
    ARITimeoutError,
    AuthenticationError,
    TelephonyConnectionError,
)

log = logging.getLogger("voxtra.ari")

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes of a message from Asterisk: a response that lists everything is large."""
MAX_REQUEST = 32 * 1024
"""Bytes of a request sent here: at 64 KiB Asterisk closes the WebSocket with 1009."""
SILENT_TICKS = 3
"""Parts of the heartbeat without a byte after which the connection counts as dead."""
CLOSE_S = 0.5
"""How long a goodbye may take, s."""
FINISH_S = 1.0
"""How long requests may take that are under way when no more are to come, s."""
PING = Request("GET", "/asterisk/ping")
PROBE = "probe"

_ENDS = (
    aiohttp.WSMsgType.CLOSE,
    aiohttp.WSMsgType.CLOSING,
    aiohttp.WSMsgType.CLOSED,
    aiohttp.WSMsgType.ERROR,
)


async def open_events(
    session: aiohttp.ClientSession, url: str, query: dict[str, str], *, timeout_s: float
) -> aiohttp.ClientWebSocketResponse:
    """Open the events WebSocket.

    Raises:
        AuthenticationError: Asterisk refuses the user or password.
        TelephonyConnectionError: nothing answers within ``timeout_s``, or something that is not ARI.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await session.ws_connect(
                URL(url).with_query(query),
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                max_msg_size=MAX_MESSAGE,
                autoping=False,  # a pong is a sign of life that the reader wants to see
            )
    except aiohttp.WSServerHandshakeError as refused:
        status, said = refused.status, ""
    except TimeoutError:
        status, said = 0, f"no answer within {timeout_s:.3g} s"
    except (aiohttp.ClientError, OSError) as error:
        status, said = 0, words(error)
    raise handshake_error(url, status, said)  # out here, without the header-laden context


def handshake_error(url: str, status: int, said: str) -> TelephonyConnectionError:
    """Why the WebSocket could not be opened, and what to do about it."""
    if status in (401, 403):
        return AuthenticationError(
            f"{url}: Asterisk refuses the ARI user or password ({status}): compare with ari.conf"
        )
    hints = {
        0: said,
        200: "no WebSocket there (200): is this Asterisk's HTTP port?",
        404: "no ARI there (404): is res_ari loaded, enabled=yes in ari.conf, and the path right?",
        503: "Asterisk is not ready yet (503)",
    }
    return TelephonyConnectionError(f"{url}: {hints.get(status, f'the WebSocket is refused ({status})')}")


class EventSocket:
    """An open events WebSocket.

    Args:
        socket: as :func:`open_events` gives it, or one that Asterisk opened.
        heartbeat_s: silence, with pings sent into it, after which the connection counts as dead.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse, heartbeat_s: float
    ) -> None:
        self._socket = socket
        self._tick_s = heartbeat_s / SILENT_TICKS
        self._ids = itertools.count(1)
        self._pending: dict[str, asyncio.Future[Response | None]] = {}
        self._ended = False
        self._finishing = False
        self.answers = asyncio.Event()
        """Set while requests sent here are answered: not by old Asterisks, nor under some event filters."""

    async def run(self, receive: Callable[[Event], None]) -> None:
        """Read until the connection ends; ``receive`` gets every event in order.

        Raises:
            TelephonyConnectionError: always, and says how it ended.
        """
        try:
            await self._read(receive)
        finally:
            self._ended = True
            for waiting in self._pending.values():
                if not waiting.done():
                    waiting.set_result(None)

    async def _read(self, receive: Callable[[Event], None]) -> None:
        silent = 0
        for count in itertools.count(1):
            # Counting ticks, not seconds: a loop that was held up reads what came before it counts on.
            try:
                frame = await self._socket.receive(self._tick_s)
            except TimeoutError:
                silent += 1
            else:
                silent = 0
                if frame.type is aiohttp.WSMsgType.TEXT:
                    self._take(frame.data, receive)
                elif frame.type is aiohttp.WSMsgType.PING:
                    await self._say(self._socket.pong(frame.data))
                elif frame.type in _ENDS:
                    raise TelephonyConnectionError(self._ending(frame))
            if silent >= SILENT_TICKS:
                heard = f"{self._tick_s * silent:.1f} s"
                raise TelephonyConnectionError(f"Asterisk sent nothing for {heard}, not even a pong")
            if silent:
                await self._say(self._socket.ping())
            if count % 64 == 0:
                await asyncio.sleep(0)  # under a flood of events the calls still get their turn

    async def _say(self, frame: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(self._tick_s):
                await frame
        except (TimeoutError, aiohttp.ClientError, OSError):
            log.debug("a ping or pong could not be sent; the silence will tell")

    def _ending(self, frame: aiohttp.WSMessage) -> str:
        if frame.type is aiohttp.WSMsgType.ERROR:
            return f"the WebSocket broke: {words(frame.data)}"
        code = self._socket.close_code
        return f"the WebSocket was closed (code {code})" if code else "the WebSocket broke"

    def _take(self, text: str, receive: Callable[[Event], None]) -> None:
        message = parse_message(text)
        if isinstance(message, RESTResponse):
            self._answered(message)
        elif isinstance(message, Event):
            receive(message)
        elif isinstance(message, MissingParams):
            log.error("Asterisk misses parameters of the events WebSocket: %s", ", ".join(message.params))
        else:
            log.warning("a message from Asterisk makes no sense and is dropped: %.200r", text)

    def _answered(self, message: RESTResponse) -> None:
        self.answers.set()
        waiting = self._pending.get(message.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(response_of(message))
        elif message.request_id != PROBE:
            log.debug("a response came for nobody: %s %s", message.status_code, message.uri)

    async def probe(self) -> None:
        """Send a request that nobody waits for: ``answers`` is set once its response comes."""
        try:
            async with asyncio.timeout(self._tick_s):
                await self._socket.send_str(encode_request(PING, PROBE))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = words(error)
        else:
            return
        raise TelephonyConnectionError(f"the WebSocket broke: {said}")

    def takes(self, request: Request) -> bool:
        """True when the request can go over this WebSocket."""
        free = not self._ended and not self._finishing
        return free and not request.binary and len(request.body) <= MAX_REQUEST

    async def request(self, request: Request, timeout_s: float) -> Response:
        """Send and wait for the response.

        Raises:
            ARITimeoutError: no response within ``timeout_s``.
            ARIConnectionLostError: the connection broke before the response came.
        """
        request_id = str(next(self._ids))
        waiting: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = waiting
        response, late = None, False
        try:
            async with asyncio.timeout(timeout_s):
                await self._socket.send_str(encode_request(request, request_id))
                response = None if self._ended else await waiting
        except TimeoutError:
            late = True
        except (aiohttp.ClientError, OSError):
            log.debug("%s %s could not be sent", request.method, request.path)
        finally:
            del self._pending[request_id]
        if late:
            self.answers.clear()  # until a response does come, others had better not wait here too
            raise ARITimeoutError(request.method, request.path, 0, f"no response within {timeout_s:.3g} s")
        if response is None:
            raise ARIConnectionLostError(request.method, request.path, 0, "the WebSocket broke meanwhile")
        return response

    async def finish(self) -> None:
        """Take no more requests, and wait until those under way are carried out: ``FINISH_S`` each time at most.

        Asterisk answers in order, so with the answer to a last request all before it are done, those included
        that nobody waits for any more.
        """
        if self.answers.is_set() and not self._ended:
            with contextlib.suppress(ARIError):
                await self.request(PING, FINISH_S)
                self._finishing = True  # only now: on another way a request would overtake those under way
                await self.request(PING, FINISH_S)
        self._finishing = True

    async def close(self) -> None:
        """Say goodbye, within ``CLOSE_S``, and free the socket. Raises nothing."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            log.debug("the WebSocket did not close in order: %s", words(error))
