"""An operator who asks before putting a call through: the colleague hears who it is, and accepts with 1.

    AGENT=PJSIP/phone2 voxtra dev examples/warm_transfer.py:app

The caller hears music meanwhile, and is told when nobody takes the call.
"""

import os

from voxtra import CallSession, VoxtraApp

AGENT = os.environ.get("AGENT", "PJSIP/phone2")
SORRY = {"busy": "vm-isonphone", "declined": "cancelled"}

app = VoxtraApp()


@app.default()
async def operator(call: CallSession) -> None:
    async def brief(agent: CallSession) -> None:
        """Runs on the colleague's call, before the two hear each other."""
        number = call.caller_id
        who = f"digits:{number}" if number.isdigit() else "vm-unknown-caller"
        await agent.play_file(["followme/call-from", who])
        await agent.play_file(["vm-press", "digits:1"], interrupt_by="dtmf")

    await call.answer()
    await call.play_file("pls-hold-while-try")
    result = await call.transfer_warm(AGENT, brief=brief, accept="1", timeout=20, accept_timeout=10)
    if result:
        return  # the two talk; the call is no longer the handler's
    await call.play_file([SORRY.get(result.reason, "vm-nobodyavail"), "vm-goodbye"])
