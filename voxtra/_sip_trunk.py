"""A SIP trunk: a carrier's server, and how to log in there."""

from __future__ import annotations

import re
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, SecretStr, model_validator

from voxtra._asterisk_values import AnyDID, Host, Password, Realm, Section, User
from voxtra._settings import Settings
from voxtra._trunk import e164

Codec: TypeAlias = Literal["ulaw", "alaw", "g722", "g729", "gsm", "ilbc", "opus", "slin", "slin16", "speex"]


class SIPTrunk(Settings):
    """A trunk: ``SIPTrunk("sip.example.com", username="acme", password="...", did="+442071838750")``.

    Attributes:
        host: the carrier's server; calls are taken from its addresses only.
        port: its SIP port.
        username, password: of the account there; "" = the carrier knows us by our address.
        realm: that the carrier asks the login for; "" = any.
        did: the number that calls come in by; more of them in ``TenantConfig.dids``.
        transport: what carries SIP; Asterisk must have a transport of that kind.
        codecs: best first.
        from_user: who calls out, for carriers that want the account's name in ``From``; "" = the number of
            the caller.
        name: of the section in pjsip.conf; a tenant's trunk is ``<tenant>_<name>``, by default
            ``<tenant>_trunk``; a trunk without a tenant is named after its host.
        registers: whether to register there; None = when there are username and password.
        qualify_s: every how many s to ask whether the carrier is there (OPTIONS); 0 = never.

    Raises:
        ConfigurationError: a value can't be; names it.
    """

    section = "trunk"
    host: Host
    port: int = Field(5060, ge=1, le=65535)
    username: User = ""
    password: Password = SecretStr("")
    realm: Realm = ""
    did: AnyDID = ""
    transport: Literal["udp", "tcp", "tls"] = "udp"
    codecs: list[Codec] = Field(["ulaw", "alaw"], min_length=1)
    from_user: User = ""
    name: Section = ""
    registers: bool | None = None
    qualify_s: int = Field(60, ge=0, le=86400)

    def __init__(self, host: str = "", port: int = 5060, *rest: Any, **fields: Any) -> None:
        names = ("username", "password", "realm", "did", "transport", "codecs")
        if len(rest) > len(names):
            raise TypeError(f"SIPTrunk takes host, port, {', '.join(names)} by place, the others by name")
        fields.update(zip(names, rest, strict=False))
        if host:
            fields.setdefault("host", host)
        super().__init__(**{"port": port, **fields})

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # as in Settings

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password belong together: give both or neither")
        if self.registers and not self.username:
            raise ValueError("registers needs username and password")
        if len(set(self.codecs)) != len(self.codecs):
            raise ValueError("codecs names one of them twice")
        return self

    @property
    def section_name(self) -> str:
        """Name of its section in pjsip.conf."""
        return self.name or f"trunk-{re.sub('[^A-Za-z0-9]', '-', self.host)}"[:64]

    @property
    def wants_registration(self) -> bool:
        """Whether it registers at the carrier."""
        return bool(self.username) if self.registers is None else self.registers

    def endpoint(self, number: str) -> str:
        """Where to call a number: ``"PJSIP/+442071838750@acme_trunk"``.

        Raises:
            ConfigurationError: this is no E.164 number.
        """
        return f"PJSIP/{e164(number)}@{self.section_name}"

    def uri(self, user: str = "") -> str:
        """The carrier as a SIP URI (RFC 3261, 19.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        suffix = "" if self.transport == "udp" else f";transport={self.transport}"
        return f"sip:{user}{'@' if user else ''}{host}:{self.port}{suffix}"
