"""Where the connection to Asterisk stands, and what is found after a (re)connect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from voxtra.ari.models import Application, Bridge, Channel


class ConnectionState(StrEnum):
    """Where the connection stands."""

    CONNECTING = "connecting"
    """Not ready yet since ``connect``; tries go on."""
    READY = "ready"
    """Connected and reconciled; events flow."""
    LOST = "lost"
    """Was ready, is broken; tries go on."""
    REPLACED = "replaced"
    """Another client took the application's name; no more tries, so as not to fight over it."""
    FAILED = "failed"
    """Asterisk refuses the user or password; no more tries."""
    CLOSED = "closed"
    """Closed by us, or never opened."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What exists on Asterisk right after a (re)connect: events before it are lost, those after it follow.

    An event that came while this was fetched is delivered after it and may tell what is in here already.

    Attributes:
        application: ours, with the ids of the channels and bridges it is subscribed to.
        channels: all channels of this Asterisk, other applications' too.
        bridges: all bridges of this Asterisk.
    """

    application: Application
    channels: tuple[Channel, ...]
    bridges: tuple[Bridge, ...]
