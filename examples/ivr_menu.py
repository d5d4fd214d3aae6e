"""A menu of keys, from prompts that every Asterisk has. No speech engine is needed.

    voxtra dev examples/ivr_menu.py:app

A key may be pressed before the prompt is over. The caller has three tries, then is told goodbye.
"""

from voxtra import CallSession, VoxtraApp

app = VoxtraApp()


@app.default()
async def menu(call: CallSession) -> None:
    await call.answer()
    for _ in range(3):
        await call.play_file("basic-pbx-ivr-main", interrupt_by="dtmf")
        match await call.listen_dtmf(timeout=5):
            case "1":
                await spell(call)
            case "2":
                await call.play_file("tt-monkeys", interrupt_by="dtmf")
            case None:
                await call.play_file("please-try-again")
            case _:
                await call.play_file("pbx-invalid")
    await call.play_file("vm-goodbye")


async def spell(call: CallSession) -> None:
    """A number of any length, ended by ``#``, read back digit by digit."""
    await call.play_file(["vm-enter-num-to-call", "astcc-followed-by-the-pound-key"], interrupt_by="dtmf")
    number = await call.listen_dtmf(max_digits=20, timeout=10, inter_digit_timeout=4)
    if number:
        await call.play_file(["you-entered", f"digits:{number}"])
    else:  # None: nothing came in time; "": only the # was pressed
        await call.play_file("vm-sorry")
