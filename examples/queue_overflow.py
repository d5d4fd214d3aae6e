"""A support line: the queue for a while, then somebody on call, then a message to be called back.

    OVERFLOW=PJSIP/phone2 voxtra dev examples/queue_overflow.py:app

Wants a queue "support" and the context voxtra-queue: see docs/asterisk.md. `voxtra dev` has both.
"""

import os

from voxtra import CallSession, LocalFileSink, VoxtraApp

PATIENCE_S = float(os.environ.get("PATIENCE_S", "60"))
OVERFLOW = os.environ.get("OVERFLOW", "PJSIP/phone2")

app = VoxtraApp(recording_sink=LocalFileSink("call-back"))


@app.default()
async def support(call: CallSession) -> None:
    # The queue's agents see what is known of the caller as channel variables.
    queue = await call.transfer_to_queue("support", {"CUSTOMER": call.caller_id}, timeout=PATIENCE_S)
    if queue or queue.reason == "hangup":
        return  # an agent took the call, or the caller gave up
    await call.play_file("pls-hold-while-try")
    on_call = await call.transfer_to(OVERFLOW, timeout=20)
    if not on_call and on_call.reason != "hangup":
        await leave_message(call)


async def leave_message(call: CallSession) -> None:
    await call.play_file(["vm-nobodyavail", "beep"])
    while await call.listen_dtmf(timeout=0) is not None:
        pass  # keys that were pressed in the queue are not the message's end
    await call.record_start(f"{call.caller_id}-{call.id}")
    await call.listen_dtmf(timeout=120)  # until a key, or the hang-up, which keeps the recording too
    await call.record_stop()
    await call.play_file("vm-goodbye")
