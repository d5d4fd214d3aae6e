"""Run an app as a command does: until it is told to stop, with an exit code."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from voxtra import serving
from voxtra.cli.complain import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK
from voxtra.errors import ConfigurationError
from voxtra.serving import run_loop as run_loop
from voxtra.serving import tend

if TYPE_CHECKING:
    import signal

    from voxtra.app import VoxtraApp

log = logging.getLogger("voxtra.cli")

GraceOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="How long calls may go on once it is told to stop [default: drain.grace, 10].",
        show_default=False,
    ),
]
HealthOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="[HOST:]PORT",
        help="Answer /healthz and /readyz there [default: server.port, none].",
        show_default=False,
    ),
]


class StopRequest(serving.StopRequest):
    """:class:`voxtra.serving.StopRequest` with its exit code; the second signal is hard."""

    def __init__(self, *signals: signal.Signals) -> None:
        super().__init__(*signals, hard=True)

    @property
    def code(self) -> int:
        """Exit code of an orderly end: Ctrl-C is 130, anything else is what was wanted, 0."""
        return EXIT_INTERRUPTED if self.by is not None and self.by.name == "SIGINT" else EXIT_OK


async def serve(
    app: VoxtraApp, stop: StopRequest, *, grace_s: float | None, on_ready: Callable[[], None] = lambda: None
) -> int:
    """Start ``app``, wait for ``stop``, stop it, and return the exit code.

    Args:
        grace_s: how long calls may go on then; None = the app's own setting.
        on_ready: called once the app takes calls.

    Raises:
        VoxtraError: the app can't start, or failed for good while running.
    """
    in_order = await tend([app], stop, grace_s=grace_s, on_ready=on_ready)
    return stop.code if in_order else EXIT_FAILED


def run_app(app: VoxtraApp, grace_s: float | None) -> int:
    """:func:`serve` until a signal comes, and a word once calls are taken."""

    def ready() -> None:
        log.info("ready: calls that reach Stasis(%s) on %s are answered", app.app_name, app.ari.url)

    async def main() -> int:
        with StopRequest() as stop:
            return await serve(app, stop, grace_s=grace_s, on_ready=ready)

    return run_loop(main())


def serving_options(grace: float | None, health: str | None) -> dict[str, Any]:
    """``--grace`` and ``--health`` as settings. Raises ConfigurationError."""
    given: dict[str, Any] = {} if grace is None else {"drain.grace": grace}
    if health is not None:
        host, port = host_and_port("--health", health)
        given |= {"server.port": port, **({"server.host": host} if host else {})}
    return given


def host_and_port(option: str, text: str) -> tuple[str, int]:
    """``[HOST:]PORT``, the host "" when it is not named. Raises ConfigurationError."""
    found = re.fullmatch(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:.]+\]):)?(?P<port>\d{1,5})", text)
    if found is None or int(found["port"]) > 65535:
        raise ConfigurationError(f"{option} {text!r}: write PORT or HOST:PORT, as in 8081 or 0.0.0.0:8081")
    return (found["host"] or "").strip("[]"), int(found["port"])
