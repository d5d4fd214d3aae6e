"""What a program hands in, looked at before it is kept: a wrong kind of thing is named at once."""

from __future__ import annotations

from voxtra.errors import ConfigurationError


def checked(name: str, value: object, kinds: tuple[type, ...], wanted: str) -> None:
    """Raise ConfigurationError, in one line, when ``value`` is none of ``kinds``."""
    if not isinstance(value, kinds):
        raise ConfigurationError(f"{name}={value!r}: should be {wanted}")


def can_be_host(name: str | None) -> bool:
    """Whether a host of this name could be looked up: an empty or overlong label is found out only then."""
    try:
        (name or "").encode("idna")
    except UnicodeError:
        return False
    return bool(name)
