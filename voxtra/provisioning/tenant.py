"""A tenant: one customer of many on the same Asterisk."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from voxtra._asterisk_values import DID, Password, TenantId
from voxtra._settings import Settings
from voxtra._sip_trunk import SIPTrunk
from voxtra.config import AppName, e164
from voxtra.errors import ConfigurationError


def _new_password() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(24))


def _not_empty(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < 12:
        raise ValueError("must have at least 12 characters")
    return value


class TenantConfig(Settings):
    """A tenant: ``TenantConfig("acme", trunk=SIPTrunk(...), dids=["+442071838751"], max_channels=10)``.

    Attributes:
        id: names everything of it in Asterisk: ARI user ``<id>_ari``, trunk ``<id>_trunk``, contexts
            ``<id>_in`` and ``<id>_out``. Small letters, digits, ``-``.
        app: the Stasis application that takes its calls, as ``Stasis(app,id)``.
        trunk: its way to the telephone network, None = it has none.
        dids: its numbers, beside the trunk's ``did``, as the carrier sends them. A number with ``+`` also
            takes the calls that come without it, and stays with ``+`` in ``call.called_number``.
        ari_password: of its ARI user; made up when not given, so give it to keep it.
        ari_read_only: its ARI user may listen and not act.
        max_channels: how many calls, both ways together, it may have at a time; None = any number.
        max_call_s: after how many s a call is ended; None = never.

    Raises:
        ConfigurationError: a value can't be; names it.
    """

    section = "tenant"
    id: TenantId
    app: AppName = "voxtra"
    trunk: SIPTrunk | None = None
    dids: list[DID] = Field(default_factory=list)
    ari_password: Annotated[Password, AfterValidator(_not_empty)] = Field(default_factory=_new_password)
    ari_read_only: bool = False
    max_channels: int | None = Field(None, ge=1, le=100_000)
    max_call_s: int | None = Field(None, ge=1, le=7 * 86400)

    def __init__(self, id: str = "", **fields: Any) -> None:
        super().__init__(**({"id": id, **fields} if id else fields))

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as in Settings

    @model_validator(mode="after")
    def _its_own(self) -> Self:
        trunk = self.trunk
        if trunk is None and (self.dids or self.max_channels or self.max_call_s):
            raise ValueError("dids, max_channels and max_call_s are of no use without a trunk")
        if trunk is not None and not trunk.name.startswith(f"{self.id}_"):
            name = f"{self.id}_{trunk.name or 'trunk'}"
            self.trunk = trunk.model_copy(update={"name": name[:64]})
        taken = [number.removeprefix("+") for number in self.numbers]
        if twice := sorted({number for number in taken if taken.count(number) > 1}):
            raise ValueError(f"the number {twice[0]} is given twice")
        return self

    @property
    def numbers(self) -> list[str]:
        """All its numbers, the trunk's ``did`` first."""
        first = [self.trunk.did] if self.trunk is not None and self.trunk.did else []
        return [*first, *(did for did in self.dids if did not in first)]

    @property
    def ari_user(self) -> str:
        """Name of its ARI user."""
        return f"{self.id}_ari"

    @property
    def inbound(self) -> str:
        """The dialplan context its calls come in by."""
        return f"{self.id}_in"

    @property
    def outbound(self) -> str:
        """The dialplan context its calls go out by."""
        return f"{self.id}_out"

    def endpoint(self, number: str) -> str:
        """Where to call a number within the tenant's limits: ``"Local/+442071838750@acme_out/n"``.

        It goes through the dialplan, which refuses a call too many as busy. ``trunk.endpoint(number)`` goes
        straight to the trunk: such a call counts, but is not refused.

        Raises:
            ConfigurationError: this is no E.164 number, or there is no trunk.
        """
        if self.trunk is None:
            raise ConfigurationError(f"tenant {self.id} has no trunk: it can't call out")
        return f"Local/{e164(number)}@{self.outbound}/n"
