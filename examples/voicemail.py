"""A mailbox for every extension: a greeting, a beep, a message, and word of it to whoever it is for.

    voxtra dev examples/voicemail.py:app

A key skips the greeting. A message ends with a key, with the hang-up, or after two minutes.
"""

from collections.abc import Callable

from voxtra import CallSession, LocalFileSink, RecordingMetadata, VoxtraApp

SHORTEST_S = 1.0


class Mailbox(LocalFileSink):
    """Keeps messages as files, and tells of each once it is whole. A mail would be sent here."""

    def __init__(self, folder: str, tell: Callable[[str], object]) -> None:
        super().__init__(folder)
        self.tell = tell

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        if (metadata.duration_seconds or 0) < SHORTEST_S:
            return  # somebody who hung up at the beep
        await super().on_recording_complete(metadata)
        self.tell(f"{metadata.file_path}: {metadata.duration_seconds:.0f} s")


app = VoxtraApp(recording_sink=Mailbox("voicemail", print))


@app.default()
async def voicemail(call: CallSession) -> None:
    box = call.called_number
    await call.answer()
    await call.play_file(["vm-theperson", f"digits:{box}", "vm-isunavail"])
    await call.play_file("vm-intro", interrupt_by="dtmf")
    await call.play_file("beep")
    while await call.listen_dtmf(timeout=0) is not None:
        pass  # the key that skipped the greeting is not the message's end
    await call.record_start(f"{box}/{call.id}")
    ended_by_key = await call.listen_dtmf(timeout=120)
    await call.record_stop()
    if ended_by_key is not None:
        await call.play_file("vm-msgsaved")
