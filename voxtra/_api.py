"""Settings of the HTTP API: where it listens, its trunks, what organisations may use."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from voxtra._settings import Settings
from voxtra._trunk import e164, endpoint_template
from voxtra.errors import ConfigurationError


def _number(value: str) -> str:
    try:
        return e164(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


_ORG = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class ApiTrunk(Settings):
    """A way out for calls over the HTTP API. What is not allowed here is refused.

    Attributes:
        id: its name, ``trunkId`` of a call.
        endpoint: of Asterisk, with ``{number}`` or ``{digits}``: ``"PJSIP/{number}@carrier"``.
        org: whose it is; none = every organisation's.
        caller_ids: E.164 numbers that calls may show.
        destinations: where to: countries (``GB``), prefixes (``+4420``), ``*``.
        channels: calls at once.
        transfer: ``bridge`` calls the target over the trunk; ``refer`` asks the far end first to call it itself
            (SIP REFER), and bridges where that is refused.
        refer_to: the address a REFER names, with ``{number}`` or ``{digits}``: ``"sip:{number}@carrier.example"``.
        numbers: numbers whose calls come in by this trunk.
        agent: id of the agent that answers them; none = the app's own routes do.
    """

    section = "api.trunks"
    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    endpoint: Annotated[str, AfterValidator(endpoint_template)] = Field(min_length=1)
    org: str | None = Field(None, pattern=_ORG)
    caller_ids: list[Annotated[str, AfterValidator(_number)]] = Field(default_factory=list, max_length=1000)
    destinations: list[str] = Field(default_factory=list, max_length=1000)
    channels: int = Field(10, ge=1, le=10_000)
    transfer: Literal["bridge", "refer"] = "bridge"
    refer_to: str = Field("", pattern=r"^(sips?:\{(number|digits)\}@[A-Za-z0-9.:\[\]-]{1,255})?$")
    numbers: list[Annotated[str, AfterValidator(_number)]] = Field(default_factory=list, max_length=1000)
    agent: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")

    @model_validator(mode="after")
    def _refers(self) -> Self:
        if self.transfer == "refer" and not self.refer_to:
            raise ValueError("transfer: refer needs refer_to, like 'sip:{number}@carrier.example'")
        return self

    @property
    def costly(self) -> bool:
        """Whether a destination that names them lets premium numbers and the like through."""
        return True

    def dial(self, number: str) -> str:
        """The endpoint of an E.164 number: ``"PJSIP/+442071838750@carrier"``."""
        return self.endpoint.replace("{number}", e164(number)).replace("{digits}", number[1:])

    def refer(self, number: str) -> str:
        """The address that a REFER names."""
        return self.refer_to.replace("{number}", e164(number)).replace("{digits}", number[1:])


class ApiCaps(Settings):
    """What one organisation may use; the same gate is before calls and transfers.

    Attributes:
        calls_per_second: new calls, averaged over two seconds.
        concurrent: calls at once.
        minutes_per_day: talking and ringing in any 24 hours.
        minutes_per_call: a call is hung up after so long.
    """

    section = "api.caps"
    calls_per_second: float = Field(1.0, gt=0, le=10_000)
    concurrent: int = Field(10, ge=1, le=100_000)
    minutes_per_day: float = Field(600.0, gt=0)
    minutes_per_call: float = Field(120.0, gt=0)


class ApiConfig(Settings):
    """The HTTP API: calls as a service. It is served where a port is set.

    Attributes:
        port: TCP port, 0 = a free one; none = nowhere.
        host: address to listen on.
        cert, key: files (PEM) that make it HTTPS.
        insecure: let it speak plain HTTP off loopback, behind a proxy that ends TLS.
        keys: file of the keys, made by ``voxtra keys``.
        relay: whether programs and browsers may take part in the sound of calls.
        relay_port: TCP and UDP port of that, 0 = a free one.
        relay_host: name or address by which others reach it; none = ``host``, or where that is all addresses the
            one by which the API was asked.
        relay_key: file of the key that its tokens are signed with; made where there is none.
        org: whose calls are that come in by no trunk's number; none = they are not told of.
        origins: whose pages may use the API from a browser: ``https://desk.example.com``; none = nobody's.
        requests_per_second: of one key, averaged over two seconds.
        metrics_token: what ``/metrics`` asks for as a bearer; "" = it answers this machine alone.
        trunks: the ways out; without one no call can be placed.
        trunks_file: file of the trunks that organisations make over REST.
        endpoints: names of Asterisk's endpoints that such a trunk may go out by; none = only its own account.
        provision: folder of the provisioner, for trunks with accounts (docs/provisioning.md); "" = no such trunks.
        caps: of every organisation; ``orgs`` has those that differ.
    """

    section = "api"
    port: Annotated[int, Field(ge=0, le=65535)] | None = None
    host: str = Field("127.0.0.1", min_length=1)
    cert: str = ""
    key: str = ""
    insecure: bool = False
    keys: str = Field("keys.json", min_length=1)
    relay: bool = True
    relay_port: Annotated[int, Field(ge=0, le=65535)] = 0
    relay_host: str | None = Field(None, min_length=1)
    relay_key: str = Field("relay-key.pem", min_length=1)
    org: str | None = Field(None, pattern=_ORG)
    origins: list[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?$")]] = Field(
        default_factory=list
    )
    requests_per_second: float = Field(50.0, gt=0, le=100_000)
    metrics_token: SecretStr = SecretStr("")
    trunks: list[ApiTrunk] = Field(default_factory=list)
    trunks_file: str = Field("trunks.json", min_length=1)
    endpoints: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]] = Field(default_factory=list)
    provision: str = ""
    caps: ApiCaps = Field(default_factory=lambda: ApiCaps.model_validate({}))
    orgs: dict[Annotated[str, Field(pattern=_ORG)], ApiCaps] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _tls(self) -> Self:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key belong together: give both or neither")
        return self
