"""From a call's sid to a link with its sound: a token, an address, and whichever transport gets through."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import ValidationError

from voxtra.voice.errors import VoiceError, bad_argument
from voxtra.voice.http import Http, is_place
from voxtra.voice.link import Link, Transport
from voxtra.voice.moq_session import installed
from voxtra.voice.websocket_link import WebSocketLink
from voxtra.wire import AudioFormat, BridgeGrant, BridgeToken

log = logging.getLogger("voxtra.voice")

RELAY_HOST = "relay.clutchcall.dev"
"""The documents' default for ``relay_host``. Here it means: where the engine says."""


class Dialer:
    """Makes links for one bridge, each with a token of its own.

    Args:
        http: the engine.
        request: which call, in which role.
        fmt: how frames are coded, both ways.
        transport: which way, see :data:`~voxtra.voice.link.Transport`.
        relay_host: ``host`` or ``host:port`` to use instead of what the engine says; "" or ``RELAY_HOST`` = its own.

    Raises:
        VoiceError: BAD_ARGUMENT: no such transport, or moq-rs is not installed for ``quic``.
    """

    def __init__(
        self,
        http: Http,
        request: BridgeToken,
        fmt: AudioFormat,
        transport: Transport,
        relay_host: str = RELAY_HOST,
    ) -> None:
        if transport not in ("auto", "quic", "websocket"):
            raise bad_argument(
                f"transport = {transport!r}: should be 'auto', 'quic' or 'websocket'", "transport"
            )
        if transport == "quic" and not installed():
            raise bad_argument(
                "transport = 'quic': moq-rs is not installed: run  pip install 'voxtra[voice]'", "transport"
            )
        self._transport = transport
        self._by_quic = transport == "quic" or (transport == "auto" and installed())
        self._http = http
        self._request = request
        self._fmt = fmt
        self._relay_host = "" if relay_host == RELAY_HOST else relay_host

    async def __call__(self) -> Link:
        """One link.

        Raises:
            LinkEnded: the relay refuses.
            VoiceError: the engine refuses, or the relay is not reached.
        """
        grant = granted(
            await self._http.call("voice.audioBridge.token", self._request, again="safe"), self._relay_host
        )
        if self._by_quic and grant.quic:
            try:
                return await self._quic(grant, grant.quic)
            except VoiceError as error:
                if self._transport == "quic" or not grant.websocket:
                    raise
                log.info("the WebSocket is used: %s", error)
                self._by_quic = False
        if self._transport == "quic" or not grant.websocket:
            raise VoiceError(
                f"the relay has no {'QUIC' if self._transport == 'quic' else 'WebSocket'}", code="NETWORK"
            )
        return await WebSocketLink.connect(
            self._http.session, grant.websocket, self._request.sid, grant.token, self._request.role, self._fmt
        )  # fmt: skip

    async def _quic(self, grant: BridgeGrant, url: str) -> Link:
        from voxtra.voice.quic_link import QuicLink  # loads moq-rs, which is large

        asked = self._request
        return await QuicLink.connect(url, asked.sid, grant.token, asked.role, self._fmt, grant.fingerprints)


def check_relay_host(relay_host: object) -> None:
    """Raise VoiceError for what is no ``host`` or ``host:port``; "" stands for the engine's own."""
    if relay_host != "" and not is_place(relay_host):
        raise bad_argument(
            f"relay_host = {relay_host!r}: should be the relay's host or host:port, like relay.example.com",
            "relay_host",
        )


def granted(data: Any, relay_host: str = "") -> BridgeGrant:
    """The grant in a reply, with another relay's host in it where one is given.

    Raises:
        VoiceError: BAD_REPLY.
    """
    try:
        known = {field.alias for field in BridgeGrant.model_fields.values()}
        grant = BridgeGrant.model_validate({key: value for key, value in dict(data).items() if key in known})
    except (ValidationError, TypeError, ValueError) as error:
        raise VoiceError(
            f"voice.audioBridge.token: a grant that can't be read: {error}", code="BAD_REPLY"
        ) from None
    for url in (grant.quic, grant.websocket):
        if url and not is_place(url.partition("://")[2].partition("/")[0]):
            raise VoiceError(
                f"voice.audioBridge.token: the engine names no relay: {url[:80]!r}", code="BAD_REPLY"
            )
    if not relay_host:
        return grant
    return grant.model_copy(
        update={
            "quic": _elsewhere(grant.quic, relay_host),
            "websocket": _elsewhere(grant.websocket, relay_host),
        }
    )


def _elsewhere(url: str | None, host: str) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    has_port = urlsplit(f"//{host}").port is not None
    place = host if has_port or parts.port is None else f"{host}:{parts.port}"
    return urlunsplit(parts._replace(netloc=place))
