"""The smallest app: answers, plays a prompt of Asterisk's own, hangs up. Needs no speech engine.

voxtra dev examples/hello.py:app
"""

from voxtra import CallSession, VoxtraApp

app = VoxtraApp()


@app.default()
async def hello(call: CallSession) -> None:
    await call.answer()
    await call.play_file("hello-world")
