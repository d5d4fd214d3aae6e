"""``voxtra doctor``: every step between here and a working call, and what to do about each."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from voxtra.cli import options
from voxtra.cli.checks import Check, Step, check_extras, check_python, check_settings, run_series
from voxtra.cli.complain import EXIT_FAILED, EXIT_OK, style
from voxtra.cli.log import set_up_logging
from voxtra.cli.target import load_app
from voxtra.config import VoxtraConfig

_SIGNS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red"), "skip": ("–", "dim")}


def command(
    target: Annotated[
        str | None, typer.Argument(metavar="[APP]", help="Look at this app's settings.", show_default=False)
    ] = None,
    ari_url: options.UrlOption = None,
    ari_user: options.UserOption = None,
    ari_password: options.PasswordOption = None,
    app_name: options.AppNameOption = None,
    transport: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Check websocket, rtp or audiosocket.", show_default=False),
    ] = None,
    config: options.ConfigOption = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Also open 120 connections for a moment, to see if Asterisk takes them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    debug: options.DebugOption = False,
) -> int:
    """Check every step between here and a call.

    Says for each what was found and what to do.

    Exit code 0 when a call can work, 1 when something essential is wrong.

    \b
    Examples:
      voxtra doctor
      voxtra doctor app:app
      voxtra doctor --ari-url http://pbx.example:8088 --transport rtp
      voxtra doctor --json
    """
    given = options.ari_options(ari_url, ari_user, ari_password, app_name)
    if transport is not None:
        given["media.transport"] = transport
    if debug:
        set_up_logging("debug")
    else:
        logging.getLogger("voxtra").addHandler(logging.NullHandler())  # the checks say it all
    base = load_app(target).settings if target else None
    settings = options.load_settings(config, given, base)
    checks = asyncio.run(_examine(settings, deep, quiet=as_json))
    bad = sum(check.status == "fail" for check in checks)
    if as_json:
        report = {"ok": not bad, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    elif bad:
        typer.echo(f"\n{bad} of {len(checks)} checks failed: mend the first, then run this again.")
    else:
        name = settings.asterisk.app_name
        typer.echo(f"\nAll is well: dial an extension whose dialplan says Stasis({name}).")
    return EXIT_FAILED if bad else EXIT_OK


async def _examine(settings: VoxtraConfig, deep: bool, quiet: bool) -> list[Check]:
    # imported here, so that help and completion need not wait for ARI and media
    from voxtra.cli.checks_ari import AriChecks
    from voxtra.cli.checks_media import check_media

    def show(check: Check) -> None:
        if not quiet:
            show_check(check)

    local = [check_python(), check_extras(settings), check_settings(settings)]
    for check in local:
        show(check)
    if local[-1].status == "fail":
        return local
    ari = AriChecks(settings)

    async def media() -> Check:
        return await check_media(settings, ari.client(f"vx-doctor-{secrets.token_hex(4)}"))

    async def not_tried() -> Check:
        return Check("sessions", "skip", "only with --deep: opens 120 connections for a moment")

    steps: list[tuple[str, Step]] = [
        ("reachable", ari.tcp),
        ("is it ARI", ari.http),
        ("login", ari.login),
        ("version", ari.asterisk_version),
        ("modules", ari.modules),
        ("formats", ari.formats),
        ("endpoints", ari.endpoints),
        ("app name", ari.app_name),
        ("events", ari.events),
        ("sessions", ari.sessions if deep else not_tried),
        ("media", media),
    ]
    try:
        return [*local, *await run_series(steps, show)]
    finally:
        await ari.close()


def show_check(check: Check) -> None:
    """Print a check: sign, name, what was found, what to do."""
    sign, colour = _SIGNS[check.status]
    print(f"{style(sign, colour, sys.stdout)} {check.name:10} {check.found}", flush=True)
    if check.advice:
        print(f"  {'':10} → {check.advice}", flush=True)
