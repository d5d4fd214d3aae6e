"""A trunk over REST."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator

from voxtra.wire import E164, AgentId, TrunkId, Wire

Host = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*$", max_length=253),
]
Rule = Annotated[str, Field(pattern=r"^([A-Z]{2}|\+[1-9][0-9]{0,14}|\*)$")]


class AccountRow(Wire):
    """An account at a carrier, without its password."""

    host: Host
    port: int = Field(default=5060, ge=1, le=65535)
    transport: Literal["udp", "tcp", "tls"] = "udp"
    username: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+@-]{0,80}$")] = ""


class TrunkAccount(AccountRow):
    """An account at a carrier. Its password is never shown again."""

    password: SecretStr = Field(default=SecretStr(""), max_length=128)

    @model_validator(mode="after")
    def _whole(self) -> TrunkAccount:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password belong together: give both or neither")
        return self

    def shown(self) -> AccountRow:
        """Without the password."""
        return AccountRow(**self.model_dump(exclude={"password"}))


class TrunkBody(Wire):
    """What a trunk is, beside its name.

    Attributes:
        endpoint: an endpoint of Asterisk that the server allows; "" for a trunk with an account.
        account: at a carrier. Left out when a trunk is replaced, it stays.
        caller_ids: numbers that calls may show.
        destinations: where to: countries (``GB``), prefixes (``+4420``), ``*``. None: nowhere.
        channels: calls at once.
        numbers: numbers whose calls come in by it.
        agent: who answers them; None = the app's own routes.
    """

    endpoint: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,64}$")] = ""
    account: TrunkAccount | None = None
    caller_ids: tuple[E164, ...] = Field(default=(), max_length=1000)
    destinations: tuple[Rule, ...] = Field(default=(), max_length=1000)
    channels: int = Field(default=10, ge=1, le=10_000)
    numbers: tuple[E164, ...] = Field(default=(), max_length=1000)
    agent: AgentId | None = None

    @model_validator(mode="after")
    def _one_way(self) -> TrunkBody:
        if self.endpoint and self.account is not None:
            raise ValueError("give an endpoint or an account, not both")
        return self


class NewTrunk(TrunkBody):
    """A trunk to make."""

    id: TrunkId

    def stored(self) -> dict[str, Any]:
        """For the file: with the password."""
        data = self.to_wire()
        if self.account is not None:
            data["account"]["password"] = self.account.password.get_secret_value()
        return data


class TrunkRow(Wire):
    """A trunk. ``managed``: whether it is in the server's settings, or was made here."""

    id: str
    endpoint: str
    account: AccountRow | None
    caller_ids: tuple[str, ...]
    destinations: tuple[str, ...]
    channels: int
    numbers: tuple[str, ...]
    agent: str | None
    managed: Literal["settings", "api"]


class TrunkList(Wire):
    """All trunks that the organisation may use."""

    trunks: list[TrunkRow]
