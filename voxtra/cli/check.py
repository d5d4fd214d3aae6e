"""``voxtra check``: is everything right, as far as that can be seen without connecting?"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxtra.cli import checks_app, options
from voxtra.cli.checks import Check, check_extras
from voxtra.cli.complain import EXIT_OK, EXIT_USAGE, first_line
from voxtra.cli.doctor import show_check
from voxtra.cli.target import UserCodeError, load_app
from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp


def command(
    target: Annotated[
        str | None, typer.Argument(metavar="APP", help="MODULE:ATTRIBUTE of the app.", show_default=False)
    ] = None,
    config: options.ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    debug: options.DebugOption = False,
) -> int:
    """Check settings, app, routes, packages and providers. Nothing is connected or started.

    Exit code 0 when all is well, 2 when something is wrong.

    \b
    Examples:
      voxtra check app:app
      voxtra check -c voxtra.yaml
      voxtra check app:app --json
    """
    logging.getLogger("voxtra").addHandler(logging.NullHandler())  # the checks say it all
    done = []
    for check in examined(target, config, debug=debug):
        done.append(check)
        if not as_json:
            show_check(check)
    bad = sum(check.status == "fail" for check in done)
    if as_json:
        report = {"ok": not bad, "checks": [asdict(check) for check in done]}
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    return EXIT_USAGE if bad else EXIT_OK


def examined(target: str | None, config: Path | None, *, debug: bool = False) -> Iterator[Check]:
    """One check after another; the rest makes no sense after settings or an app that can't be loaded."""
    app: VoxtraApp | None = None
    try:
        options.load_env_file()
        file = options.settings_file(config)
        settings = VoxtraConfig.load(file=file)
    except ConfigurationError as error:
        yield Check("settings", "fail", first_line(error))
        return
    yield Check("settings", "ok", str(file or "no file"))
    yield from checks_app.check_env_file()
    if target is not None:
        try:
            app = load_app(target)
            settings = options.load_settings(config, {}, app.settings)
        except ConfigurationError as error:
            if isinstance(error, UserCodeError) and debug:
                print(error.full, file=sys.stderr)
            yield Check("app", "fail", first_line(error))
            return
        yield Check("app", "ok", f"{target}, called {settings.asterisk.app_name}")
    yield checks_app.check_asterisk(settings)
    yield checks_app.check_routes(app, settings)
    yield checks_app.check_media(settings)
    yield from checks_app.check_trunk(settings)
    yield check_extras(settings)
    yield from checks_app.check_providers(app, settings)
