"""TenantProvisioner: writes tenants' configuration, and has Asterisk read it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from voxtra._checks import checked
from voxtra.ari import ARIClient
from voxtra.errors import (
    ARIConflictError,
    ARIError,
    ARINotFoundError,
    ConfigurationError,
    ProvisioningError,
)
from voxtra.provisioning import render
from voxtra.provisioning.folder import Folder
from voxtra.provisioning.tenant import TenantConfig

log = logging.getLogger("voxtra.provisioning")

KINDS = ("ari", "pjsip", "extensions")
MODULES = (
    "pbx_config.so",  # first: a trunk may bring a call at once
    "res_pjsip.so",
    "res_pjsip_endpoint_identifier_ip.so",
    "res_pjsip_outbound_registration.so",
    "res_ari.so",
)
"""What reads the files, in the order it is told to."""
TAKE_UP_S = 5.0
"""How long Asterisk may take until a trunk is there, or gone, after a reload."""
ATTEMPTS = 5
"""How many channels are asked for a count, as each may end meanwhile."""

_HEADER = "; written by voxtra, do not edit. tenant "


@dataclass(frozen=True)
class Tenant:
    """What is written of a tenant; secrets stay in the files.

    Attributes:
        id: of the tenant.
        app: the Stasis application its calls go to.
        trunk: section name of its trunk, "" without one.
        host: of that trunk.
        numbers: its DIDs.
    """

    id: str
    app: str
    trunk: str
    host: str
    numbers: tuple[str, ...]


class TenantProvisioner:
    """Writes, removes and lists tenants.

    Asterisk reads what is written when ari.conf, pjsip.conf and extensions.conf end with the lines of
    :attr:`includes`, once, by hand.

    Args:
        directory: a folder of its own, ``"/etc/asterisk/voxtra"``.
        ari: a connected client, for :meth:`reload`, :meth:`apply`, :meth:`withdraw` and :meth:`in_use`; its
            user may not be read-only.
        owner: the user Asterisk runs as, when that is another than this process's (which then must be root).
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        ari: ARIClient | None = None,
        *,
        owner: str | int | None = None,
    ) -> None:
        checked("directory", directory, (str, os.PathLike), "a folder, like '/etc/asterisk/voxtra'")
        if ari is not None and not hasattr(ari, "channels"):
            raise ConfigurationError(f"ari={ari!r}: should be an ARIClient that is connected")
        path = Path(directory).absolute()
        if not re.fullmatch(r"[A-Za-z0-9_./ +=@-]+", str(path)):
            raise ProvisioningError(f"{str(path)!r}: its name can't stand in Asterisk's configuration")
        self._folder = Folder(path, KINDS, owner)
        self._ari = ari

    @property
    def includes(self) -> Mapping[str, str]:
        """What Asterisk's own files must have at their end: file name → line."""
        path = self._folder.path
        return {f"{kind}.conf": f'#tryinclude "{path}/{kind}/*.conf"' for kind in KINDS}

    # ---- files

    def write(self, tenant: TenantConfig) -> bool:
        """Write a tenant's files, replacing those there are; returns whether anything changed.

        Raises:
            ProvisioningError: a number is another tenant's already, or the files can't be written.
        """
        checked("tenant", tenant, (TenantConfig,), "a TenantConfig")
        trunk = tenant.trunk
        about = Tenant(
            tenant.id,
            tenant.app,
            trunk.section_name if trunk is not None else "",
            trunk.host if trunk is not None else "",
            tuple(tenant.numbers),
        )
        header = _HEADER + json.dumps(asdict(about)) + "\n"
        texts = {
            "ari": render.ari(tenant),
            "pjsip": render.pjsip(tenant),
            "extensions": render.extensions(tenant),
        }
        with self._folder.locked():
            self._check_numbers(about)
            return self._folder.replace(
                tenant.id, {kind: text and header + text for kind, text in texts.items()}
            )

    def remove(self, tenant_id: str) -> bool:
        """Remove a tenant's files; returns whether there were any. Raises ProvisioningError."""
        _check_id(tenant_id)
        with self._folder.locked():
            return self._folder.replace(tenant_id, dict.fromkeys(KINDS, ""))

    def tenants(self) -> list[Tenant]:
        """All tenants that are written, by id. Raises ProvisioningError."""
        return [self._read(name) for name in self._folder.names("ari")]

    def _read(self, name: str) -> Tenant:
        first = self._folder.read("ari", name).partition("\n")[0]
        try:
            about = json.loads(first.removeprefix(_HEADER))
            return Tenant(**{**about, "numbers": tuple(about["numbers"])})
        except (ValueError, TypeError, KeyError):
            path = self._folder.path / "ari" / f"{name}.conf"
            raise ProvisioningError(f"{path}: not written by voxtra, or edited: remove it") from None

    def _check_numbers(self, tenant: Tenant) -> None:
        mine = {number.removeprefix("+") for number in tenant.numbers}
        for other in self.tenants():
            theirs = {number.removeprefix("+") for number in other.numbers}
            if other.id != tenant.id and (both := sorted(mine & theirs)):
                raise ProvisioningError(
                    f"tenant {tenant.id}: the number {both[0]} belongs to tenant {other.id}"
                )

    # ---- Asterisk

    async def apply(self, tenant: TenantConfig) -> bool:
        """Write a tenant, and return once Asterisk has taken it up; whether anything changed.

        Raises:
            ProvisioningError: it can't be written, or Asterisk did not take it up.
            TelephonyError: Asterisk can't be reached.
        """
        changed = await asyncio.to_thread(self.write, tenant)
        await self.reload()
        if tenant.trunk is not None:
            await self._wait_for_trunk(tenant.trunk.section_name, there=True)
        log.info("tenant %s %s", tenant.id, "written and loaded" if changed else "was up to date")
        return changed

    async def withdraw(self, tenant_id: str) -> bool:
        """Remove a tenant, and return once Asterisk has forgotten it; whether there was one.

        Calls that are under way go on.

        Raises:
            ProvisioningError: the files can't be removed, or Asterisk still has the trunk.
            TelephonyError: Asterisk can't be reached.
        """
        known = {tenant.id: tenant for tenant in await asyncio.to_thread(self.tenants)}
        removed = await asyncio.to_thread(self.remove, tenant_id)
        await self.reload()
        if tenant_id in known and known[tenant_id].trunk:
            await self._wait_for_trunk(known[tenant_id].trunk, there=False)
        if removed:
            log.info("tenant %s removed", tenant_id)
        return removed

    async def reload(self) -> None:
        """Have Asterisk read all files again.

        Raises:
            ProvisioningError: a module is not loaded, or can't be reloaded.
            TelephonyError: Asterisk can't be reached.
        """
        for module in MODULES:
            await self._reload(module)

    async def in_use(self, tenant_id: str) -> int:
        """How many calls a tenant has now, both ways.

        Raises:
            TelephonyError: Asterisk can't be reached.
            ProvisioningError: Asterisk gives no count.
        """
        _check_id(tenant_id)
        name = f"GROUP_COUNT({tenant_id}@{render.GROUP})"
        for channel in (await self._client.channels.list())[:ATTEMPTS]:
            try:  # a count of all channels, but the function wants to be asked on one of them
                found = await self._client.channels.get_channel_var(channel_id=channel.id, variable=name)
                return int(found.value)
            except ARINotFoundError:  # it has ended meanwhile, or there is no such function
                continue
            except ValueError as error:
                raise ProvisioningError(f"calls of {tenant_id} can't be counted: {error}") from error
        return 0

    @property
    def _client(self) -> ARIClient:
        if self._ari is None:
            raise ConfigurationError("TenantProvisioner(directory, ari): no ARI client was given")
        return self._ari

    async def _reload(self, module: str) -> None:
        busy = None
        for pause_s in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 0):
            try:
                return await self._client.asterisk.reload_module(module_name=module)
            except ARIConflictError as error:  # another reload is under way
                busy = error
                await asyncio.sleep(pause_s)
            except ARINotFoundError:
                raise ProvisioningError(f"Asterisk has not loaded {module}: look into modules.conf") from None
            except ARIError as error:
                raise ProvisioningError(f"Asterisk does not reload {module}: {error}") from error
        raise ProvisioningError(f"Asterisk does not reload {module}: {busy}; its log says why") from busy

    async def _wait_for_trunk(self, name: str, *, there: bool) -> None:
        pause_s = 0.02
        until = asyncio.get_running_loop().time() + TAKE_UP_S
        while await self._has_trunk(name) is not there:
            if asyncio.get_running_loop().time() > until:
                mend = f"is {self.includes['pjsip.conf']} in pjsip.conf, and may Asterisk read there?"
                raise ProvisioningError(
                    f"Asterisk {'has no' if there else 'still has the'} trunk {name} after a reload: {mend}"
                )
            await asyncio.sleep(pause_s)
            pause_s = min(0.5, pause_s * 2)

    async def _has_trunk(self, name: str) -> bool:
        try:  # not /endpoints: that goes on naming one that is removed
            await self._client.asterisk.get_object(config_class="res_pjsip", object_type="endpoint", id=name)
        except ARINotFoundError:
            return False
        return True


def _check_id(tenant_id: str) -> None:
    if not isinstance(tenant_id, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", tenant_id):
        raise ProvisioningError(f"{tenant_id!r} is no tenant's id: small letters, digits and '-'")
