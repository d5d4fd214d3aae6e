"""Calls somebody to remind them of an appointment; a machine that answers is left a message.

    python examples/outbound_reminder.py PJSIP/alice "tomorrow at nine"

Asterisk is the one of VOXTRA_ARI_URL, VOXTRA_ARI_USER and VOXTRA_ARI_PASSWORD.
"""

import asyncio
import sys

from voxtra import CallEndedError, CallSession, VoxtraApp
from voxtra.errors import OriginateError

app = VoxtraApp(stt="local", tts="local", vad="local")


async def remind(endpoint: str, when: str) -> str:
    """``yes``, ``no``, ``unsure``, ``message``, ``hangup``; or ``busy``, ``no_answer``, ``rejected``, ``failed``."""
    try:
        call = await app.originate(endpoint, timeout=30, caller_id="Acme <4711>")
    except OriginateError as error:
        return error.outcome
    try:
        answered = await call.detect_machine()
        return await (leave_message if answered.who == "machine" else ask)(call, when)
    except CallEndedError:
        return "hangup"
    finally:
        await call.hangup()


async def ask(call: CallSession, when: str) -> str:
    await call.listen(timeout=0.1)  # the "Hello?" they answered with is no answer to what is asked now
    await call.say(f"Hello, this is Acme. You have an appointment {when}. Will you come?")
    for again in ("Sorry, will you come? Please say yes or no.", ""):
        said = await call.listen(timeout=6)
        words = set((said.text if said else "").lower().replace(".", " ").replace(",", " ").split())
        if answers := words & {"yes", "no"}:
            await call.say("Thank you. Goodbye.", interruptible=False)
            return answers.pop()
        await call.say(again)
    return "unsure"


async def leave_message(call: CallSession, when: str) -> str:
    while await call.listen(timeout=1.5):
        pass  # its greeting; whoever speaks before its end is not recorded
    await call.say(f"This is Acme. You have an appointment {when}. Goodbye.", interruptible=False)
    return "message"


async def main(endpoint: str, when: str) -> None:
    await app.start()
    print(await remind(endpoint, when))
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
