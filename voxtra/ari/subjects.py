"""What an event is about, in the names that ARI subscriptions use: ``channel:ID``, ``bridge:ID`` ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from voxtra.ari.base import ARIModel
from voxtra.ari.events import Message
from voxtra.ari.models import Bridge, Channel, DeviceState, Endpoint, LiveRecording, Playback

_NAMERS: dict[type, Callable[[Any], tuple[str, ...]]] = {
    Channel: lambda c: (f"channel:{c.id}",),
    Bridge: lambda b: (f"bridge:{b.id}",),
    # A playback is also about what it plays to: target_uri is "channel:ID" or "bridge:ID" already.
    Playback: lambda p: (f"playback:{p.id}", p.target_uri),
    LiveRecording: lambda r: (f"recording:{r.name}", r.target_uri),
    Endpoint: lambda e: (f"endpoint:{e.technology}/{e.resource}",),
    DeviceState: lambda d: (f"deviceState:{d.name}",),
}
_RAW = ("channel", "bridge", "playback")


def subjects(event: Message) -> tuple[str, ...]:
    """All that an event is about, each once, the main one first for most events.

    A ``PlaybackFinished`` gives ``("playback:p1", "channel:c1")``, a ``ChannelEnteredBridge``
    ``("bridge:b1", "channel:c1")``. An event of unknown type is searched for fields that hold a channel,
    bridge or playback.
    """
    found: dict[str, None] = {}
    _collect(event, found)
    for name, value in (event.model_extra or {}).items():
        kind = name.rpartition("_")[2]
        if kind in _RAW and isinstance(value, dict) and isinstance(value.get("id"), str):
            found[f"{kind}:{value['id']}"] = None
    return tuple(found)


def channel_ids(event: Message) -> tuple[str, ...]:
    """Ids of the channels an event is about."""
    return tuple(s[8:] for s in subjects(event) if s.startswith("channel:"))


def _collect(model: ARIModel, found: dict[str, None]) -> None:
    for value in model.__dict__.values():
        namer = _NAMERS.get(type(value))
        if namer is not None:
            for subject in namer(value):
                found[subject] = None
        elif isinstance(value, ARIModel):
            _collect(value, found)
