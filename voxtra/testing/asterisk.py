"""A real Asterisk of one's own: starts in half a second, touches nothing of the machine's, and goes away."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from voxtra.errors import ConfigurationError, TelephonyError
from voxtra.testing.asterisk_config import Installation, Settings, find_asterisk, free_port, render

_LONGEST_SOCKET = 107  # bytes of a Unix socket's path, sun_path in unix(7) less its NUL
_RTP_PORTS = 2000

# Asterisk must not outlive whoever started it, even if that was killed: prctl(PR_SET_PDEATHSIG, SIGKILL) and
# exec. In a small program of its own, because code between fork and exec is unsafe beside threads.
_DIES_WITH_PARENT = (
    "import ctypes, os, sys\n"
    "getattr(ctypes.CDLL(None), 'prctl', lambda *a: 0)(1, 9)\n"
    "os.getppid() == int(sys.argv[1]) or sys.exit('the parent is gone')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

_known: weakref.WeakSet[PrivateAsterisk] = weakref.WeakSet()


class AsteriskError(TelephonyError):
    """The private Asterisk did not start, or died. The message ends with the last lines of its log."""


class PrivateAsterisk:
    """An Asterisk with a configuration, directories and ports of its own.

    ::

        async with PrivateAsterisk(app="voxtra") as asterisk:
            print(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password)
            print(await asterisk.rx("core show channels"))

    Dialling any extension leads to ``Stasis(app)``, with a spoken fallback when no app is connected; 600 is
    an echo, 601 a 1004 Hz tone, 602 a prompt, 603 early media, 604 busy, 605 rings for a minute, and
    ``call-NAME`` rings the phone registered as NAME. It is bound to no event loop: start it in one, use and
    stop it in another. Start it in the main thread: the kernel ends it together with the *thread* that
    started it.

    Args:
        home: the executable or its folder; None looks for it (see ``find_asterisk``).
        app: name of the Stasis application.
        run_dir: where configuration, logs and recordings live; None makes one under the temporary folder, and
            removes it at the end. One that is given is made if need be and kept.
        sip_host: address for SIP and RTP.
        sip_port, http_port: 0 chooses a free one.
        http_host: address of ARI and of the media WebSocket.
        ari_user, ari_password: None makes up a password.
        phones: SIP accounts, name → password; None makes ``{"phone": <random>, "phone2": <random>}``.
        anonymous: whether calls without a login are taken; None takes them on loopback only.
        media_client_uri: ``ws://`` listener of the app for ``external_host="voxtra-media"`` with
            ``connection_type="client"``.
        verbose: level of Asterisk's verbose messages in the log, 0 for none.
        extra: more configuration: file name → text, added to the end of ours.
    """

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        *,
        app: str = "voxtra",
        run_dir: str | os.PathLike[str] | None = None,
        sip_host: str = "127.0.0.1",
        sip_port: int = 0,
        http_host: str = "127.0.0.1",
        http_port: int = 0,
        ari_user: str = "voxtra",
        ari_password: str | None = None,
        phones: Mapping[str, str] | None = None,
        anonymous: bool | None = None,
        media_client_uri: str | None = None,
        verbose: int = 0,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self._home = home
        self._given_run_dir = Path(run_dir).absolute() if run_dir is not None else None
        self._wanted_ports = (sip_port, http_port)
        self._media_client_uri = media_client_uri
        self._verbose = verbose
        self._extra = dict(extra or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._anonymous = _is_loopback(sip_host) if anonymous is None else anonymous
        self.app = app
        self.sip_host = sip_host
        self.sip_port = sip_port
        self.http_host = http_host
        self.http_port = http_port
        self.ari_user = ari_user
        self.ari_password = ari_password or secrets.token_urlsafe(18)
        self.phones: dict[str, str] = dict(phones) if phones is not None else _made_up("phone", "phone2")
        self.run_dir = Path()
        self.installation: Installation | None = None
        _known.add(self)

    @classmethod
    def running(cls) -> list[PrivateAsterisk]:
        """Those that this process has running now."""
        return [each for each in _known if each._process is not None]

    @property
    def ari_url(self) -> str:
        """Root of its HTTP server, ``"http://127.0.0.1:8088"``; ARI is below ``/ari``."""
        return f"http://{_reachable(self.http_host)}:{self.http_port}"

    @property
    def pid(self) -> int:
        """Its process id. Raises AsteriskError when it isn't running."""
        if self._process is None:
            raise AsteriskError("this Asterisk is not running: start() it first")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """Its log: notices, warnings and errors."""
        return self.run_dir / "log" / "messages.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self, *, deadline_s: float = 30.0) -> None:
        """Start it and wait until it takes calls. Tries other ports when a chosen one was taken meanwhile.

        Raises:
            ConfigurationError: no Asterisk on this machine, or a setting is wrong.
            AsteriskError: it did not start within ``deadline_s``.
        """
        if self._process is not None:
            return
        self.installation = find_asterisk(self._home)
        attempts = 1 if all(self._wanted_ports) else 3
        for attempt in range(1, attempts + 1):
            try:
                self._prepare(self.installation)
                self._spawn()
                async with asyncio.timeout(deadline_s):
                    await self._booted()
                    taken = await self._ports_taken()
                if not taken:
                    return
                problem = f"{taken} is in use by another program"
                if any(port and str(port) in taken for port in self._wanted_ports):
                    attempt = attempts  # no other port was allowed
            except TimeoutError:
                problem = f"not ready after {deadline_s:.0f} s"
                attempt = attempts
            except BaseException:
                await self.stop()
                raise
            last_words = self.log_tail()
            await self.stop()
            if attempt == attempts:
                raise AsteriskError(f"Asterisk did not start: {problem}\n{last_words}")

    async def stop(self, *, deadline_s: float = 5.0) -> None:
        """End it: SIGTERM, and SIGKILL after ``deadline_s``. Idempotent."""
        process, self._process = self._process, None
        try:
            if process is not None:
                await _end(process, deadline_s)
        finally:
            if self._given_run_dir is None and self.run_dir != Path():
                shutil.rmtree(self.run_dir, ignore_errors=True)
                self.run_dir = Path()

    async def rx(self, command: str, *, deadline_s: float = 10.0) -> str:
        """What Asterisk's command line answers to ``command``, as in ``rx("core show channels")``.

        Raises:
            AsteriskError: it isn't running, or did not answer.
        """
        _ = self.pid
        code, said = await self._rx(command, deadline_s)
        if code != 0:
            raise AsteriskError(
                f"asterisk -rx {command!r} failed ({code}): {said.strip()}\n{self.log_tail()}"
            )
        return said

    def log_tail(self, lines: int = 25) -> str:
        """The last lines of what Asterisk logged and printed."""
        tail: list[str] = []
        for path in (self.run_dir / "log" / "console", self.log_path):
            with contextlib.suppress(OSError):
                tail += path.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(tail[-lines:])

    def _prepare(self, installation: Installation) -> None:
        self.run_dir = self._given_run_dir or _short_temporary_folder()
        if len(os.fsencode(self.run_dir / "ctl")) > _LONGEST_SOCKET:
            raise ConfigurationError(
                f"run_dir {str(self.run_dir)!r} is too long for the path of a Unix socket"
            )
        sip_port, http_port = self._wanted_ports
        self.sip_port = sip_port or free_port(self.sip_host, udp=True)
        self.http_port = http_port or free_port(self.http_host, udp=False)
        rtp_start = 10000 + 2 * secrets.randbelow((10000 - _RTP_PORTS) // 2)
        settings = Settings(
            app=self.app,
            sip_host=self.sip_host,
            sip_port=self.sip_port,
            http_host=self.http_host,
            http_port=self.http_port,
            rtp_start=rtp_start,
            rtp_end=rtp_start + _RTP_PORTS - 1,
            ari_user=self.ari_user,
            ari_password=self.ari_password,
            phones=self.phones,
            anonymous=self._anonymous,
            media_client_uri=self._media_client_uri,
            verbose=self._verbose,
            extra=self._extra,
        )
        files = render(settings, installation, self.run_dir)
        try:
            for name in ("etc", "lib/keys", "spool/recording", "log", "cache"):
                (self.run_dir / name).mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                path = self.run_dir / "etc" / name
                path.touch(mode=0o600)
                path.write_text(text)
        except OSError as error:
            raise ConfigurationError(f"can't write the configuration to {self.run_dir}: {error}") from error

    @property
    def _command(self) -> list[str]:
        assert self.installation is not None
        return [str(self.installation.executable), "-C", str(self.run_dir / "etc" / "asterisk.conf")]

    def _spawn(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        trampoline = [sys.executable, "-I", "-S", "-c", _DIES_WITH_PARENT, str(os.getpid())]
        with (self.run_dir / "log" / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [*trampoline, *self._command, "-f"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                cwd=self.run_dir,
                env=environment | {"HOME": str(self.run_dir)},
                start_new_session=True,  # Ctrl-C at the terminal is for the program, which then ends Asterisk
            )

    async def _booted(self) -> None:
        process = self._process
        assert process is not None
        while True:
            if (status := process.poll()) is not None:
                self._process = None
                raise AsteriskError(f"Asterisk died while starting ({_status(status)})\n{self.log_tail()}")
            if (self.run_dir / "ctl").exists():
                code, said = await self._rx("core waitfullybooted", 10.0)
                if code == 0 and "fully booted" in said:
                    return
            await asyncio.sleep(0.02)

    async def _ports_taken(self) -> str:
        """Which of our ports Asterisk could not get, "" when all is well. It goes on without them."""
        if f":{self.http_port}" not in (await self._rx("http show status", 5.0))[1]:
            return f"TCP port {self.http_port} on {self.http_host}"
        if f":{self.sip_port}" not in (await self._rx("pjsip show transports", 5.0))[1]:
            return f"UDP port {self.sip_port} on {self.sip_host}"
        return ""

    async def _rx(self, command: str, deadline_s: float) -> tuple[int, str]:
        client = await asyncio.create_subprocess_exec(
            *self._command,
            "-rx",
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HOME": str(self.run_dir)},
        )
        try:
            async with asyncio.timeout(deadline_s):
                out, _ = await client.communicate()
        except TimeoutError:
            return -1, f"no answer within {deadline_s:.0f} s"
        finally:
            if client.returncode is None:
                client.kill()
                await client.wait()
        return client.returncode or 0, out.decode(errors="replace")


async def _end(process: subprocess.Popen[bytes], deadline_s: float) -> None:
    for number, patience in ((signal.SIGTERM, deadline_s), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        until = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < until:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        if process.returncode is not None:
            return
    raise AsteriskError(f"Asterisk, process {process.pid}, would not end")


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def _short_temporary_folder() -> Path:
    for base in (tempfile.gettempdir(), "/tmp"):
        if len(os.fsencode(base)) < 70:
            return Path(tempfile.mkdtemp(prefix="vx-ast-", dir=base))
    return Path(tempfile.mkdtemp(prefix="vx-ast-"))


def _made_up(*names: str) -> dict[str, str]:
    return {name: secrets.token_urlsafe(12) for name in names}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        try:
            return ipaddress.ip_address(socket.gethostbyname(host)).is_loopback
        except OSError:
            return False


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
