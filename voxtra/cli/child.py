"""The process in which ``voxtra dev`` runs the app: a fresh one for every version of the code.

Parent and child talk over one socket, a JSON object a line. Child: ``{"app": name}`` once the code is loaded;
parent: settings that are above all others; child: ``{"ready": true}``. When the parent closes it, or dies,
the app is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voxtra.cli import options
from voxtra.cli.checks_app import yaml_routes
from voxtra.cli.complain import guarded
from voxtra.cli.log import set_up_logging
from voxtra.cli.serve import StopRequest, run_loop, serve
from voxtra.cli.target import load_app

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp


def main() -> None:
    """``python -m voxtra.cli.child``: started by ``voxtra dev`` only."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends the child in good order
    parser = argparse.ArgumentParser(prog="voxtra.cli.child")
    parser.add_argument("target")
    parser.add_argument("fd", type=int)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--log-level", default="info")
    parser.add_argument("--grace", type=float, default=3.0)
    parser.add_argument("--debug", action="store_true")
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: _run(arguments), debug=arguments.debug))


def _run(arguments: argparse.Namespace) -> int:
    set_up_logging(arguments.log_level)
    with socket.socket(fileno=arguments.fd) as control:
        options.load_env_file()  # here, not in the parent: a change of it is a change of the code
        app = load_app(arguments.target)
        settings = options.load_settings(arguments.config, {}, app.settings)
        yaml_routes(settings)
        control.sendall(_line({"app": settings.asterisk.app_name}))
        with control.makefile("r") as lines:
            text = lines.readline()
        if not text:
            return 0  # the parent is gone or has changed its mind
        settings = settings.layered(forced=json.loads(text))
        set_up_logging(arguments.log_level, options.secrets_of(settings), settings.log)
        app.configure(settings)
        return run_loop(_serve(app, control, arguments.grace))


async def _serve(app: VoxtraApp, control: socket.socket, grace_s: float) -> int:
    control.setblocking(False)
    loop = asyncio.get_running_loop()
    with StopRequest(signal.SIGTERM) as stop:
        loop.add_reader(control, stop.ask)  # the parent has nothing more to say than goodbye
        try:
            return await serve(
                app, stop, grace_s=grace_s, on_ready=lambda: control.sendall(_line({"ready": True}))
            )
        finally:
            loop.remove_reader(control)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


if __name__ == "__main__":
    main()
