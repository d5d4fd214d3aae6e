"""``voxtra init``: a project that runs."""

from __future__ import annotations

import re
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from voxtra.errors import ConfigurationError


class Template(StrEnum):
    """What kind of project."""

    HELLO = "hello"
    IVR = "ivr"
    AGENT = "agent"


_FILES = {
    "app.py": "{}/app.py",
    "voxtra.yaml": "common/voxtra.yaml",
    ".env.example": "common/env.example",
    "README.md": "common/README.md",
    "tests/test_app.py": "{}/test_app.py",
    ".gitignore": "common/gitignore",
}
"""File of the project → template."""


def command(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where; made when it is not there.", show_default=False)
    ] = Path(),
    template: Annotated[
        Template,
        typer.Option(
            help="hello: plays a prompt. ivr: a menu of keys. agent: listens and talks, with voxtra[local]."
        ),
    ] = Template.HELLO,
) -> int:
    """Write a project that runs: app, settings, tests.

    Never overwrites anything.

    \b
    Examples:
      voxtra init phones
      voxtra init --template ivr
    """
    project = rendered(template, app_name(directory))
    write(directory, project)
    for name in project:
        typer.echo(f"  {directory / name}")
    here = directory.resolve() == Path.cwd()
    typer.echo(f"\nNext:  {'' if here else f'cd {directory} && '}voxtra dev app:app")
    return 0


def app_name(directory: Path) -> str:
    """The name of the folder, as far as a Stasis application can be called so."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", directory.resolve().name).strip("-.")[:64] or "voxtra"


def rendered(template: Template, name: str) -> dict[str, str]:
    """The project: file name → text."""
    root = files("voxtra.cli") / "templates"
    values = {"NAME": name, "ABOUT": (root / template / "about.txt").read_text("utf-8").strip()}
    return {
        file: re.sub(
            r"@([A-Z]+)@",
            lambda match: values[match[1]],
            (root / f"{source.format(template)}.txt").read_text("utf-8"),
        )
        for file, source in _FILES.items()
    }


def write(directory: Path, project: dict[str, str]) -> None:
    """Write it.

    Raises:
        ConfigurationError: some of it is there already, then nothing is written; or it can't be written.
    """
    there = [name for name in project if (directory / name).exists() or (directory / name).is_symlink()]
    if there:
        raise ConfigurationError(
            f"{directory.resolve()} has {', '.join(there)} already: nothing was written; name another folder"
        )
    try:
        for name, text in project.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{error.filename}: can't be written: {error.strerror}") from None
