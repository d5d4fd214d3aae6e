"""One of the processes of ``voxtra run --workers N``.

Parent and worker talk over one socket, a JSON object a line. The first is the parent's: what to run. Then the
worker: ``{"hello": {"app", "grace"}}`` once the code is loaded, ``{"ready": true}``, and
``{"health": {...}}`` every ``BEAT_S``; the parent: ``{"stop": "drain"}`` or ``{"stop": "now"}``. When the
parent closes the socket, or dies, calls may end and the worker with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtra.cli import options
from voxtra.cli.checks_app import yaml_routes
from voxtra.cli.complain import EXIT_FAILED, guarded
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import StopRequest, run_loop
from voxtra.cli.target import load_app
from voxtra.errors import ConfigurationError
from voxtra.serving import tend

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.config import VoxtraConfig

BEAT_S = 1.0
"""How often a worker says that it lives."""
LONGEST = 256 * 1024
EXIT_TERMINATED = 128 + signal.SIGTERM
"""It ended in good order, by a signal of its own that its parent knows nothing of."""


def main() -> None:
    """``python -m voxtra.cli.worker FD``: started by ``voxtra run --workers`` only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it stops its workers in good order
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = _order(control)
        if order is not None:
            sys.exit(guarded(lambda: _run(order, control), debug=bool(order["debug"])))


def _order(control: socket.socket) -> dict[str, Any] | None:
    """What to run; None when the parent is gone."""
    text = bytearray()
    while not text.endswith(b"\n") and len(text) < LONGEST:
        read = control.recv(1)  # not a byte more: what follows is for the loop's own reader
        if not read:
            return None
        text += read
    order: dict[str, Any] = json.loads(text)
    return order


def _run(order: dict[str, Any], control: socket.socket) -> int:
    set_up_logging(order["log_level"])
    options.load_env_file()
    app = load_app(order["target"])
    file = Path(order["config"]) if order["config"] else None
    settings = options.load_settings(file, order["options"], app.settings)
    set_up_logging(order["log_level"], options.secrets_of(settings), settings.log)
    yaml_routes(settings)
    app.configure(settings.layered(forced=share(settings, order["number"], order["of"])))
    app.processes = order["of"]
    return run_loop(_serve(app, control, order["grace"]))


def share(settings: VoxtraConfig, number: int, of: int) -> dict[str, Any]:
    """What is a worker's own in settings that all have: the app's name, and ports that are fixed.

    Args:
        number: 1 for the first worker.
        of: how many there are.

    Raises:
        ConfigurationError: there are not enough of them.
    """
    media = settings.media
    own: dict[str, Any] = {"asterisk.app_name": f"{settings.asterisk.app_name}-{number}"}
    listen = settings.asterisk.listen_address
    fixed = {"asterisk.listen": listen[1] if listen is not None else 0, "media.bind_port": media.bind_port}
    for name, port in fixed.items():
        if port and port + of - 1 > 65535:
            raise ConfigurationError(f"--workers {of}: {name} {port} is too high to be counted up for each")
    if len(settings.asterisk.app_name) + len(f"-{of}") > 64:
        raise ConfigurationError(f"--workers {of}: the app's name is too long to have a number behind it")
    if listen is not None and listen[1]:
        host = f"[{listen[0]}]" if ":" in listen[0] else listen[0]
        own["asterisk.listen"] = f"{host}:{listen[1] + number - 1}"
    if media.bind_port:
        own["media.bind_port"] = media.bind_port + number - 1
    if media.connection == "client" and media.transport == "websocket":
        own["media.client_id"] = f"{media.client_id}-{number}"
    if media.rtp_ports is not None:
        first, last = media.rtp_ports
        each = (last - first + 1) // of
        if each < 2:
            raise ConfigurationError(
                f"--workers {of}: media.rtp_ports {first}-{last} has not two ports for each"
            )
        own["media.rtp_ports"] = (first + (number - 1) * each, first + number * each - 1)
    return own


async def _serve(app: VoxtraApp, control: socket.socket, grace_s: float | None) -> int:
    reader, writer = await asyncio.open_connection(sock=control.dup(), limit=LONGEST)

    def tell(message: dict[str, Any]) -> None:
        if not writer.is_closing() and writer.transport.get_write_buffer_size() < LONGEST:
            writer.write(json.dumps(message).encode() + b"\n")

    told = False

    async def listen(stop: StopRequest) -> None:
        nonlocal told
        with contextlib.suppress(OSError):
            while text := await reader.readline():
                told = True
                stop.force() if json.loads(text)["stop"] == "now" else stop.ask()
        told = True
        stop.ask()

    async def beat() -> None:
        while True:
            tell({"health": app.health()})
            await asyncio.sleep(BEAT_S)

    with StopRequest(signal.SIGTERM) as stop:
        beside = [asyncio.ensure_future(listen(stop)), asyncio.ensure_future(beat())]
        grace = app.settings.drain.grace if grace_s is None else grace_s
        tell({"hello": {"app": app.app_name, "grace": grace}})
        try:
            in_order = await tend(
                [app], stop, grace_s=grace_s, health=False, on_ready=lambda: tell({"ready": True})
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            writer.close()
    if not in_order:
        return EXIT_FAILED
    return EXIT_TERMINATED if stop.by is not None and not told else stop.code


if __name__ == "__main__":
    main()
