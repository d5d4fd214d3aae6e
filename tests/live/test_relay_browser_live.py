"""The audio bridge in a real browser, by an implementation of MoQ that is not the relay's.

It wants Chromium, and npm's ``@moq/net`` and ``esbuild`` in a folder that VOXTRA_NODE_MODULES names.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web
from relay_rig import KEYS, SID, relaying, share, tone

from voxtra.testing.asterisk import PrivateAsterisk

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
MODULES = Path(os.environ.get("VOXTRA_NODE_MODULES", "node_modules"))
pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium here"),
    pytest.mark.skipif(
        not (MODULES / "@moq/net").is_dir() or not (MODULES / "esbuild").is_dir(),
        reason=f"no @moq/net and esbuild in {MODULES}: npm install them, and name the folder",
    ),
]


async def bundled(folder: Path) -> str:
    """The page's script in one piece."""
    out = folder / "page.js"
    process = await asyncio.create_subprocess_exec(
        str(MODULES / ".bin/esbuild"), str(Path(__file__).with_name("relay_browser.js")), "--bundle",
        "--format=esm", f"--outfile={out}", "--log-level=error", env={**os.environ, "NODE_PATH": str(MODULES)},
    )  # fmt: skip
    assert await process.wait() == 0
    return await asyncio.to_thread(out.read_text)


def page_of(text: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def give(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind)

    return give


async def test_a_browser_hears_and_is_heard(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    told: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        told.put_nowait(dict(request.query))
        return web.Response()

    script = await bundled(tmp_path)
    page = web.Application()
    page.router.add_get("/told", take)
    page.router.add_get("/", page_of("<script type=module src=/page.js></script>", "text/html"))
    page.router.add_get("/page.js", page_of(script, "text/javascript"))
    runner = web.AppRunner(page)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with relaying(asterisk, relay={"quic": True}) as it, it.call() as phone:
        token = KEYS.sign("acme", SID)[0]
        url = f"{it.relay.quic_url}/voice/{SID}?tok={token}&codec=g711_ulaw"
        query = urlencode({"url": url, "sid": SID, "hash": it.relay.fingerprints[0]})
        browser = await asyncio.create_subprocess_exec(
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chrome'}",
            f"http://localhost:{runner.addresses[0][1]}/?{query}",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            first = await asyncio.wait_for(told.get(), 30)
            assert first["what"] == "info", first
            assert json.loads(first["info"])["codec"] == "g711_ulaw"
            phone.play(tone(440, 3))
            await asyncio.sleep(4)
            assert share(phone.received_pcm(), 440) > 0.6
            await phone.hangup()
            last = await asyncio.wait_for(told.get(), 10)
            assert last["what"] in ("end", "error"), last
        finally:
            browser.terminate()
            await browser.wait()
            await runner.cleanup()
