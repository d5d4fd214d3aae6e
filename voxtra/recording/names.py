"""Names of recordings, and templates that make file and object names of them. Nothing a caller or a handler
says can lead out of the folder or change another part of the name."""

from __future__ import annotations

import re
import string
from datetime import UTC, datetime

from voxtra.errors import ConfigurationError

FIELDS = ("date", "session_id", "name", "format")
DIRECTIVES = "YmdHMSjGVuy"
"""What may stand in ``{date:...}``, each after a ``%``; all of them give digits only."""
_PART = re.compile(r"[^\W_][\w .@+:-]{0,119}")
_MAX_NAME = 400
_MAX_BYTES = 200
_MAX_MADE = 240
"""Bytes of a part of a name (200) and of what a template makes (240): file systems take 255, endings included."""
_LITERAL = re.compile(r"[\w .@+:=,/-]*")
_DATE = re.compile(rf"(%[{DIRECTIVES}]|[\w.@+=/-])+")
_FORMAT = re.compile(r"[a-z0-9]{1,10}")
_SEGMENT = re.compile(r"[\w@+:=,-][\w .@+:=,-]*")
_MAX_SESSION = 120


def check_name(name: str) -> str:
    """A recording's name, proven to stay within its folder. ``/`` separates folders.

    Raises:
        ConfigurationError: it can't be a name; says what is wrong.
    """
    parts = name.split("/")
    good = all(
        _PART.fullmatch(part) and not part.endswith(".") and len(part.encode()) <= _MAX_BYTES
        for part in parts
    )
    if len(name) > _MAX_NAME or not good:
        raise ConfigurationError(
            f"{name[:80]!r} can't be a recording's name: use letters, digits and . _ - + @ : with / for "
            "folders, each part beginning with a letter or digit and of at most 120 characters and 200 bytes"
        )
    return name


class NameTemplate:
    """Where a recording is kept: ``"{date:%Y/%m/%d}/{session_id}/{name}.{format}"``.

    Args:
        template: ``{date}`` (UTC, when the recording ended: ``2026-01-31``, or as ``{date:%Y/%m/%d}`` says),
            ``{session_id}``, ``{name}`` (must be there) and ``{format}``; what else stands in it is kept.

    Raises:
        ConfigurationError: it can't be; says what is wrong.
    """

    def __init__(self, template: str) -> None:
        self.template = template
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ConfigurationError(f"the name template {template!r}: {error}") from None
        fields = [part[1] for part in parts if part[1] is not None]
        if wrong := [field for field in fields if field not in FIELDS]:
            known = ", ".join(f"{{{field}}}" for field in FIELDS)
            raise ConfigurationError(
                f"the name template {template!r}: there is no {{{wrong[0]}}}, only {known}"
            )
        if "name" not in fields:
            raise ConfigurationError(f"the name template {template!r} must have {{name}} in it")
        for literal, field, spec, conversion in parts:
            self._check_part(literal, field, spec or "", conversion)
        self.render(session_id="session", name="name", format="wav", ended=0.0)
        self.prefix = (parts[0][0] if parts else "").rpartition("/")[0]
        """The folders that all names begin with, "" when there are none."""

    def _check_part(self, literal: str, field: str | None, spec: str, conversion: str | None) -> None:
        if not _LITERAL.fullmatch(literal):
            raise ConfigurationError(
                f"the name template {self.template!r}: {literal!r} can't be part of a name: "
                "use letters, digits and . _ - + @ : = , with / for folders"
            )
        if conversion or (spec and (field != "date" or not _DATE.fullmatch(spec))):
            shown = f"{{{field}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}}}"
            raise ConfigurationError(
                f"the name template {self.template!r}: {shown} can't be: only date takes a form, like "
                f"{{date:%Y/%m/%d}}, of %{' %'.join(DIRECTIVES)}"
            )

    def render(self, *, session_id: str, name: str, format: str, ended: float) -> str:
        """The name: the same whenever the same recording is stored.

        Args:
            session_id: the call; what can't be in a name becomes ``-``.
            name: of the recording.
            format: ``wav``.
            ended: when its file was written last, s since the epoch.

        Raises:
            ConfigurationError: name or format can't be.
        """
        if not _FORMAT.fullmatch(format):
            raise ConfigurationError(
                f"{format[:40]!r} can't be a recording's format: use letters and digits, like wav"
            )
        date = datetime.fromtimestamp(ended, UTC)
        made = []
        for literal, field, spec, _ in string.Formatter().parse(self.template):
            made.append(literal)
            if field == "date":
                made.append(date.strftime(spec or "%Y-%m-%d"))
            elif field == "session_id":
                made.append(_plain(session_id))
            elif field == "name":
                made.append(check_name(name))
            elif field == "format":
                made.append(format)
        found = "".join(made)
        if not all(_SEGMENT.fullmatch(part) and part[-1] not in ". " for part in found.split("/")):
            raise ConfigurationError(
                f"the name template {self.template!r} makes {found!r}: its parts between / must not be empty, "
                "begin with a dot, or end with one"
            )
        if any(len(part.encode()) > _MAX_MADE for part in found.split("/")):
            raise ConfigurationError(
                f"the name template {self.template!r} makes {found[:80]!r}...: a part of it is over 240 bytes"
            )
        return found


def _plain(session_id: str) -> str:
    return re.sub(r"[^\w.@+-]", "-", session_id)[:_MAX_SESSION].strip(".") or "unknown"


def numbered(name: str, ending: str, number: int) -> str:
    """The name for the ``number``-th that would have it: ``a/call.wav`` → ``a/call-2.wav``; 1 changes nothing."""
    if number == 1:
        return name
    stem = name.removesuffix(f".{ending}")
    return f"{stem}-{number}{name[len(stem) :]}"
