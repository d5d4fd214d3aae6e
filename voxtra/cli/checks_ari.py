"""Checks between here and Asterisk's REST interface."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
import socket

import aiohttp

from voxtra.ari import ARIClient
from voxtra.cli.checks import Check
from voxtra.config import VoxtraConfig
from voxtra.errors import (
    ARIForbiddenError,
    ARINotFoundError,
    AuthenticationError,
    TelephonyConnectionError,
    TelephonyError,
)

DEADLINE_S = 5.0
_SESSIONS_TRIED = 120
"""More than the 100 that Asterisk allows when http.conf says nothing."""

_SUPPORTED = {20: 18, 22: 8, 23: 2}
"""Major version → first minor version with chan_websocket as it is used here."""

_CORE_MODULES = (
    "res_http_websocket", "res_stasis", "app_stasis", "res_ari", "res_ari_applications", "res_ari_asterisk",
    "res_ari_bridges", "res_ari_channels", "res_ari_events", "res_ari_playbacks", "res_ari_recordings",
    "res_stasis_answer", "res_stasis_playback", "res_stasis_recording", "res_stasis_snoop", "bridge_simple",
    "bridge_softmix", "pbx_config",
)  # fmt: skip
_TRANSPORT_MODULES = {
    "websocket": ("chan_websocket",),
    "rtp": ("chan_rtp", "res_rtp_asterisk"),
    "audiosocket": ("chan_audiosocket", "res_audiosocket"),
}
_CODEC_MODULES = {
    "ulaw": ("codec_ulaw",),
    "alaw": ("codec_alaw",),
    "g722": ("codec_g722",),
    "slin16": ("codec_resample",),
    "slin24": ("codec_resample",),
    "slin48": ("codec_resample",),
}
_PROMPT_MODULES = ("format_wav", "format_pcm", "format_sln", "format_gsm")


class AriChecks:
    """The checks, in the order in which each builds on those before it."""

    def __init__(self, settings: VoxtraConfig) -> None:
        self._settings = settings
        asterisk = settings.asterisk
        self._where = f"{asterisk.host}:{asterisk.port}"
        self.ari = self.client(None)
        self._modules: dict[str, str] = {}

    def client(self, app: str | None) -> ARIClient:
        """A client for an application of ours, or for none."""
        asterisk = self._settings.asterisk
        password = asterisk.password.get_secret_value()
        return ARIClient(
            asterisk.url,
            asterisk.user,
            password,
            app=app,
            request_timeout_s=DEADLINE_S,
            reconnect_s=(0.25, 0.5),
        )

    async def tcp(self) -> Check:
        """Does anything listen there?"""
        asterisk = self._settings.asterisk
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout(DEADLINE_S):
                _, writer = await asyncio.open_connection(asterisk.host, asterisk.port)
        except TimeoutError:
            advice = "a firewall in between? Is the address right?"
            return Check("reachable", "fail", f"{self._where}: no answer in {DEADLINE_S:g} s", advice)
        except socket.gaierror:
            advice = f"{self._settings.source('asterisk.url')} gives the address: is it right?"
            return Check("reachable", "fail", f"no machine is called {asterisk.host!r}", advice)
        except OSError as error:
            advice = (
                "start Asterisk; in its http.conf: enabled=yes, and bindaddr and bindport as in the URL"
                "; or use voxtra dev, which brings an Asterisk of its own"
            )
            return Check("reachable", "fail", f"{self._where}: {_reason(error)}", advice)
        took_ms = (loop.time() - begin) * 1000
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # it closed first: all the same
        return Check("reachable", "ok", f"{self._where} in {took_ms:.1f} ms")

    async def http(self) -> Check:
        """Is what listens there Asterisk's HTTP server, with ARI in it?"""
        url = f"{self._settings.asterisk.url}/ari/asterisk/ping"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=DEADLINE_S)) as session,
                session.get(url) as response,
            ):
                status, server = response.status, response.headers.get("Server", "")
        except (aiohttp.ClientError, TimeoutError) as error:
            advice = "something else than Asterisk listens on that port, or it wants https"
            return Check("is it ARI", "fail", f"no HTTP answer: {_reason(error)}", advice)
        if status in (200, 401) and server.startswith("Asterisk"):
            return Check("is it ARI", "ok", f"{server} with ARI")
        if server.startswith("Asterisk"):
            advice = "load res_ari.so, and in ari.conf [general]: enabled=yes"
            return Check("is it ARI", "fail", f"{server} answers {status}: ARI is not loaded", advice)
        advice = "the URL must be that of Asterisk's HTTP server (http.conf), usually port 8088"
        return Check("is it ARI", "fail", f"answers {status} as {server or 'nobody it names'}", advice)

    async def login(self) -> Check:
        """Are user and password right, and may the user do things?"""
        asterisk = self._settings.asterisk
        try:
            await self.ari.connect()
            await self.ari.asterisk.ping()
            await self.ari.channels.answer(channel_id=f"vx-doctor-{secrets.token_hex(4)}")
        except ARINotFoundError:  # no such channel, as expected: but we were allowed to ask
            return Check("login", "ok", f"user {asterisk.user}, may read and write")
        except AuthenticationError:
            source = self._settings.source("asterisk.password")
            advice = f"compare [{asterisk.user}] in ari.conf with the password from {source}"
            return Check("login", "fail", f"Asterisk refuses user {asterisk.user} or its password", advice)
        except ARIForbiddenError:
            advice = f"in ari.conf [{asterisk.user}]: read_only=no, then  asterisk -rx 'ari reload'"
            return Check("login", "fail", f"user {asterisk.user} may only read", advice)
        except TelephonyError as error:
            return Check("login", "fail", str(error), "look into Asterisk's log")
        return Check("login", "warn", "Asterisk answered a channel that does not exist", "is this Asterisk?")

    async def asterisk_version(self) -> Check:
        """Is this Asterisk new enough for the transport?"""
        info = await self.ari.asterisk.get_info()
        return judge_version(info.system.version if info.system else "", self._settings.media.transport)

    async def modules(self) -> Check:
        """Is what voxtra uses loaded?"""
        self._modules = {m.name.removesuffix(".so"): m.status for m in await self.ari.asterisk.list_modules()}
        transport = self._settings.media.transport
        wanted = (*_CORE_MODULES, *_TRANSPORT_MODULES[transport])
        missing = self._not_running(wanted)
        if missing:
            lines = " and ".join(f"load={name}.so" for name in missing)
            return Check("modules", "fail", f"not running: {', '.join(missing)}", f"in modules.conf: {lines}")
        return Check("modules", "ok", f"{len(wanted)} needed for {transport}, all of them running")

    async def formats(self) -> Check:
        """Can Asterisk turn the callers' sound into the line's, and read prompts?"""
        codec = self._settings.media.codec
        missing = self._not_running(_CODEC_MODULES.get(codec, ()))
        if missing:
            advice = f"in modules.conf: load={missing[0]}.so, or choose another media.codec"
            return Check("formats", "fail", f"{codec} wants {', '.join(missing)}", advice)
        missing = self._not_running(_PROMPT_MODULES)
        if missing:
            advice = f"some prompts can't be played: load={missing[0]}.so"
            return Check("formats", "warn", f"{codec} is there; not running: {', '.join(missing)}", advice)
        return Check("formats", "ok", f"{codec} for calls; prompts in wav, ulaw, sln and gsm")

    async def endpoints(self) -> Check:
        """Is there anything to call from?"""
        there = await self.ari.endpoints.list()
        if not there:
            advice = "make one in pjsip.conf; without it only Local channels reach the app"
            return Check("endpoints", "warn", "no SIP endpoint", advice)
        online = sum(1 for endpoint in there if endpoint.state == "online")
        return Check("endpoints", "ok", f"{len(there)} configured, {online} registered or reachable")

    async def app_name(self) -> Check:
        """Is the app's name free?"""
        name = self._settings.asterisk.app_name
        try:
            await self.ari.applications.get(application_name=name)
        except ARINotFoundError:
            return Check("app name", "ok", f"{name} is free: the dialplan's Stasis({name}) will lead here")
        advice = "a second client of that name takes its calls over: stop the other, or use --app-name"
        return Check("app name", "warn", f"{name} is in use by another client", advice)

    async def events(self) -> Check:
        """Does the events WebSocket work, and does it take requests?"""
        ari = self.client(f"vx-doctor-{secrets.token_hex(4)}")
        try:
            await ari.connect(wait=False, timeout=DEADLINE_S)
            await ari.asterisk.ping()
            if ari.requests_over_websocket:
                return Check("events", "ok", "WebSocket connected, takes requests too")
            return Check(
                "events", "ok", "WebSocket connected; requests go over HTTP (this Asterisk is older)"
            )
        except TelephonyConnectionError as error:
            advice = "is there a proxy in between that knows no WebSocket? Is res_http_websocket loaded?"
            return Check("events", "fail", str(error), advice)
        finally:
            await ari.close()

    async def sessions(self) -> Check:
        """Does Asterisk's HTTP server take enough connections? One a call is wanted, 100 is its default."""
        asterisk = self._settings.asterisk
        held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        try:
            async with asyncio.timeout(DEADLINE_S):
                for _ in range(_SESSIONS_TRIED):
                    pair = await asyncio.open_connection(asterisk.host, asterisk.port)
                    held.append(pair)
                await asyncio.sleep(0.2)  # one too many is accepted, then closed
        except (OSError, TimeoutError):
            pass  # fewer were taken: that is what is counted
        finally:
            taken = sum(1 for reader, _ in held if not reader.at_eof() and reader.exception() is None)
            refused = taken < len(held)
            for _, writer in held:
                writer.transport.abort()
        if taken < _SESSIONS_TRIED and not refused and taken > 1:
            return Check(
                "sessions", "ok", f"{taken} connections at once are taken; more took too long to try"
            )
        if taken < _SESSIONS_TRIED:
            advice = "in http.conf: sessionlimit=500; with media over WebSocket each call is a session"
            return Check("sessions", "warn", f"Asterisk takes about {taken} connections at once", advice)
        return Check("sessions", "ok", f"{_SESSIONS_TRIED} connections at once are taken")

    def _not_running(self, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self._modules.get(name) != "Running"]

    async def close(self) -> None:
        """Close the connection."""
        await self.ari.close()


def judge_version(text: str, transport: str) -> Check:
    """Whether an Asterisk that calls itself ``text`` will do for ``transport``."""
    match = re.search(r"(\d+)\.(\d+)", text)
    if match is None:
        return Check("version", "warn", f"unknown version {text!r}", "voxtra knows 20.18+, 22.8+ and 23.2+")
    major, minor = int(match[1]), int(match[2])
    if major < 18:
        return Check("version", "fail", text, "install Asterisk 22: this one has no usable media transport")
    if major > max(_SUPPORTED) or minor >= _SUPPORTED.get(major, math.inf):
        return Check("version", "ok", text)
    advice = "chan_websocket wants 20.18+, 22.8+ or 23.2+: update, or set media.transport: rtp"
    return Check("version", "fail" if transport == "websocket" else "warn", text, advice)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "too late"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
