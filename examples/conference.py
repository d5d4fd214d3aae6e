"""Conferences: whoever dials the same extension hears the others; who is alone hears music.

voxtra dev examples/conference.py:app
"""

from collections import defaultdict

from voxtra import CallSession, VoxtraApp

app = VoxtraApp()
rooms: dict[str, list[CallSession]] = defaultdict(list)


@app.default()
async def conference(call: CallSession) -> None:
    room = rooms[call.called_number]
    await call.answer()
    await call.play_file("conf-placeintoconf" if room else "conf-onlyperson")

    @call.on_hangup
    async def leave() -> None:
        room.remove(call)
        if len(room) == 1:
            await room[0].hold()

    there = [other for other in room if other.is_active]  # somebody may be leaving just now
    room.append(call)
    if there:
        await there[0].unhold()
        await call.bridge_with(there[0])  # the first two make a bridge, the others join it
    else:
        await call.hold()
    await call.listen_dtmf(timeout=None)  # until a key is pressed, or the hang-up
