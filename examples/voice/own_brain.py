"""A brain of your own on the audio bridge: this one is a parrot, which says everything once more."""

import array
import os
import queue
import threading

from voxtra.voice import Voice

v = Voice(
    base_url=os.environ.get("ENGINE_URL", "http://127.0.0.1:8080"),
    api_key=os.environ["CLUTCHCALL_CREDENTIALS"],
    org_id="org_abc",
)
LOUD = 500
PAUSE = 30  # frames of 20 ms


class Parrot:
    """Hears 20 ms at a time, and says what it heard as soon as there is a pause."""

    def __init__(self, turns: int) -> None:
        self.says: queue.Queue[bytes | None] = queue.Queue()
        self._left = turns
        self._heard = b""
        self._quiet = 0

    def append_audio(self, pcm: bytes, timestamp_us: int) -> None:
        loud = max(map(abs, array.array("h", pcm))) > LOUD
        self._quiet = 0 if loud else self._quiet + 1
        if loud or self._heard:
            self._heard += pcm
        if self._heard and self._quiet == PAUSE:
            self.says.put(self._heard)
            self._heard, self._left = b"", self._left - 1
            if not self._left:
                self.says.put(None)


def custom_agent(to: str) -> str:
    call = v.calls.originate(to=to, from_="+15558675309", trunk_id="trunk_main")
    ended = threading.Event()
    call.on_status(lambda status: ended.set() if status in ("completed", "failed", "no_answer") else None)
    model = Parrot(turns=2)
    # pcm16, so that the model gets raw audio: the bridge converts from and to what the phone has
    bridge = v.audio_bridge.attach(call.sid, codec="pcm16", sample_rate=16000, on_uplink=model.append_audio)
    while not ended.is_set():
        try:
            words = model.says.get(timeout=0.2)
        except queue.Empty:
            continue
        if words is None:  # the model has decided that the call is over
            break
        bridge.publish_downlink(words)
        ended.wait(len(words) / 32000)  # until it is heard
    bridge.close()
    call.hangup()
    return call.sid


print("parroted on", custom_agent("+15551234567"))
v.close()
