"""``voxtra dev``: an app against an Asterisk of its own, started again at every change."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import watchfiles

from voxtra.cli import options
from voxtra.cli.complain import EXIT_OK, style
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import StopRequest
from voxtra.cli.supervise import Child
from voxtra.cli.target import parse_target
from voxtra.errors import ConfigurationError

if TYPE_CHECKING:
    from voxtra.testing.asterisk import PrivateAsterisk

_LOOPBACK = "127.0.0.1"
log = logging.getLogger("voxtra.dev")


class _Sources(watchfiles.DefaultFilter):
    """Sources and settings; virtual environments, caches and version control are ignored."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        watched = path.endswith(_WATCHED) and "/.asterisk/" not in path
        return watched and super().__call__(change, path)


_SOURCES = _Sources()
_WATCHED = (".py", ".yaml", ".yml", ".env", ".json", ".toml")


@dataclass(frozen=True)
class _Wish:
    target: str
    config: Path | None
    reload: bool
    log_level: str
    debug: bool


def command(
    target: options.TargetArgument,
    sip_host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Where SIP is taken; loopback is seen by this machine only."),
    ] = "127.0.0.1",
    sip_port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="UDP port of SIP; 0 = a free one.")
    ] = 5060,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start again when a file changes.")
    ] = True,
    config: options.ConfigOption = None,
    log_level: options.LogLevelOption = "info",
    debug: options.DebugOption = False,
) -> int:
    """Run an app against an Asterisk of its own.

    The app is started again at every change of a file. The Asterisk is started for the occasion and gone
    afterwards; nothing is installed or changed. Point a softphone at the address printed and dial. Ctrl-C
    stops everything.

    \b
    Examples:
      voxtra dev app:app
      voxtra dev app:app --sip-port 5070
      voxtra dev app:app --sip-host 192.168.1.20      (phones in the network can call)
    """
    parse_target(target)
    set_up_logging("debug" if debug else log_level)
    options.settings_file(config)
    _check_address(sip_host, sip_port)
    return asyncio.run(
        _dev(_Wish(target, config, reload, "debug" if debug else log_level, debug), sip_host, sip_port)
    )


def _check_address(host: str, port: int) -> None:
    """Refuse an address Asterisk could not listen on, before it is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"UDP port {port} on {host} is in use by another program: stop that, or use --sip-port 0"
                ) from None
            raise ConfigurationError(
                f"--sip-host {host!r} --sip-port {port}: can't listen there: {error.strerror}"
            ) from None


async def _dev(wish: _Wish, sip_host: str, sip_port: int) -> int:
    from voxtra.testing.asterisk import PrivateAsterisk

    with StopRequest() as stop:
        task = asyncio.current_task()
        assert task is not None
        stop.cancel_when_forced(task)
        try:
            async with PrivateAsterisk(sip_host=sip_host, sip_port=sip_port) as asterisk:
                _welcome(asterisk)
                code = await _supervise(wish, asterisk, stop)
        except asyncio.CancelledError:
            if stop.by is None:
                raise
            code = stop.code  # the second Ctrl-C: all is ended by now, if in a hurry
        if stop.by is not None:
            print("stopped", file=sys.stderr)
        return code if stop.by is None else stop.code


async def _supervise(wish: _Wish, asterisk: PrivateAsterisk, stop: StopRequest) -> int:
    """Run child after child until asked to stop; without reload, return the first one's exit code."""
    asked = asyncio.ensure_future(stop.wait())
    async with aclosing(_changes(wish)) as changes:
        change = asyncio.ensure_future(anext(changes))
        try:
            while True:
                async with Child(wish.target, wish.config, wish.log_level, wish.debug) as child:
                    life = asyncio.ensure_future(_live(child, asterisk))
                    await asyncio.wait({life, change, asked}, return_when=asyncio.FIRST_COMPLETED)
                    if life.done() and not change.done() and not asked.done():
                        code = life.result()
                        if not wish.reload:
                            return code
                        say = "waiting for a change" if code == EXIT_OK else "mend it: waiting for a change"
                        _say(f"the app has ended ({code}); {say}")
                        await asyncio.wait({change, asked}, return_when=asyncio.FIRST_COMPLETED)
                    await child.stop()
                    life.cancel()
                    await asyncio.gather(life, return_exceptions=True)
                if asked.done():
                    return stop.code
                _say(f"{change.result()} has changed: starting again")
                change = asyncio.ensure_future(anext(changes))
        finally:
            asked.cancel()
            change.cancel()
            await asyncio.gather(change, asked, return_exceptions=True)


async def _live(child: Child, asterisk: PrivateAsterisk) -> int:
    """Introduce the child and Asterisk to each other, and wait for the child's end."""
    name = await child.app_name()
    if name is not None:
        if name != asterisk.app:
            await asterisk.rx(f"dialplan set global APP {name}")
            asterisk.app = name
        await child.connect(
            {
                "asterisk": {
                    "url": asterisk.ari_url,
                    "user": asterisk.ari_user,
                    "password": asterisk.ari_password,
                },
                # what a remote Asterisk needs is wrong for this one
                "media": {"connection": "server", "bind_host": _LOOPBACK, "advertise_host": _LOOPBACK},
            }
        )
        if await child.ready():
            _say("ready: dial")
    return await child.wait()


async def _changes(wish: _Wish) -> AsyncGenerator[str, None]:
    """Names of files that changed, as they change; nothing, for ever, without reload."""
    if not wish.reload:
        await asyncio.Event().wait()
    here = Path.cwd()
    file = parse_target(wish.target).file
    places = {here} | ({file.resolve().parent} if file is not None else set())
    places = {place for place in places if place == here or not place.is_relative_to(here)}
    async for changed in watchfiles.awatch(
        *places, watch_filter=_SOURCES, step=50, ignore_permission_denied=True
    ):
        yield ", ".join(sorted({Path(path).name for _, path in changed})[:3])


def _welcome(asterisk: PrivateAsterisk) -> None:
    user, password = next(iter(asterisk.phones.items()))
    up = style("Asterisk is up.", "bold", sys.stderr)
    print(
        f"{up} Point a softphone at it, or dial without an account from this machine:\n"
        f"  server    {asterisk.sip_host}, port {asterisk.sip_port}, UDP\n"
        f"  user      {user}\n"
        f"  password  {password}\n"
        f"  address   sip:100@{asterisk.sip_host}:{asterisk.sip_port}\n"
        f"  dial      100, or any other number: it goes to the app\n"
        f"            600 echo, 601 tone, 602 prompt: the sound path without the app\n",
        file=sys.stderr,
        flush=True,
    )


def _say(text: str) -> None:
    print(f"{style('voxtra dev:', 'green', sys.stderr)} {text}", file=sys.stderr, flush=True)
