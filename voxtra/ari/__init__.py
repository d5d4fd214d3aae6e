"""Asterisk's REST interface (ARI), all of it, typed; usable alone.

    import asyncio
    from contextlib import suppress
    from voxtra.ari import ARIClient, ChannelDtmfReceived, StasisStart
    from voxtra.errors import ARINotFoundError

    async def handle(ari, event):
        match event:
            case StasisStart(channel=channel):
                await ari.channels.answer(channel_id=channel.id)
                await ari.channels.play(channel_id=channel.id, media="sound:hello-world")
            case ChannelDtmfReceived(digit="#", channel=channel):
                await ari.channels.hangup(channel_id=channel.id)

    async def main():
        async with ARIClient("http://127.0.0.1:8088", "user", "password", app="hello") as ari:
            async with ari.events(types=["StasisStart", "ChannelDtmfReceived"]) as events:
                async for event in events:
                    with suppress(ARINotFoundError):  # the caller may hang up at any moment
                        await handle(ari, event)

    asyncio.run(main())

**Operations** are methods of ``ari.channels``, ``ari.bridges`` ... named as in Asterisk's schema, in
snake_case, with keyword arguments; they return pydantic models and raise :class:`~voxtra.errors.ARIError` by
kind. They go over the events WebSocket where Asterisk answers there, else over HTTP.

**Ids** of channels are best made before the request (``channel_id=``), so that a stream is open before the
first event. Asterisk (22.10) compares them without case, and refuses with 409 an id that is the beginning of
a living channel's: with ``call-10`` alive there can be no ``call-1``. Make them of one length, or random.

**Events** are classes named as in the schema; an unknown type comes as a plain :class:`Event` with its raw
fields. ``ari.on_event(callback)`` gets all of them in order; ``async with ari.events(channel_id=...)`` is a
stream with a bounded queue of its own. :func:`subjects` tells what an event is about.

**The connection** notices within ``heartbeat_s`` that Asterisk is gone, connects again with growing, jittered
waits, and then gives ``on_resync`` callbacks a :class:`Snapshot` before any new event. It waits for an
Asterisk that is not there yet; it gives up when the password is refused (``failed``) or when another client
takes the application's name (``replaced``).

``models``, ``events`` and ``operations`` are generated: ``python -m voxtra.ari.generate SCHEMA_DIR``.
"""

from voxtra.ari.client import ARIClient
from voxtra.ari.events import (
    ApplicationReplaced,
    BridgeDestroyed,
    ChannelDestroyed,
    ChannelDtmfReceived,
    ChannelEnteredBridge,
    ChannelHangupRequest,
    ChannelLeftBridge,
    ChannelStateChange,
    Event,
    PlaybackFinished,
    PlaybackStarted,
    RecordingFailed,
    RecordingFinished,
    StasisEnd,
    StasisStart,
)
from voxtra.ari.fanout import EventStream
from voxtra.ari.listener import ARIListener
from voxtra.ari.models import Application, Bridge, CallerID, Channel, LiveRecording, Playback, StoredRecording
from voxtra.ari.state import ConnectionState, Snapshot
from voxtra.ari.subjects import channel_ids, subjects

__all__ = [
    "ARIClient",
    "ARIListener",
    "Application",
    "ApplicationReplaced",
    "Bridge",
    "BridgeDestroyed",
    "CallerID",
    "Channel",
    "ChannelDestroyed",
    "ChannelDtmfReceived",
    "ChannelEnteredBridge",
    "ChannelHangupRequest",
    "ChannelLeftBridge",
    "ChannelStateChange",
    "ConnectionState",
    "Event",
    "EventStream",
    "LiveRecording",
    "Playback",
    "PlaybackFinished",
    "PlaybackStarted",
    "RecordingFailed",
    "RecordingFinished",
    "Snapshot",
    "StasisEnd",
    "StasisStart",
    "StoredRecording",
    "channel_ids",
    "subjects",
]
