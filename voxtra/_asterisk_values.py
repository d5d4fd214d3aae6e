"""What may stand in Asterisk's configuration, and how it is written there.

A line is ``name = value`` up to its end or an unescaped ``;``; spaces at both ends are lost; ``#include`` at
the beginning of a line reads another file. So: one line each, ``\\;`` for ``;``, everything that becomes a
name, a SIP URI or dialplan from a narrow set of characters.
(https://docs.asterisk.org/Fundamentals/Asterisk-Configuration/Asterisk-Configuration-Files/)
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, BeforeValidator, SecretStr


def _tenant_id(value: str) -> str:
    # no "_": it ends the tenant's part of a section's name, so that no two tenants can make the same one
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", value):
        raise ValueError("must be 1 to 32 small letters, digits and '-', a letter or digit first")
    return value


def _section(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        raise ValueError("must be 1 to 64 letters, digits, '_' and '-', a letter or digit first")
    return value


def _host(value: str) -> str:
    name = value.strip().lower().removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    # a name that ends in digits only is a mistyped address
    if len(name) > 253 or not re.fullmatch(rf"({label}\.)*{label}", name) or re.search(r"(^|\.)\d+$", name):
        raise ValueError("must be a host name or an IP address, like sip.example.com")
    return name


def _user(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._~*+-]{0,64}", value):
        raise ValueError("must be at most 64 letters, digits and any of . _ ~ * + -")
    return value


def _realm(value: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9*]([A-Za-z0-9 ._:@-]*[A-Za-z0-9])?)?", value) or len(value) > 128:
        raise ValueError("must be letters, digits and any of . _ : @ -")
    return value


def _password(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not re.fullmatch(r"([!-~]([ -~]{0,126}[!-~])?)?", text):
        raise ValueError("must be at most 128 printable ASCII characters, no space first or last")
    return value


def _did(value: object) -> object:
    if isinstance(value, int):
        raise ValueError("must be text: put it in quotes, or its leading 0 or + is lost")
    if isinstance(value, str) and not re.fullmatch(r"\+?[0-9]{2,20}", value):
        raise ValueError("must be a number of 2 to 20 digits, with or without + before it")
    return value


def _did_or_none(value: object) -> object:
    return value if value == "" else _did(value)


def line(name: str, value: object) -> str:
    """``name = value`` as a line of a configuration file.

    Raises:
        ValueError: the value can't stand in one line: a caller's mistake, as models refuse it before.
    """
    text = str(value)
    if not text.isprintable() or text != text.strip():
        raise ValueError(f"{name}: a value that is no single line of text")
    return f"{name} = {text.replace(';', chr(92) + ';')}\n"


TenantId: TypeAlias = Annotated[str, AfterValidator(_tenant_id)]
Section: TypeAlias = Annotated[str, AfterValidator(_section)]
"""A section's name, or ""."""
Host: TypeAlias = Annotated[str, AfterValidator(_host)]
User: TypeAlias = Annotated[str, AfterValidator(_user)]
Realm: TypeAlias = Annotated[str, AfterValidator(_realm)]
Password: TypeAlias = Annotated[SecretStr, AfterValidator(_password)]
DID: TypeAlias = Annotated[str, BeforeValidator(_did)]
AnyDID: TypeAlias = Annotated[str, BeforeValidator(_did_or_none)]
"""A number, or ""."""
