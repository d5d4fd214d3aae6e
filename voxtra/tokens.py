"""Tokens for the audio bridge: short-lived, signed, for the sound of one call alone. Needs the extra ``relay``.

A token is a JWT (RFC 7519) signed with Ed25519 (``EdDSA``, RFC 8037)::

    {"iss": "voxtra", "sub": "<org>", "ns": ["voice/<sid>/*"], "role": "server", "iat": …, "exp": …}

``role`` is there when the token is good for one role only. API keys never reach a browser; these may.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from voxtra.errors import ConfigurationError, MissingExtraError, TokenError
from voxtra.wire import Role

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ISSUER: Final = "voxtra"
TTL_S: Final = 3600
"""How long a token is good unless told otherwise, s."""
MAX_TTL_S: Final = 86_400
MAX_TOKEN_BYTES: Final = 4_096
LEEWAY_S: Final = 5
"""How much two clocks may differ, s."""

_SID = re.compile(r"voice/([A-Za-z0-9_-]{8,64})/\*")
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token lets its bearer at.

    Attributes:
        org: the organisation the calls belong to.
        sids: the calls.
        role: the only role it is good for; None = any.
    """

    org: str
    sids: frozenset[str]
    role: Role | None = None


class RelayKeys:
    """The relay's key pair: signs tokens, and checks them.

    Args:
        key: the private key.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key()

    @classmethod
    def create(cls) -> RelayKeys:
        """A new pair, known to this process alone.

        Raises:
            MissingExtraError: the extra ``relay`` is not installed.
        """
        return cls(_ed25519().Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path | str) -> RelayKeys:
        """The pair in a PEM file (PKCS #8); made there, readable by this user alone, when there is none.

        Workers of one application share the file, so that each takes the others' tokens.

        Raises:
            ConfigurationError: the file can't be read or written, or holds no Ed25519 key.
            MissingExtraError: the extra ``relay`` is not installed.
        """
        path = Path(path)
        try:
            if not path.exists():
                _write_new(path, _pem(_ed25519().Ed25519PrivateKey.generate()))
            return cls(_load(path.read_bytes(), path))
        except OSError as error:
            raise ConfigurationError(f"the relay's key {path}: {error.strerror or error}") from error

    def sign(
        self, org: str, sid: str, ttl_s: float = TTL_S, *, role: Role | None = None
    ) -> tuple[str, datetime]:
        """A token for one call of an organisation, and until when it is good (UTC).

        Args:
            org: the organisation.
            sid: the call.
            ttl_s: how long, 1 to 86,400 s.
            role: the only role it is good for; None = any.

        Raises:
            ConfigurationError: an argument can't be.
        """
        if not _ORG.fullmatch(org):
            raise ConfigurationError(f"org = {org!r}: 1 to 64 letters, digits, _ and -")
        namespace = f"voice/{sid}/*"
        if not _SID.fullmatch(namespace):
            raise ConfigurationError(f"sid = {sid!r}: 8 to 64 letters, digits, _ and -")
        if not 1 <= ttl_s <= MAX_TTL_S:
            raise ConfigurationError(f"ttl_s = {ttl_s:g}: 1 to {MAX_TTL_S} s")
        if role is not None and role not in get_args(Role):
            raise ConfigurationError(f"role = {role!r}: one of {', '.join(get_args(Role))}")
        now = int(time.time())
        claims: dict[str, Any] = {"iss": ISSUER, "sub": org, "ns": [namespace], "iat": now}
        claims["exp"] = now + int(ttl_s)
        if role is not None:
            claims["role"] = role
        token = _jwt().encode(claims, self._key, algorithm="EdDSA")
        return token, datetime.fromtimestamp(claims["exp"], UTC)

    def verify(self, token: str) -> Grant:
        """What a token grants.

        Raises:
            TokenError: it is no token, not ours, or no longer good. Says which, and nothing of the token.
        """
        if not token:
            raise TokenError("no token: pass ?tok= as voice.audioBridge.token gave it")
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenError(f"a token of {len(token)} B: the relay's have less than {MAX_TOKEN_BYTES}")
        jwt = _jwt()
        try:
            claims = jwt.decode(
                token,
                self._public,
                algorithms=["EdDSA"],
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "sub", "ns"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("the token has expired: get a new one") from None
        except jwt.PyJWTError as error:
            raise TokenError(f"the token is not one of this relay's ({type(error).__name__})") from None
        return _grant(claims)


def _grant(claims: dict[str, Any]) -> Grant:
    names = claims["ns"]
    found = [_SID.fullmatch(name) if isinstance(name, str) else None for name in names or ()]
    role = claims.get("role")
    if not isinstance(names, list) or not found or not all(found) or role not in (None, *get_args(Role)):
        raise TokenError("the token's claims make no sense")
    if not _ORG.fullmatch(claims["sub"]):
        raise TokenError("the token's claims make no sense")
    return Grant(claims["sub"], frozenset(match.group(1) for match in found if match), role)


def _jwt() -> Any:
    try:
        import jwt
    except ImportError:
        raise MissingExtraError("the audio bridge's tokens", "relay") from None
    return jwt


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtraError("the audio bridge's tokens", "relay") from None
    return ed25519


def _pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _load(pem: bytes, path: Path) -> Ed25519PrivateKey:
    _ed25519()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"the relay's key {path} is no PEM file of a private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"the relay's key {path} is no Ed25519 key: delete it and one is made")
    return key


def _write_new(path: Path, pem: bytes) -> None:
    """Write the file whole, or leave the one that another process made meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
