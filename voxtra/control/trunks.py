"""The ways out, by name: those of the settings, and those that organisations make over REST."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from voxtra._settings import write_private
from voxtra.ari import ARIClient
from voxtra.config import ApiTrunk
from voxtra.control.gate import Denied, check_rule
from voxtra.control.trunk_models import NewTrunk, TrunkRow
from voxtra.errors import ConfigurationError
from voxtra.provisioning import SIPTrunk, TenantConfig, TenantProvisioner

log = logging.getLogger("voxtra.control")

MAX_TRUNKS = 100
"""Trunks that one organisation may make."""


class _LentTrunk(ApiTrunk):
    """An organisation's own, over an endpoint that the server's owner pays for."""

    @property
    def costly(self) -> bool:
        """As of ApiTrunk: what is costly is the owner's to name, not the organisation's."""
        return False


class Trunks:
    """The trunks of a server.

    Args:
        given: those of the settings; they can be read over REST, not changed.
        file: where those that are made over REST are kept, with their accounts; mode 0600.
        endpoints: names of Asterisk's endpoints that such a trunk may go out by.
        provision: folder of the provisioner, for trunks with an account of their own; "" = there are none such.
        ari: the client by which Asterisk is told of those.

    Raises:
        ConfigurationError: two have one name, a destination can't be, or the file can't be read.
    """

    def __init__(
        self,
        given: Iterable[ApiTrunk] = (),
        *,
        file: Path | None = None,
        endpoints: Iterable[str] = (),
        provision: str = "",
        ari: Callable[[], ARIClient] | None = None,
        app_name: str = "voxtra",
    ) -> None:
        self._given: dict[str, ApiTrunk] = {}
        for trunk in given:
            if trunk.id in self._given:
                raise ConfigurationError(f"api.trunks: two are named {trunk.id!r}")
            for rule in trunk.destinations:
                check_rule(rule)
            self._given[trunk.id] = trunk
        self._file = file
        self._endpoints = frozenset(endpoints)
        self._provision = provision
        self._ari = ari
        self._app_name = app_name
        self._changing = asyncio.Lock()
        self._own: dict[tuple[str, str], NewTrunk] = _read(file) if file is not None else {}

    # ---- reading

    def find(self, org: str, identifier: str) -> ApiTrunk:
        """The trunk of this name that ``org`` may use. Raises Denied (NOT_FOUND)."""
        own = self._own.get((org, identifier))
        if own is not None:
            return self._dialled(org, own)
        trunk = self._given.get(identifier)
        if trunk is None or trunk.org not in (None, org):
            raise Denied(f"trunkId = {identifier!r}: there is no such trunk", "NOT_FOUND", field="trunkId")
        return trunk

    def rows(self, org: str) -> list[TrunkRow]:
        """All that ``org`` may use, by name."""
        own = [_row(trunk) for (owner, _), trunk in self._own.items() if owner == org]
        names = {row.id for row in own}
        given = [_given_row(t) for t in self._given.values() if t.org in (None, org) and t.id not in names]
        return sorted([*own, *given], key=lambda row: row.id)

    def row(self, org: str, identifier: str) -> TrunkRow:
        """One. Raises Denied (NOT_FOUND)."""
        own = self._own.get((org, identifier))
        return _row(own) if own is not None else _given_row(self.find(org, identifier))

    def by_number(
        self, number: str, channel: str, args: Sequence[str] = ()
    ) -> tuple[str | None, ApiTrunk] | None:
        """Whose trunk calls to ``number`` come in by, with or without its ``+``; and which.

        What an organisation says of its numbers goes for calls by its own endpoint, or through its own dialplan
        (where carriers are shared, Asterisk takes one endpoint's calls for another's): else it could name, and
        hear, another's.

        Args:
            channel: name of the channel that came, ``PJSIP/<endpoint>-<number>``.
            args: what the dialplan gave with it.
        """
        trunk = self._given_with(number)
        if trunk is not None:
            return trunk.org, trunk
        for (org, _), own in self._own.items():
            by = channel.startswith(f"PJSIP/{_endpoint(org, own)}-")
            if (by or _tenant_id(org, own.id) in args) and any(
                _digits(each) == _digits(number) for each in own.numbers
            ):
                return org, self._dialled(org, own)
        return None

    def _given_with(self, number: str) -> ApiTrunk | None:
        """The trunk of the settings that has this number."""
        digits = _digits(number)
        found = (t for t in self._given.values() if any(_digits(each) == digits for each in t.numbers))
        return next(found, None)

    # ---- changing

    async def put(self, org: str, trunk: NewTrunk, *, new: bool) -> TrunkRow:
        """Make a trunk of ``org``, or replace one.

        Raises:
            Denied: its name is taken (CONFLICT), or not its own; its endpoint is not allowed; a number is another's.
            ProvisioningError: Asterisk does not take its account up.
        """
        async with self._changing:
            self._check(org, trunk, new=new)
            before = self._own.get((org, trunk.id))
            if (
                trunk.account is None
                and before is not None
                and before.account is not None
                and not trunk.endpoint
            ):
                trunk = trunk.model_copy(
                    update={"account": before.account}
                )  # it was not sent again: it stays
            if trunk.account is not None:
                await self._provisioner().apply(self._tenant(org, trunk))
            elif before is not None and before.account is not None:
                await self._provisioner().withdraw(_tenant_id(org, trunk.id))
            await self._keep({**self._own, (org, trunk.id): trunk})
            return _row(trunk)

    async def remove(self, org: str, identifier: str) -> None:
        """Remove a trunk; calls that go over it go on. Raises Denied, ProvisioningError."""
        async with self._changing:
            own = self._own.get((org, identifier))
            if own is None:
                self.find(org, identifier)
                raise Denied(f"trunk {identifier!r} is in the server's settings", "FORBIDDEN")
            if own.account is not None:
                await self._provisioner().withdraw(_tenant_id(org, identifier))
            await self._keep({key: each for key, each in self._own.items() if key != (org, identifier)})

    def _check(self, org: str, trunk: NewTrunk, *, new: bool) -> None:
        given = self._given.get(trunk.id)
        known = (org, trunk.id) in self._own
        if given is not None and given.org in (None, org):
            raise Denied(f"id = {trunk.id!r}: that trunk is in the server's settings", "CONFLICT", field="id")
        if new and known:
            raise Denied(f"id = {trunk.id!r}: there is one of this name", "CONFLICT", field="id")
        if not new and not known:
            raise Denied(f"trunkId = {trunk.id!r}: there is no such trunk", "NOT_FOUND", field="trunkId")
        if new and sum(owner == org for owner, _ in self._own) >= MAX_TRUNKS:
            raise Denied(f"{MAX_TRUNKS} trunks are the limit", "FORBIDDEN")
        if trunk.endpoint and trunk.endpoint not in self._endpoints:
            raise Denied(
                f"endpoint = {trunk.endpoint!r}: not one that this server allows",
                "FORBIDDEN",
                field="endpoint",
            )
        if trunk.account is not None and not self._provision:
            raise Denied("account: this server makes none (api.provision)", "UNPROCESSABLE", field="account")
        if not trunk.endpoint and trunk.account is None and new:
            raise Denied("give an endpoint, or an account", "BAD_REQUEST", field="account")
        for rule in trunk.destinations:
            try:
                check_rule(rule)
            except ConfigurationError as error:
                raise Denied(str(error), "BAD_REQUEST", field="destinations") from None
        others = {
            _digits(number)
            for (owner, _), own in self._own.items() if (owner, own.id) != (org, trunk.id)
            for number in own.numbers
        }  # fmt: skip
        for number in trunk.numbers:
            if _digits(number) in others or self._given_with(number) is not None:
                raise Denied(f"numbers: {number} comes in by another trunk", "CONFLICT", field="numbers")

    # ---- Asterisk

    def _dialled(self, org: str, own: NewTrunk) -> ApiTrunk:
        kind = _LentTrunk if own.endpoint else ApiTrunk
        return kind(
            id=own.id,
            endpoint=f"PJSIP/{{number}}@{_endpoint(org, own)}",
            org=org,
            caller_ids=list(own.caller_ids),
            destinations=list(own.destinations),
            channels=own.channels,
            numbers=list(own.numbers),
            agent=own.agent,
            refer_to="",
        )

    def _tenant(self, org: str, own: NewTrunk) -> TenantConfig:
        assert own.account is not None
        given = own.account.model_dump()
        return TenantConfig(
            _tenant_id(org, own.id),
            app=self._app_name,
            trunk=SIPTrunk(**{**given, "password": own.account.password}),
            dids=list(own.numbers),
            max_channels=own.channels,
        )

    def _provisioner(self) -> TenantProvisioner:
        return TenantProvisioner(self._provision, self._ari() if self._ari is not None else None)

    async def _keep(self, own: dict[tuple[str, str], NewTrunk]) -> None:
        """These are the trunks from now on, also after a restart. Raises Denied where they can't be written."""
        if self._file is not None:
            rows = [{"org": org, "trunk": trunk.stored()} for (org, _), trunk in own.items()]
            try:
                await asyncio.to_thread(_write, self._file, json.dumps({"trunks": rows}, indent=2))
            except ConfigurationError as error:  # the operator's business, and no stranger's: it names a file
                log.error("no trunk can be made or changed: %s", error)
                raise Denied("trunks can't be kept now", "SERVICE_UNAVAILABLE", retry_after=10) from None
        self._own = own


def _digits(number: str) -> str:
    return number.removeprefix("+")


def _endpoint(org: str, own: NewTrunk) -> str:
    """Asterisk's name for where its calls go, and come from."""
    return own.endpoint or f"{_tenant_id(org, own.id)}_trunk"


def _tenant_id(org: str, identifier: str) -> str:
    """A name in Asterisk's configuration: no organisation's text goes there."""
    return "api-" + hashlib.sha256(f"{org}\0{identifier}".encode()).hexdigest()[:20]


def _row(trunk: NewTrunk) -> TrunkRow:
    account = trunk.account
    return TrunkRow(
        **trunk.model_dump(exclude={"account"}),
        account=None if account is None else account.shown(),
        managed="api",
    )


def _given_row(trunk: ApiTrunk) -> TrunkRow:
    return TrunkRow(
        id=trunk.id,
        endpoint="",
        caller_ids=tuple(trunk.caller_ids),
        destinations=tuple(trunk.destinations),
        channels=trunk.channels,
        numbers=tuple(trunk.numbers),
        agent=trunk.agent,
        account=None,
        managed="settings",
    )


def _read(file: Path) -> dict[tuple[str, str], NewTrunk]:
    try:
        rows: list[dict[str, Any]] = json.loads(file.read_bytes())["trunks"]
        trunks = [(str(row["org"]), NewTrunk.model_validate(row["trunk"])) for row in rows]
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"trunks file {file}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"trunks file {file} is damaged ({type(error).__name__}): restore it"
        ) from error
    return {(org, trunk.id): trunk for org, trunk in trunks}


def _write(file: Path, text: str) -> None:
    """A whole file or the one before, whatever happens meanwhile."""
    new = file.with_name(f".{file.name}.new")
    write_private(new, text)
    try:
        new.replace(file)
    except OSError as error:
        raise ConfigurationError(f"trunks file {file}: {error.strerror}") from error
