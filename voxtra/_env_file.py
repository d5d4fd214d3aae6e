"""``.env``: settings that stay out of the program and out of version control.

Read only when somebody asks: by the ``voxtra`` command in its working directory, or with
``VoxtraConfig.load(env_file=...)``. Importing voxtra reads nothing.
"""

from __future__ import annotations

import difflib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from voxtra._settings import is_secret_name
from voxtra.errors import ConfigurationError

ENV_FILE = ".env"
_OTHERS = ("VOXTRA_CONFIG", "VOXTRA_LOG_LEVEL", "VOXTRA_ASTERISK")
"""Variables that are no settings, but are read."""

_exported: dict[str, str] = {}


def read_env_file(path: Path, known: Iterable[str] = ()) -> dict[str, str]:
    """The variables of a file of lines ``NAME=value``.

    The syntax is python-dotenv's: comments, ``export``, quotes with escapes, values of several lines in
    quotes. A value is what stands there: ``${NAME}`` is not expanded.

    Args:
        known: names of settings; one that is close to one of them is a misspelling.

    Raises:
        ConfigurationError: no such file, not readable, a line that is no ``NAME=value``, a misspelt setting.
            The message names file and line, never a value.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigurationError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: can't be read: it is not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}") from None
    found: dict[str, str] = {}
    names = set(known)
    for binding in parse_stream(io.StringIO(text)):
        blank = len(binding.original.string) - len(binding.original.string.lstrip())
        line = binding.original.line + binding.original.string[:blank].count("\n")
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigurationError(f"{path}, line {line}: is not NAME=value (quotes closed?)")
        if binding.key is None or binding.value is None:
            continue
        if "\0" in binding.value or not binding.key.isprintable():
            raise ConfigurationError(f"{path}, line {line}: holds a NUL or control character")
        if mend := _meant(binding.key, names):
            raise ConfigurationError(
                f"{path}, line {line}: {binding.key} is no setting: did you mean {mend}?"
            )
        found[binding.key] = binding.value
    return found


def use_env_file(path: Path, known: Iterable[str] = ()) -> None:
    """Put a file's variables into this process's environment; what is set there already wins.

    So the app's own code sees them too (``OPENAI_API_KEY``). An empty variable counts as not set.

    Raises:
        ConfigurationError: as of :func:`read_env_file`.
    """
    for name, value in read_env_file(path, known).items():
        if value and not os.environ.get(name):
            os.environ[name] = value
        if os.environ.get(name) == value:
            _exported[name] = value


def check_environment(known: Iterable[str]) -> None:
    """Raise ConfigurationError for a variable of this process that is a setting's name misspelt."""
    names = set(known)
    for name, value in os.environ.items():
        if value and (mend := _meant(name, names)):
            raise ConfigurationError(f"environment: {name} is no setting: did you mean {mend}?")


def surroundings(
    env: Mapping[str, str] | None, path: str | os.PathLike[str] | None = None, known: Iterable[str] = ()
) -> tuple[Mapping[str, str], dict[str, str]]:
    """The environment, and the variables of ``.env``.

    Args:
        env: None = this process's own, without what :func:`use_env_file` put there.
        path: a file to read; None = what :func:`use_env_file` has read, when ``env`` is None.

    Raises:
        ConfigurationError: as of :func:`read_env_file`.
    """
    if path is not None:
        return (os.environ if env is None else env), read_env_file(Path(path), known)
    if env is not None:
        return env, {}
    dotenv = {name: value for name, value in os.environ.items() if _exported.get(name) == value}
    return {name: value for name, value in os.environ.items() if name not in dotenv}, dotenv


def secrets_from_file() -> list[str]:
    """Values :func:`use_env_file` read under names like ``OPENAI_API_KEY``, for a log to leave out."""
    return [value for name, value in _exported.items() if is_secret_name(name)]


def _meant(name: str, known: set[str]) -> str:
    if not name.startswith("VOXTRA_") or name in known or name in _OTHERS:
        return ""
    near = difflib.get_close_matches(name, [*sorted(known), *_OTHERS], n=1, cutoff=0.85)
    return near[0] if near else ""
