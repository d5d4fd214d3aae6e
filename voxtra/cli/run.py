"""``voxtra run``: an app against an Asterisk that is there already."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from voxtra.cli import options
from voxtra.cli.checks_app import yaml_routes
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import GraceOption, HealthOption, host_and_port, run_app, serving_options
from voxtra.cli.target import load_app, parse_target
from voxtra.cli.workers import Order, run_workers
from voxtra.errors import ConfigurationError


def command(
    target: options.TargetArgument,
    ari_url: options.UrlOption = None,
    ari_user: options.UserOption = None,
    ari_password: options.PasswordOption = None,
    app_name: options.AppNameOption = None,
    config: options.ConfigOption = None,
    grace: GraceOption = None,
    health: HealthOption = None,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, max=256, help="Processes; above 1 they are NAME-1, NAME-2 ...")
    ] = 1,
    listen: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Let Asterisk connect here.", show_default=False),
    ] = None,
    api: Annotated[
        str | None,
        typer.Option(
            "--api",
            metavar="[HOST:]PORT",
            help="Serve the HTTP API there [default: api.port, none].",
            show_default=False,
        ),
    ] = None,
    log_level: options.LogLevelOption = "info",
    debug: options.DebugOption = False,
) -> int:
    """Run an app against your Asterisk.

    Which Asterisk: what the program itself says, else options, else VOXTRA_ARI_URL, VOXTRA_ARI_USER and
    VOXTRA_ARI_PASSWORD, else .env here, else voxtra.yaml, else http://localhost:8088.

    SIGTERM and Ctrl-C end the app in good order: calls may go on for --grace seconds, new ones and those that
    are left go back to the dialplan. A second signal does not wait.

    With --workers the app runs in several processes, the Stasis applications NAME-1 to NAME-N; the dialplan
    spreads calls over them (docs/running.md). One that dies is started again.

    \b
    Examples:
      voxtra run app:app
      voxtra run src/ivr.py:app --ari-url http://pbx.example:8088 --log-level debug
      voxtra run shop.phones:make_app()
      voxtra run app:app --api 8080
      voxtra run app:app --workers 4 --health 8081 --grace 300
    """
    level = "debug" if debug else log_level
    set_up_logging(level)
    given = options.ari_options(ari_url, ari_user, ari_password, app_name) | serving_options(grace, health)
    if listen is not None:
        given["asterisk.listen"] = listen
    if api is not None:
        host, port = host_and_port("--api", api)
        given |= {"api.port": port, **({"api.host": host} if host else {})}
    if workers > 1:
        parse_target(target)
        shared = options.load_settings(config, given)
        if shared.api.port is not None:
            raise ConfigurationError(
                "--workers with the HTTP API: each process would know its own calls alone; serve it from one process"
            )
        set_up_logging(level, options.secrets_of(shared), shared.log)
        order = Order(target, str(config or ""), given, grace, level, debug, workers)
        return asyncio.run(run_workers(order, shared.server))
    app = load_app(target)
    settings = options.load_settings(config, given, app.settings)
    set_up_logging(level, options.secrets_of(settings), settings.log)
    yaml_routes(settings)
    app.configure(settings)
    return run_app(app, grace)
