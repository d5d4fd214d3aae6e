"""Where a private Asterisk is found, and the configuration it is given.

The templates are the ``asterisk/config/*.conf`` of the repository (``voxtra/_asterisk/config`` in an
installed package). ``@NAME@`` stands for a value; nothing else in them is touched.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from voxtra.errors import ConfigurationError

_SYSTEM = (Path("/usr/sbin/asterisk"), Path("/usr/local/sbin/asterisk"))
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True)
class Installation:
    """An Asterisk on this machine.

    Attributes:
        executable: what to run.
        modules: directory of its ``*.so``.
        data: its ``astdatadir``: sounds and XML documentation.
    """

    executable: Path
    modules: Path
    data: Path

    @property
    def rest_api(self) -> Path:
        """Directory of the ARI schema (``*.json``)."""
        return self.data / "rest-api"

    @property
    def sounds(self) -> Path:
        """Directory of the English prompts."""
        return self.data / "sounds" / "en"


def template_dir() -> Path:
    """The directory with ``config/*.conf`` and ``modules.txt``: the repository's, else the package's own.

    Raises:
        ConfigurationError: neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    for place in (package.parent / "asterisk", package / "_asterisk"):
        if (place / "config" / "asterisk.conf").is_file():
            return place
    raise ConfigurationError(
        f"the Asterisk configuration templates are not in {package.parent / 'asterisk'} "
        f"nor in {package / '_asterisk'}: install voxtra again"
    )


def find_asterisk(home: str | os.PathLike[str] | None = None) -> Installation:
    """Find an Asterisk to run.

    Looked for in this order: ``home`` (the executable, or the folder that holds it), the environment
    variable ``VOXTRA_ASTERISK``, ``.asterisk/`` here and in every folder above, ``~/.cache/voxtra/asterisk``
    and ``/usr/sbin/asterisk``.

    Raises:
        ConfigurationError: there is none; says how to get one.
    """
    named = home if home is not None else os.environ.get("VOXTRA_ASTERISK") or None
    if named is not None:
        source = "home" if home is not None else "VOXTRA_ASTERISK"
        found = _executable(Path(named).expanduser())
        if found is None:
            raise ConfigurationError(
                f"{source}={os.fspath(named)!r} is no Asterisk executable, nor a folder with one"
            )
        return _installation(found)
    here = Path.cwd()
    above = [folder / ".asterisk" for folder in (here, *here.parents)]
    repository = Path(__file__).resolve().parents[2] / ".asterisk"
    cache = Path(os.path.expanduser("~")) / ".cache" / "voxtra" / "asterisk"
    for place in (*above, repository, cache, *_SYSTEM):
        found = _executable(place)
        if found is not None:
            return _installation(found)
    script = template_dir() / "get-asterisk.sh"
    raise ConfigurationError(
        "no Asterisk found: run  make asterisk  in the voxtra repository, or  "
        f"sh {script} ~/.cache/voxtra/asterisk , or name one in VOXTRA_ASTERISK"
    )


def _executable(place: Path) -> Path | None:
    for path in (place, place / "asterisk"):
        try:
            if path.is_file() and os.access(path, os.X_OK):
                return path.absolute()
        except OSError:  # a folder that may not be looked into is no place to find one
            continue
    return None


def _installation(executable: Path) -> Installation:
    unpacked = executable.resolve().parent / "root"
    root = unpacked if (unpacked / "usr/sbin/asterisk").exists() else Path("/")
    places = [*sorted(root.glob("usr/lib/*/asterisk/modules")), root / "usr/lib/asterisk/modules"]
    places += [root / "usr/lib64/asterisk/modules", root / "usr/local/lib/asterisk/modules"]
    modules = next((place for place in places if place.is_dir()), None)
    shares = [root / "usr/share/asterisk", root / "var/lib/asterisk"]
    data = next((place for place in shares if (place / "documentation").is_dir()), None)
    if modules is None or data is None:
        what = "modules" if modules is None else "data (documentation, sounds)"
        raise ConfigurationError(f"{executable} is an Asterisk without its {what}: looked below {root}")
    return Installation(executable, modules, data)


@dataclass(frozen=True)
class Settings:
    """What a private Asterisk is to be like. Ports are chosen already."""

    app: str
    sip_host: str
    sip_port: int
    http_host: str
    http_port: int
    rtp_start: int
    rtp_end: int
    ari_user: str
    ari_password: str
    phones: Mapping[str, str]
    anonymous: bool
    media_client_uri: str | None = None
    verbose: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


def render(settings: Settings, installation: Installation, run_dir: Path) -> dict[str, str]:
    """The configuration: file name → text.

    ``settings.extra`` is added at the end of the file of that name, or makes a new file.

    Raises:
        ConfigurationError: a name or password can't stand in a configuration file.
    """
    _check(settings)
    templates = template_dir()
    wanted = (templates / "modules.txt").read_text().split()
    values = {
        "RUN": str(run_dir),
        "MODULES": str(installation.modules),
        "DATA": str(installation.data),
        "APP": settings.app,
        "ENTITY": ":".join(f"{octet:02x}" for octet in (2, *secrets.token_bytes(5))),
        "LOAD": "\n".join(f"load = {name}.so" for name in _available(wanted, installation.modules)),
        "HTTP_HOST": settings.http_host,
        "HTTP_PORT": str(settings.http_port),
        "ARI_USER": settings.ari_user,
        "ARI_PASSWORD": settings.ari_password,
        "SIP_HOST": settings.sip_host,
        "SIP_PORT": str(settings.sip_port),
        "RTP_START": str(settings.rtp_start),
        "RTP_END": str(settings.rtp_end),
        "MEDIA": _media(settings.sip_host),
        "ACCOUNTS": "\n".join(
            [*map(_account, settings.phones.items()), _ANONYMOUS if settings.anonymous else ""]
        ),
        "MEDIA_CLIENT": _media_client(settings.media_client_uri),
        "VERBOSE": f",verbose({settings.verbose})" if settings.verbose else "",
    }
    files = {
        path.name: re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], path.read_text())
        for path in sorted((templates / "config").glob("*.conf"))
    }
    for name, text in settings.extra.items():
        files[name] = f"{files.get(name, '')}\n{text}\n"
    return files


def _available(wanted: Iterable[str], modules: Path) -> list[str]:
    """Those of ``wanted`` this Asterisk has: an older one lacks some, and they are not missed."""
    return [name for name in wanted if (modules / f"{name}.so").exists()]


def _check(settings: Settings) -> None:
    for what, text in (
        ("app", settings.app),
        ("ari_user", settings.ari_user),
        *(("phone", n) for n in settings.phones),
    ):
        if not _NAME.fullmatch(text):
            raise ConfigurationError(f"{what} {text!r}: letters, digits, '_', '.' and '-' only, at most 64")
    for password in (settings.ari_password, *settings.phones.values()):
        if not password or re.search(r"[\x00-\x20;\\]", password):
            raise ConfigurationError("a password may not be empty nor hold spaces, ';' or '\\'")
    for name in settings.extra:
        if not re.fullmatch(r"[A-Za-z0-9_-]+\.conf", name):
            raise ConfigurationError(
                f"extra {name!r}: want the plain name of a configuration file, as in 'queues.conf'"
            )


def _media(sip_host: str) -> str:
    """Sound stays on the address SIP is on, so that a loopback Asterisk opens nothing to the network."""
    if sip_host in ("0.0.0.0", "::"):
        return ""
    return f"media_address = {sip_host}\nbind_rtp_to_media_address = yes"


def _account(account: tuple[str, str]) -> str:
    name, password = account
    return (
        f"[{name}](phone-common)\nauth = {name}\naors = {name}\ncallerid = {name} <{name}>\n"
        f"[{name}]\ntype = auth\nauth_type = userpass\nusername = {name}\npassword = {password}\n"
        f"[{name}](aor-common)\n"
    )


_ANONYMOUS = "; callers without a login: only ever on loopback\n[anonymous](phone-common)\n"


def _media_client(uri: str | None) -> str:
    if uri is None:
        return ""
    return (
        "[voxtra-media]\ntype = websocket_client\nconnection_type = per_call_config\n"
        f"uri = {uri}\nprotocols = media\nconnection_timeout = 2000\nreconnect_attempts = 1\n"
    )


def free_port(host: str, *, udp: bool) -> int:
    """A port nobody has now, below the range from which the kernel hands out ports by itself.

    So only another search like this one can take it before Asterisk does, and the choice is random.

    Raises:
        ConfigurationError: ``host`` is no address of this machine, or nothing is free.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem: OSError | None = None
    for _ in range(50):
        port = 20000 + secrets.randbelow(12000)
        with socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                problem = error
            else:
                return port
    raise ConfigurationError(f"no port to be had on {host!r}: {problem}")
