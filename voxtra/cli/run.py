"""``voxtra run``: an app against an Asterisk that is there already."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from voxtra.cli import options
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import StopRequest, run_loop, serve
from voxtra.cli.target import load_app

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp

log = logging.getLogger("voxtra.cli")


def command(
    target: options.TargetArgument,
    ari_url: options.UrlOption = None,
    ari_user: options.UserOption = None,
    ari_password: options.PasswordOption = None,
    app_name: options.AppNameOption = None,
    config: options.ConfigOption = None,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long stopping may take.")
    ] = 10.0,
    log_level: options.LogLevelOption = "info",
    debug: options.DebugOption = False,
) -> int:
    """Run an app against your Asterisk.

    Which Asterisk: what the program itself says, else options, else VOXTRA_ARI_URL, VOXTRA_ARI_USER and
    VOXTRA_ARI_PASSWORD, else .env here, else voxtra.yaml, else http://localhost:8088.

    SIGTERM and Ctrl-C end the app in good order, a second one at once.

    \b
    Examples:
      voxtra run app:app
      voxtra run src/ivr.py:app --ari-url http://pbx.example:8088 --log-level debug
      voxtra run shop.phones:make_app()
    """
    set_up_logging("debug" if debug else log_level)
    given = options.ari_options(ari_url, ari_user, ari_password, app_name)
    app = load_app(target)
    settings = options.load_settings(config, given, app.settings)
    set_up_logging("debug" if debug else log_level, options.secrets_of(settings))
    app.configure(settings)
    return run_loop(_serve(app, grace))


async def _serve(app: VoxtraApp, grace_s: float) -> int:
    def ready() -> None:
        asterisk = app.settings.asterisk
        log.info("ready: calls that reach Stasis(%s) on %s are answered", asterisk.app_name, asterisk.url)

    with StopRequest() as stop:
        return await serve(app, stop, grace_s=grace_s, on_ready=ready)
