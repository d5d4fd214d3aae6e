"""``voxtra start``: an app that is nothing but settings and handlers."""

from __future__ import annotations

from voxtra.cli import options
from voxtra.cli.checks_app import yaml_routes
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import GraceOption, HealthOption, run_app, serving_options
from voxtra.errors import ConfigurationError


def command(
    config: options.ConfigOption = None,
    ari_url: options.UrlOption = None,
    ari_user: options.UserOption = None,
    ari_password: options.PasswordOption = None,
    app_name: options.AppNameOption = None,
    grace: GraceOption = None,
    health: HealthOption = None,
    log_level: options.LogLevelOption = "info",
    debug: options.DebugOption = False,
) -> int:
    """Run an app that is settings and handlers only.

    The settings file names the handlers of its routes.

    \b
    Examples:
      voxtra start -c voxtra.yaml
    \b
      routes:
        - {extension: "100", handler: "handlers:sales"}
        - {handler: "handlers:anything_else"}
    """
    level = "debug" if debug else log_level
    set_up_logging(level)
    file = options.settings_file(config)
    if file is None:
        raise ConfigurationError("no voxtra.yaml here: write one, name one with -c, or  voxtra run app:app")
    from voxtra.app import VoxtraApp  # not for --help

    app = VoxtraApp.from_yaml(str(file))
    given = options.ari_options(ari_url, ari_user, ari_password, app_name) | serving_options(grace, health)
    settings = options.load_settings(file, given, app.settings)
    if not settings.routes:
        raise ConfigurationError(f"{file} has no routes: nothing would take a call")
    yaml_routes(settings)
    set_up_logging(level, options.secrets_of(settings), settings.log)
    app.configure(settings)
    return run_app(app, grace)
