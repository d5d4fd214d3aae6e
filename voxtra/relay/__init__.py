"""The audio bridge: the sound of a call as tracks, over QUIC and WebSocket."""

from voxtra.relay.calls import RelayCalls
from voxtra.relay.reception import Limits, RelayStats
from voxtra.relay.relay import Relay

__all__ = ["Limits", "Relay", "RelayCalls", "RelayStats"]
