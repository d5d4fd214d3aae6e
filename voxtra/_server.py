"""Settings of a process that serves: where it tells how it is, and how it stops."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voxtra._settings import Settings

Port = Annotated[int, Field(ge=0, le=65535)]


class DrainConfig(Settings):
    """What becomes of calls when the app is told to stop.

    Attributes:
        grace: how long calls under way may go on, in s.
        leftover: what becomes of those that are left then.
        goto: where calls go back to, as in ``Goto()``: a priority or label, ``exten,priority`` or
            ``context,exten,priority``; "" = behind ``Stasis()``.
    """

    section = "drain"
    grace: float = Field(10.0, ge=0, le=86400, allow_inf_nan=False)
    leftover: Literal["dialplan", "hangup"] = "dialplan"
    goto: str = Field("", pattern=r"^([\w.+*#@-]+(,[\w.+*#@-]+){0,2})?$")


class ServerConfig(Settings):
    """Where ``/healthz``, ``/readyz`` and ``/metrics`` are answered over HTTP.

    Attributes:
        port: TCP port, 0 = a free one; none = nowhere.
        host: address to listen on.
    """

    section = "server"
    port: Port | None = None
    host: str = Field("127.0.0.1", min_length=1)
