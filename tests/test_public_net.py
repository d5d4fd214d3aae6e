"""Addresses that others may choose lead to the public internet, however they are spelt."""

import asyncio
import socket
import threading

import aiohttp
import pytest
from aiohttp import web

from voxtra._public_net import LOOKUPS, PublicOnly, check_address, check_url
from voxtra.calls.fetch import SoundFetcher
from voxtra.errors import ConfigurationError

SPELLINGS = (
    "127.0.0.1", "127.1", "2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.0.0.1.", "0", "localhost",
    "[::1]", "[::ffff:127.0.0.1]", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1",
)  # fmt: skip
"""Of this machine; what the last three are normalised to is never resolved."""


@pytest.mark.parametrize("host", SPELLINGS)
async def test_this_machine_is_not_reached_by_another_spelling(host):
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.host)
        return web.Response()

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://{host}:{runner.addresses[0][1]}/"
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=PublicOnly())) as client:
            with pytest.raises((ConfigurationError, aiohttp.ClientError, OSError)):
                await _asked_guarded(client, url)
    finally:
        await runner.cleanup()
    assert not asked


async def _asked_guarded(client: aiohttp.ClientSession, url: str) -> None:
    check_url(url, private=False)
    async with client.get(url):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/",
        "http://",
        "x",
        "http://[::1",
        "http://x:99999/",
        f"http://{'a' * 300}é/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://.example/",
    ],
)
def test_what_is_no_url_is_said_to_be_none(url):
    with pytest.raises(ConfigurationError, match="no http or https URL"):
        check_url(url, private=True)


def test_public_addresses_and_names_are_let_through():
    for url in ("https://example.com/a?b=c", "http://93.184.216.34:8080/", "HTTP://Example.com/"):
        check_url(url, private=False)
    check_url("http://127.0.0.1/", private=True)


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1", "2002:7f00:1::", "::127.0.0.1",
        "::ffff:10.0.0.1", "fec0::1", "fe80::1", "fd00::1", "ff0e::1", "2001:0:1::1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255",
    ],
)  # fmt: skip
def test_addresses_that_lead_inside_are_refused_whatever_stands_around_them(address):
    with pytest.raises(ConfigurationError, match="public internet"):
        check_address("there", address)


@pytest.mark.parametrize(
    "address",
    ["64:ff9b::5db8:d822", "2002:5db8:d822::1", "::ffff:93.184.216.34", "2606:4700::1111", "1.1.1.1"],
)
def test_a_public_address_in_another_is_public(address):
    check_address("there", address)


async def test_names_that_nobody_answers_for_hold_up_no_other_thread(monkeypatch):
    """A look-up takes its thread for half a minute, and the default pool has six on two cores."""
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20) and [])
    resolver = PublicOnly()
    waiting = [asyncio.ensure_future(resolver.resolve(f"{number}.example")) for number in range(50)]
    try:
        async with asyncio.timeout(3):
            await asyncio.sleep(0.1)
            await asyncio.to_thread(lambda: None)
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("voxtra-names")]
        assert 0 < len(names) <= LOOKUPS
    finally:
        release.set()
        await asyncio.gather(*waiting, return_exceptions=True)
        await resolver.close()


async def test_what_a_look_up_gives(monkeypatch):
    def lookup(host, port, family=0, kind=0, proto=0, flags=0):
        assert (port, kind) == (443, socket.SOCK_STREAM)
        return [
            (socket.AF_INET6, kind, 6, "", ("2606:4700::1111", port, 0, 0)),
            (socket.AF_INET, kind, 6, "", (addresses[host], port)),
        ]

    addresses = {"good.example": "1.1.1.1", "bad.example": "10.0.0.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    resolver = PublicOnly()
    found = await resolver.resolve("good.example", 443, socket.AF_UNSPEC)
    assert [(each["host"], each["port"], each["family"]) for each in found] == [
        ("2606:4700::1111", 443, socket.AF_INET6),
        ("1.1.1.1", 443, socket.AF_INET),
    ]
    with pytest.raises(ConfigurationError, match="public internet"):
        await resolver.resolve("bad.example", 443, socket.AF_UNSPEC)
    await resolver.close()


async def test_no_thread_stays_when_sounds_are_done_with():
    sounds = SoundFetcher()
    with pytest.raises(ConfigurationError, match="public internet"):
        await sounds.fetch("http://localhost/a.wav", 8000)
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("voxtra-names")]
    assert mine
    await sounds.close()
    for thread in mine:
        thread.join(3)
    assert not any(thread.is_alive() for thread in mine)
