"""Requests to addresses that others may choose: only to the public internet, unless that is allowed."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from voxtra.errors import ConfigurationError

ALLOWED_BY = "VoxtraApp(private_urls=True) allows it"
LOOKUPS = 8
"""Names that are looked up at once, in threads of their own: one that nobody answers for takes half a minute."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: what is sent there goes out to the IPv4 address in its last four bytes."""


class PublicOnly(AbstractResolver):
    """Resolves names, and refuses those that lead into private networks.

    The check is made on the very addresses that are connected to, so that no second look-up can differ.

    Args:
        allowed_by: what to tell who wants it nevertheless.
    """

    def __init__(self, allowed_by: str = ALLOWED_BY) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="voxtra-names")
        self._allowed_by = allowed_by

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises ConfigurationError when one of them is private."""
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        for each in found:
            check_address(host, each["host"], self._allowed_by)
        return found

    async def close(self) -> None:
        """End the threads; one that still looks up ends with that."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    """Blocks. Raises OSError, and UnicodeError for a name that can't be."""
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, address in found
    ]


def check_address(host: str, address: str, allowed_by: str = ALLOWED_BY) -> None:
    """Raise ConfigurationError when an address is none of the public internet."""
    ip = _reached(ipaddress.ip_address(address.partition("%")[0]))
    public = ip.is_global and not ip.is_multicast and not ip.is_reserved  # 64:ff9b:1::, ::127.0.0.1
    if not public or (ip.version == 6 and ip.is_site_local):
        raise ConfigurationError(
            f"{host} is {address}, which is no address of the public internet; {allowed_by}"
        )


def _reached(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


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
    labels = (host or "").removesuffix(".").split(".")
    if not host or parsed.scheme not in ("http", "https") or not all(0 < len(label) < 64 for label in labels):
        raise ConfigurationError(f"{url!r} is no http or https URL")
    if not private:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        check_address(host, host, allowed_by)
