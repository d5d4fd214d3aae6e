"""Where ARI is: a URL as people write it, checked once and kept without secrets."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from voxtra._checks import can_be_host
from voxtra.errors import ConfigurationError

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_LOCAL = ("localhost", "127.", "::1", "[::1]")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of one Asterisk's ARI.

    Attributes:
        base: ``"http://127.0.0.1:8088/ari"``, no slash at the end.
        private: the password does not cross a network in clear: TLS, or this machine.
    """

    base: str
    private: bool

    @property
    def events(self) -> str:
        """URL of the events WebSocket, with the scheme that the HTTP library takes."""
        return self.base + "/events"


def parse_address(url: str) -> Address:
    """Read an ARI URL: http, https, ws or wss, with or without ``/ari`` at the end.

    Raises:
        ConfigurationError: it is no such URL; the message names it and says what would be right.
    """
    wanted = "it should look like http://127.0.0.1:8088"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"ARI URL {_shown(url)!r} is not valid ({error}): {wanted}") from None
    if parts.scheme.lower() not in _SCHEMES or not can_be_host(parts.hostname):
        raise ConfigurationError(f"ARI URL {_shown(url)!r} is not valid: {wanted}")
    if parts.username is not None or parts.password is not None:
        raise ConfigurationError(
            f"ARI URL {_shown(url)!r} holds credentials: give user and password apart; {wanted}"
        )
    if parts.query or parts.fragment or any(c.isspace() for c in url):
        raise ConfigurationError(f"ARI URL {_shown(url)!r} has more than an address in it: {wanted}")
    scheme = _SCHEMES[parts.scheme.lower()]
    return Address(_base(scheme, parts, port), scheme == "https" or (parts.hostname or "").startswith(_LOCAL))


def _base(scheme: str, parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/ari")
    return f"{scheme}://{host}{f':{port}' if port else ''}{path}/ari"


def _shown(url: str) -> str:
    """The URL for a message, without what stands before an ``@``."""
    head, at, tail = url.rpartition("@")
    return f"{head.partition('//')[0]}//***@{tail}" if at else url
