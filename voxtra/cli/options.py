"""Options that several commands have, and the settings they make."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from voxtra._env_file import ENV_FILE, check_environment, secrets_from_file, use_env_file
from voxtra._settings import secret_values
from voxtra.config import ENVIRONMENT, FILE_NAME, VoxtraConfig
from voxtra.errors import ConfigurationError

TargetArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="MODULE:ATTRIBUTE or FILE.py:ATTRIBUTE; with () for a factory.",
        show_default=False,
    ),
]
ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help=f"Settings file [default: ./{FILE_NAME} if there].",
        show_default=False,
    ),
]
UrlOption: TypeAlias = Annotated[
    str | None, typer.Option("--ari-url", metavar="URL", help="Asterisk's HTTP server, http://HOST:PORT.")
]
UserOption: TypeAlias = Annotated[str | None, typer.Option("--ari-user", metavar="NAME", help="ARI user.")]
PasswordOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--ari-password",
        metavar="TEXT",
        help="ARI password; others see it in ps: better VOXTRA_ARI_PASSWORD.",
    ),
]
AppNameOption: TypeAlias = Annotated[
    str | None, typer.Option("--app-name", metavar="NAME", help="The name in the dialplan's Stasis(NAME).")
]
LogLevelOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--log-level", metavar="LEVEL", help="debug, info, warning or error.", envvar="VOXTRA_LOG_LEVEL"
    ),
]
DebugOption: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show whole tracebacks, log more.")]


def load_env_file() -> None:
    """Read ``.env`` of the working directory into the environment, when there is one.

    Raises:
        ConfigurationError: it can't be read, or a line of it is wrong; or a setting is misspelt in the environment.
    """
    check_environment(ENVIRONMENT)
    if Path(ENV_FILE).is_file():
        use_env_file(Path(ENV_FILE), ENVIRONMENT)


def settings_file(named: Path | None) -> Path | None:
    """The settings file to read: the one named, that of VOXTRA_CONFIG, ``voxtra.yaml`` here, or none.

    Raises:
        ConfigurationError: the one named is not there.
    """
    path = named or (Path(os.environ["VOXTRA_CONFIG"]) if os.environ.get("VOXTRA_CONFIG") else None)
    if path is not None:
        if not path.is_file():
            raise ConfigurationError(
                f"{path}: no such file (named by {'--config' if named else 'VOXTRA_CONFIG'})"
            )
        return path
    here = Path(FILE_NAME)
    return here if here.is_file() else None


def ari_options(
    url: str | None, user: str | None, password: str | None, app_name: str | None
) -> dict[str, Any]:
    """Options as settings. Raises ConfigurationError naming the option when one is empty."""
    given = {
        "asterisk.url": ("--ari-url", url),
        "asterisk.user": ("--ari-user", user),
        "asterisk.password": ("--ari-password", password),
        "asterisk.app_name": ("--app-name", app_name),
    }
    for option, value in given.values():
        if value == "":
            raise ConfigurationError(f"{option} is empty: leave it out or give a value")
    return {name: value for name, (_, value) in given.items() if value is not None}


def load_settings(
    file: Path | None, options: dict[str, Any], base: VoxtraConfig | None = None
) -> VoxtraConfig:
    """Settings from the file, the environment and options, below those of ``base`` (an app's own).

    An app that names a file (``VoxtraApp.from_yaml``) has that one, unless another is named for it: the
    ``voxtra.yaml`` that happens to be here is not read then.
    """
    path = settings_file(file)
    if base is None:
        return VoxtraConfig.load(file=path, options=options)
    if base._file and file is None and not os.environ.get("VOXTRA_CONFIG"):
        path = None
    return base.layered(file=path, options=options)


def find_handlers(settings: VoxtraConfig) -> None:
    """Have the handlers of ``routes`` found beside the settings file, and in the current folder."""
    beside = Path(settings._file).resolve().parent if settings._file else Path.cwd()
    for place in (beside, Path.cwd()):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))


def secrets_of(settings: VoxtraConfig) -> list[str]:
    """Every secret value in the settings and in ``.env``, for the log to leave out."""
    return [secret for secret in (*secret_values(settings), *secrets_from_file()) if secret]
