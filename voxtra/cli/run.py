"""``voxtra run``: an app against an Asterisk that is there already."""

from __future__ import annotations

from voxtra.cli import options
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import GraceOption, HealthOption, run_app, serving_options
from voxtra.cli.target import load_app


def command(
    target: options.TargetArgument,
    ari_url: options.UrlOption = None,
    ari_user: options.UserOption = None,
    ari_password: options.PasswordOption = None,
    app_name: options.AppNameOption = None,
    config: options.ConfigOption = None,
    grace: GraceOption = None,
    health: HealthOption = None,
    log_level: options.LogLevelOption = "info",
    debug: options.DebugOption = False,
) -> int:
    """Run an app against your Asterisk.

    Which Asterisk: what the program itself says, else options, else VOXTRA_ARI_URL, VOXTRA_ARI_USER and
    VOXTRA_ARI_PASSWORD, else .env here, else voxtra.yaml, else http://localhost:8088.

    SIGTERM and Ctrl-C end the app in good order: calls may go on for --grace seconds, new ones and those that
    are left go back to the dialplan. A second signal does not wait.

    \b
    Examples:
      voxtra run app:app
      voxtra run src/ivr.py:app --ari-url http://pbx.example:8088 --log-level debug
      voxtra run shop.phones:make_app()
    """
    set_up_logging("debug" if debug else log_level)
    given = options.ari_options(ari_url, ari_user, ari_password, app_name) | serving_options(grace, health)
    app = load_app(target)
    settings = options.load_settings(config, given, app.settings)
    set_up_logging("debug" if debug else log_level, options.secrets_of(settings))
    app.configure(settings)
    return run_app(app, grace)
