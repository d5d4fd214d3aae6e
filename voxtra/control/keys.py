"""API keys: who may use the HTTP face, for which organisation, and what for.

A key is ``vx_<id>_<secret>`` with 256 random bits of secret; the file keeps a SHA-256 of it, which for a secret
of that size needs no slow hash. Keys are made and revoked by ``voxtra keys``; a running server sees it at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from voxtra.errors import ConfigurationError

SCOPES = (
    "voice:*",
    "voice:calls:read",
    "voice:calls:write",
    "voice:agents:write",
    "voice:audio",
    "voice:trunks:read",
    "voice:trunks:write",
)
"""What a key may be for; ``voice:calls:*`` and the like are as good."""

_KEY = re.compile(r"vx_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_ORG = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_NOBODY = hashlib.sha256(b"").hexdigest()


@dataclass(slots=True, frozen=True)
class Principal:
    """Who a request comes from."""

    org: str
    scopes: tuple[str, ...]
    key_id: str

    def allows(self, scope: str) -> bool:
        """Whether one of the scopes is ``scope`` or covers it (``voice:calls:*``)."""
        return any(own == scope or (own.endswith(":*") and scope.startswith(own[:-1])) for own in self.scopes)


@dataclass(slots=True, frozen=True)
class StoredKey:
    """A key as the file has it: without the secret."""

    id: str
    org: str
    scopes: tuple[str, ...]
    digest: str
    created: str
    name: str = ""
    expires: str | None = None

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now


@dataclass(slots=True)
class KeyRing:
    """The keys of one file.

    Args:
        path: a JSON file, made with mode 0600 by the first :meth:`create`. A file that is not there has no keys.
    """

    path: Path
    _keys: dict[str, StoredKey] = field(default_factory=dict, init=False)
    _seen: tuple[int, int] | None = field(default=None, init=False)

    def check(self, bearer: str) -> Principal | None:
        """Who holds this key; None for a wrong, revoked or expired one. Constant time in the secret.

        Raises:
            ConfigurationError: the file can't be read.
        """
        self._reload()
        match = _KEY.fullmatch(bearer) if bearer.isascii() else None
        stored = self._keys.get(match[1]) if match else None
        secret = match[2] if match else ""
        same = hmac.compare_digest(_digest(secret), stored.digest if stored else _NOBODY)
        if stored is None or not same or stored.expired(datetime.now(UTC)):
            return None
        return Principal(stored.org, stored.scopes, stored.id)

    def stored(self) -> list[StoredKey]:
        """All keys, the oldest first. Raises ConfigurationError as :meth:`check`."""
        self._reload()
        return sorted(self._keys.values(), key=lambda key: key.created)

    def create(
        self,
        org: str,
        scopes: Sequence[str] = ("voice:*",),
        *,
        name: str = "",
        expires: datetime | None = None,
    ) -> str:
        """Make a key and return it: the only time that it is seen.

        Raises:
            ConfigurationError: organisation, scope or date can't be, or the file can't be written.
        """
        _check_org(org)
        _check_scopes(scopes)
        now = datetime.now(UTC)
        if expires is not None and expires <= now:
            raise ConfigurationError(f"expires = {expires.isoformat()}: that is over; give a time to come")
        identifier = secrets.token_hex(6)
        secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        stored = StoredKey(
            identifier, org, tuple(scopes), _digest(secret), now.isoformat(timespec="seconds"), name,
            expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None,
        )  # fmt: skip
        with self._changing() as keys:
            keys[identifier] = stored
        return f"vx_{identifier}_{secret}"

    def revoke(self, identifier: str) -> StoredKey:
        """Take a key away; the next request with it is refused.

        Raises:
            ConfigurationError: there is no such key, or the file can't be written.
        """
        with self._changing() as keys:
            if identifier not in keys:
                known = ", ".join(keys) or "none"
                raise ConfigurationError(
                    f"no key has the id {identifier!r}: there are {known} in {self.path}"
                )
            return keys.pop(identifier)

    # ---- the file

    def _reload(self) -> None:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._keys, self._seen = {}, None
            return
        except OSError as error:
            raise ConfigurationError(f"keys file {self.path}: {error.strerror}") from error
        seen = status.st_mtime_ns, status.st_ino
        if seen != self._seen:
            self._keys = _read(self.path)
            self._seen = seen

    @contextmanager
    def _changing(self) -> Iterator[dict[str, StoredKey]]:
        """The keys, to be changed; written when nothing was raised. One process at a time."""
        import fcntl

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path.with_name(self.path.name + ".lock"), "w", opener=_private) as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = _read(self.path) if self.path.exists() else {}
                yield keys
                _write(self.path, keys)
        except OSError as error:
            raise ConfigurationError(f"keys file {self.path}: {error.strerror}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _read(path: Path) -> dict[str, StoredKey]:
    try:
        rows = json.loads(path.read_bytes())["keys"]
        keys = [StoredKey(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]
        for key in keys:
            key.expired(datetime.now(UTC))  # a date that is none is said now, not at a request
    except OSError as error:
        raise ConfigurationError(f"keys file {path}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"keys file {path} is damaged ({error}): restore it, or delete it"
        ) from error
    return {key.id: key for key in keys}


def _write(path: Path, keys: dict[str, StoredKey]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            json.dump({"keys": [asdict(key) for key in keys.values()]}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _check_org(org: str) -> None:
    if not _ORG.fullmatch(org):
        raise ConfigurationError(
            f"org = {org!r}: should be 1 to 64 letters, digits, - and _, beginning with a letter or digit"
        )


def _check_scopes(scopes: Sequence[str]) -> None:
    if not scopes:
        raise ConfigurationError(f"scopes: give at least one of {', '.join(SCOPES)}")
    for scope in scopes:
        if scope not in SCOPES and scope not in ("voice:calls:*", "voice:agents:*", "voice:trunks:*"):
            raise ConfigurationError(f"scope {scope!r}: there are {', '.join(SCOPES)}")
