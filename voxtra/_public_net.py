"""Requests to addresses that others may choose: only to the public internet, unless that is allowed."""

from __future__ import annotations

import ipaddress
import socket

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from voxtra.errors import ConfigurationError

ALLOWED_BY = "VoxtraApp(private_urls=True) allows it"


class PublicOnly(AbstractResolver):
    """Resolves names, and refuses those that lead into private networks.

    The check is made on the very addresses that are connected to, so that no second look-up can differ.

    Args:
        allowed_by: what to tell who wants it nevertheless.
    """

    def __init__(self, allowed_by: str = ALLOWED_BY) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allowed_by = allowed_by

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises ConfigurationError when one of them is private."""
        found = await self._inner.resolve(host, port, family)
        for each in found:
            check_address(host, each["host"], self._allowed_by)
        return found

    async def close(self) -> None:
        """Nothing stays open."""
        await self._inner.close()


def check_address(host: str, address: str, allowed_by: str = ALLOWED_BY) -> None:
    """Raise ConfigurationError when an address is none of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    if not (mapped or ip).is_global or ip.is_multicast:
        raise ConfigurationError(
            f"{host} is {address}, which is no address of the public internet; {allowed_by}"
        )


def check_url(url: str, *, private: bool, allowed_by: str = ALLOWED_BY) -> None:
    """Raise ConfigurationError when ``url`` is no http or https URL, or names a private address.

    A host name is checked when it is resolved: :class:`PublicOnly`.
    """
    try:
        parsed = yarl.URL(url)
        host = (
            parsed.raw_host
        )  # as aiohttp connects to it: of "１２７.0.0.1" it makes 127.0.0.1, and resolves nothing
    except ValueError:
        host = None
    if not host or parsed.scheme not in ("http", "https"):
        raise ConfigurationError(f"{url!r} is no http or https URL")
    if not private:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        check_address(host, host, allowed_by)
