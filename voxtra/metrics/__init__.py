"""What a call came to: each turn's wait by its owner, interruptions, tokens, tools, sound.

``call.metrics`` holds it on every call. :mod:`voxtra.metrics.prometheus` and :mod:`voxtra.metrics.otel` tell
it to other systems.
"""

from voxtra.metrics.call import CallMetrics, MediaMetrics, ToolMetrics, TurnMetrics

__all__ = ["CallMetrics", "MediaMetrics", "ToolMetrics", "TurnMetrics"]
