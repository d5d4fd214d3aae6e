"""Settings: where they come from, which one wins, and what is wrong with them.

From strongest to weakest: ``forced`` (``voxtra dev``) > keyword arguments > command line options >
environment > ``.env`` > ``voxtra.yaml`` > defaults. A :class:`VoxtraConfig` remembers its layers, so that
they can come in any order: an app is built with keywords when its module is imported, the command line adds
the rest later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic import ValidationError as PydanticError

from voxtra._api import ApiCaps as ApiCaps
from voxtra._api import ApiConfig as ApiConfig
from voxtra._api import ApiTrunk as ApiTrunk
from voxtra._backend import BackendConfig as BackendConfig
from voxtra._checks import can_be_host
from voxtra._env_file import ENV_FILE, surroundings
from voxtra._server import DrainConfig as DrainConfig
from voxtra._server import Port
from voxtra._server import ServerConfig as ServerConfig
from voxtra._settings import (
    LAYERS,
    Layer,
    Settings,
    as_yaml,
    explain,
    nested,
    read_yaml,
    source,
    update,
    write_private,
)
from voxtra._sip_trunk import SIPTrunk as SIPTrunkConfig  # noqa: F401 - its documented name here
from voxtra._speech import EndOfTurnConfig as EndOfTurnConfig
from voxtra._speech import SpeechConfig as SpeechConfig
from voxtra._speech import VADConfig as VADConfig
from voxtra._trunk import TrunkConfig as TrunkConfig
from voxtra._trunk import e164 as e164
from voxtra.errors import ConfigurationError

FILE_NAME = "voxtra.yaml"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def _url(value: str) -> str:
    try:
        parts = urlsplit(value.strip())
        port = parts.port
    except ValueError as error:
        why = "" if "@" in value else f" ({error})"  # which may quote a part of a password
        raise ValueError(f"must be an address like http://localhost:8088{why}") from None
    if parts.scheme not in ("http", "https") or not can_be_host(parts.hostname) or port == 0:
        raise ValueError("must be an address like http://localhost:8088")
    if "@" in value:  # also behind the first "/" of a password
        raise ValueError("must not hold user or password: they have settings of their own")
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query: write only http://host:port")
    return value.strip().rstrip("/").removesuffix("/ari")


def _app_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", value):
        raise ValueError("must be 1 to 64 letters, digits, '_', '-' or '.': it is the name in Stasis(name)")
    return value


def _port_range(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", value)):
        return int(match[1]), int(match[2])
    if not isinstance(value, tuple | list | None) or (value is not None and len(value) != 2):
        raise ValueError("must be a range of ports, like 20000-20999")
    return value


def _ordered(value: tuple[int, int]) -> tuple[int, int]:
    if not 1024 <= value[0] < value[1] <= 65535:
        raise ValueError("must be a range of ports within 1024-65535, like 20000-20999")
    return value


def _listen(value: str) -> str:
    found = re.fullmatch(r"(?:(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):)?(\d{1,5})", value)
    if value and (found is None or int(found[1]) > 65535):
        raise ValueError("must be PORT or HOST:PORT, like 8090 or 0.0.0.0:8090")
    return value


Listen = Annotated[str, AfterValidator(_listen)]
URL = Annotated[str, AfterValidator(_url)]
PortRange = Annotated[tuple[int, int], BeforeValidator(_port_range), AfterValidator(_ordered)]
AppName = Annotated[str, AfterValidator(_app_name)]


class AsteriskConfig(Settings):
    """The Asterisk whose calls are answered.

    Attributes:
        url: of its HTTP server, without ``/ari``.
        user: ARI user (a section of ari.conf).
        password: of that user.
        app_name: the name in the dialplan's ``Stasis(name)``.
        reconnect_interval: longest wait between attempts to reconnect, in s.
        listen: ``[HOST:]PORT`` where Asterisk connects to us (``outbound_websocket`` of its ari.conf), with
            ``user`` and ``password`` as its login; "" = we connect to ``url``.
        listen_cert, listen_key: files (PEM) that make that TLS; a key in the certificate's file needs no name.
    """

    section = "asterisk"
    url: URL = "http://localhost:8088"
    user: str = Field("asterisk", min_length=1)
    password: SecretStr = SecretStr("")
    app_name: AppName = "voxtra"
    reconnect_interval: float = Field(5.0, gt=0, le=300)
    listen: Listen = ""
    listen_cert: str = ""
    listen_key: str = ""

    @model_validator(mode="after")
    def _tls(self) -> Self:
        if self.listen_key and not self.listen_cert:
            raise ValueError("listen_key needs listen_cert: without it there is no TLS")
        return self

    @property
    def listen_address(self) -> tuple[str, int] | None:
        """``listen`` as host and port, None when it is not set."""
        host, _, port = self.listen.rpartition(":")
        return (host.strip("[]") or "127.0.0.1", int(port)) if self.listen else None

    @property
    def host(self) -> str:
        """Host of ``url``."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Port of ``url``, or what its scheme says."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def sends_password_in_clear(self) -> bool:
        """True when the password goes over plain HTTP to another host."""
        return urlsplit(self.url).scheme == "http" and self.host not in _LOOPBACK


class MediaConfig(Settings):
    """How sound goes between Asterisk and the app.

    Attributes:
        transport: what carries it. ``websocket`` leaves pacing to Asterisk.
        codec: Asterisk's name of the format; by default ``slin`` for audiosocket, else ``ulaw``.
        connection: websocket only, who is connected to: ``server`` = Asterisk, ``client`` = the app.
        bind_host: address the app listens on (rtp, audiosocket, websocket with ``client``).
        bind_port: TCP port of that listener, 0 = a free one.
        advertise_host: name of this machine as Asterisk reaches it; None = ``bind_host``.
        client_id: with ``client``: the section of Asterisk's websocket_client.conf that names our listener.
        username, password: with ``client``: what that section logs in with; "" = no login.
        rtp_ports: UDP ports to use for rtp, both ends included; None = any free one.
    """

    section = "media"
    transport: Literal["websocket", "rtp", "audiosocket"] = "websocket"
    codec: Literal["ulaw", "alaw", "g722", "slin", "slin16", "slin24", "slin48"] = "ulaw"
    connection: Literal["server", "client"] = "server"
    bind_host: str = "127.0.0.1"
    bind_port: Port = 0
    advertise_host: str | None = None
    client_id: str = "voxtra-media"
    username: str = ""
    password: SecretStr = SecretStr("")
    rtp_ports: PortRange | None = None

    @model_validator(mode="after")
    def _codec_fits(self) -> Self:
        if self.transport == "audiosocket" and "codec" not in self.model_fields_set:
            self.codec = "slin"
        can = _CARRIES.get(self.transport, ())
        if can and self.codec not in can:
            raise ValueError(
                f"{self.transport} can't carry codec {self.codec!r} both ways: use {' or '.join(can)}"
            )
        return self


_CARRIES = {"rtp": ("ulaw", "alaw", "g722"), "audiosocket": ("slin", "slin16")}


class ProviderConfig(Settings):
    """A speech provider.

    Attributes:
        provider: its name, e.g. ``local`` or ``openai``.
        model: which of its models.
        language: BCP 47, e.g. ``en``.
        api_key: its key.
        base_url: address of a server of one's own.
        options: further keyword arguments of the provider's class.
    """

    provider: str = Field(min_length=1)
    model: str | None = None
    language: str | None = None
    api_key: SecretStr | None = None
    base_url: URL | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class STTConfig(ProviderConfig):
    """Speech to text."""

    section = "stt"


class TTSConfig(ProviderConfig):
    """Text to speech. ``voice``: which of the provider's voices."""

    section = "tts"
    voice: str | None = None


class LLMConfig(ProviderConfig):
    """Language model. ``system_prompt``: what it is told before the conversation."""

    section = "llm"
    system_prompt: str | None = None


class RealtimeConfig(Settings):
    """A model that hears and speaks itself, for ``converse``.

    Attributes:
        provider: its name, e.g. ``openai``.
        model: which of its models.
        api_key: its key.
        base_url: address of a server of one's own.
        voice: which of its voices.
        options: further keyword arguments of the provider's class.
    """

    section = "realtime"
    provider: str = Field(min_length=1)
    model: str | None = None
    api_key: SecretStr | None = None
    base_url: URL | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    voice: str | None = None


class CallRecordsConfig(Settings):
    """Records of calls: one document each. A sink given to the app is above this.

    Attributes:
        folder: where they go; none = no records.
        page: whether there is a page beside the JSON.
        keep_days: remove records that are older; 0 = keep them for ever.
    """

    section = "call_records"
    folder: str | None = Field(None, min_length=1)
    page: bool = True
    keep_days: float = Field(0, ge=0, lt=36500, allow_inf_nan=False)


class LogConfig(Settings):
    """What a line of the log looks like, and what it leaves out. Secrets are always left out.

    Attributes:
        format: ``text`` for people, ``json`` for machines, one object a line.
        numbers: telephone and card numbers, and keys pressed: ``mask`` shows the last ``number_digits`` of a number
            and no key, ``hide`` nothing of them, ``show`` all.
        number_digits: how many digits ``mask`` leaves.
    """

    section = "log"
    format: Literal["text", "json"] = "text"
    numbers: Literal["mask", "hide", "show"] = "mask"
    number_digits: int = Field(2, ge=0, le=4)


class RouteConfig(Settings):
    """A route: calls to ``extension`` and / or from ``number`` go to ``handler`` (``module:function``)."""

    section = "routes"
    handler: str = Field(pattern=r"^[\w.]+:[\w.]+$")
    extension: str | None = None
    number: str | None = None
    name: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)


class VoxtraConfig(Settings):
    """All settings of an app."""

    asterisk: AsteriskConfig = Field(default_factory=lambda: AsteriskConfig.model_validate({}))
    media: MediaConfig = Field(default_factory=lambda: MediaConfig.model_validate({}))
    stt: STTConfig | None = None
    tts: TTSConfig | None = None
    llm: LLMConfig | None = None
    vad: VADConfig | None = None
    realtime: RealtimeConfig | None = None
    end_of_turn: EndOfTurnConfig | None = None
    speech: SpeechConfig = Field(default_factory=lambda: SpeechConfig.model_validate({}))
    trunk: TrunkConfig = Field(default_factory=lambda: TrunkConfig.model_validate({}))
    drain: DrainConfig = Field(default_factory=lambda: DrainConfig.model_validate({}))
    server: ServerConfig = Field(default_factory=lambda: ServerConfig.model_validate({}))
    backend: BackendConfig = Field(default_factory=lambda: BackendConfig.model_validate({}))
    api: ApiConfig = Field(default_factory=lambda: ApiConfig.model_validate({}))
    call_records: CallRecordsConfig = Field(default_factory=lambda: CallRecordsConfig.model_validate({}))
    log: LogConfig = Field(default_factory=lambda: LogConfig.model_validate({}))
    routes: list[RouteConfig] = Field(default_factory=list)

    _layers: dict[Layer, dict[str, Any]] = PrivateAttr(default_factory=dict)
    _file: str = PrivateAttr(default="")

    def __eq__(self, other: object) -> bool:
        """Whether the settings are the same, wherever they came from."""
        return isinstance(other, VoxtraConfig) and self.model_dump() == other.model_dump()

    @classmethod
    def load(
        cls,
        *,
        file: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        env_file: str | os.PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> Self:
        """Settings from all places.

        Args:
            file: a YAML file; None = none.
            env: the environment, None = the process's own; ``{}`` = none.
            env_file: a ``.env`` file, below the environment; None = none.
            options: of a command line; dotted names (``{"asterisk.url": ...}``) or nested; None says nothing.
            keywords: of a program; likewise.

        Raises:
            ConfigurationError: names the setting, where it came from, its value and what would be right.
        """
        environment, dotenv = surroundings(env, env_file, ENVIRONMENT)
        layers: dict[Layer, dict[str, Any]] = {
            "dotenv": _from_environment(dotenv),
            "environment": _from_environment(environment),
            "options": nested(options or {}),
            "keywords": nested(keywords or {}),
        }
        if file is not None:
            said = {name: value for name, value in environment.items() if value or name not in dotenv}
            layers["file"] = read_yaml(Path(file), {**dotenv, **said})
        return cls._merged(layers, str(file or ""))

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Self:
        """Settings from a YAML file, with the environment above it. Raises ConfigurationError."""
        return cls.load(file=path)

    def layered(
        self,
        *,
        file: str | os.PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        keywords: Mapping[str, Any] | None = None,
        forced: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Self:
        """These settings with more layers. Precedence is by layer, not by order of the calls.

        ``forced`` is above everything: ``voxtra dev`` points any app at its private Asterisk with it. Settings
        built by hand (``VoxtraConfig(...)``) count as keywords, with the environment (``env``) below them.
        """
        layers = dict(self._layers)
        if not layers:  # built by hand, not loaded: what was said there is a program's own word
            layers["keywords"] = self.model_dump(exclude_unset=True)
            environment, dotenv = surroundings(env)
            layers |= {"dotenv": _from_environment(dotenv), "environment": _from_environment(environment)}
        if file is not None:
            layers["file"] = read_yaml(Path(file), os.environ if env is None else env)
        more: dict[Layer, Mapping[str, Any] | None] = {
            "options": options,
            "keywords": keywords,
            "forced": forced,
        }
        for name, values in more.items():
            if values:
                layers[name] = update(update({}, layers.get(name, {})), nested(values))
        return type(self)._merged(layers, str(file or self._file))

    def source(self, name: str) -> str:
        """Where a setting (``asterisk.url``) is from: ``"environment VOXTRA_ARI_URL"``, ``"default"`` ..."""
        return _said_in(source(self._layers, tuple(name.split("."))), self._file, name)

    def to_yaml(self, path: str | os.PathLike[str] | None = None, *, secrets: bool = False) -> str:
        """These settings as YAML, written to ``path`` (mode 0600) when given.

        Secrets are left to the environment (``${VOXTRA_ARI_PASSWORD}``) unless ``secrets`` is set.
        """
        data = as_yaml(self.model_dump(exclude_defaults=True), _VARIABLE, secrets=secrets)
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        if path is not None:
            write_private(Path(path), text)
        return text

    @classmethod
    def _merged(cls, layers: dict[Layer, dict[str, Any]], file: str) -> Self:
        data: dict[str, Any] = {}
        for name in LAYERS:
            update(data, layers.get(name, {}))
        try:
            config = cls.model_validate(data)
        except PydanticError as error:
            line, path = explain(error, cls)
            raise ConfigurationError(f"{line}{_said_by(layers, file, path)}") from None
        config._layers, config._file = layers, file
        return config


# ---- the environment

_ALIASES = {
    "VOXTRA_ARI_URL": "asterisk.url",
    "VOXTRA_ARI_USER": "asterisk.user",
    "VOXTRA_ARI_PASSWORD": "asterisk.password",
    "VOXTRA_APP_NAME": "asterisk.app_name",
    "VOXTRA_RECONNECT_INTERVAL": "asterisk.reconnect_interval",
    "VOXTRA_LISTEN": "asterisk.listen",
    "VOXTRA_LISTEN_CERT": "asterisk.listen_cert",
    "VOXTRA_LISTEN_KEY": "asterisk.listen_key",
}


def _variables() -> dict[str, str]:
    names = dict(_ALIASES)
    for section, model in _sections(VoxtraConfig):
        if model is AsteriskConfig:
            continue
        for field in model.model_fields:
            if field not in ("options", "metadata", "trunks", "endpoints", "origins", "caps", "orgs"):
                names[f"VOXTRA_{section}_{field}".upper()] = f"{section}.{field}"
    return names


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        for kind in (info.annotation, *get_args(info.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and name != "routes":
                yield name, kind


ENVIRONMENT: Mapping[str, str] = _variables()
"""Environment variable → setting, e.g. ``VOXTRA_MEDIA_TRANSPORT`` → ``media.transport``."""
_VARIABLE = {setting: variable for variable, setting in ENVIRONMENT.items()}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    # an empty variable is an unset one: that is how compose files and CI say "none"
    return nested({setting: env[name] for name, setting in ENVIRONMENT.items() if env.get(name)})


# ---- where a setting came from


def _said_in(layer: Layer | None, file: str, setting: str) -> str:
    if layer == "environment":
        return f"environment {_VARIABLE.get(setting, '')}".rstrip()
    if layer == "dotenv":
        return f"{ENV_FILE} {_VARIABLE.get(setting, '')}".rstrip()
    return {
        None: "default",
        "file": file,
        "options": "option",
        "keywords": "program",
        "forced": "voxtra dev",
    }[layer]


def _said_by(layers: Mapping[Layer, Mapping[str, Any]], file: str, path: tuple[str | int, ...]) -> str:
    layer = source(layers, path)
    if layer in (None, "options", "keywords"):
        return ""  # whoever wrote it knows where
    return f" (in {_said_in(layer, file, '.'.join(map(str, path)))})"
