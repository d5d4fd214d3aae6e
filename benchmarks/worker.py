"""The app under test, in a process of its own: ``python -m benchmarks.worker [--local | --barge]`` on uvloop.

What a call gets depends on what was dialled: ``echo`` sends back all it hears, ``greet`` says a prepared
greeting, ``chat`` holds a conversation of one turn, ``talk`` speaks until it is flushed, ``speak`` says long
things until it is hung up. The environment says where Asterisk is (VOXTRA_ARI_URL ...).
"""

from __future__ import annotations

import asyncio
import gc
import struct
import sys
import time
from collections import deque
from collections.abc import AsyncIterator

from benchmarks.meter import Profiler, descriptors_of, profiled, rss_of
from benchmarks.process import Answer, run_child, serve
from benchmarks.report import percentile
from benchmarks.sound import RATE, voice
from voxtra import CallSession, VoxtraApp
from voxtra.media.line import Line
from voxtra.serving import spare_collector
from voxtra.speech.base import TTS, Speech
from voxtra.speech.cache import CachedTTS

GREETING = "Welcome to Acme. How can I help you?"
LONG_TEXT = "A long story."
TALK_S = 8.0


class BuzzTTS(TTS):
    """A voice that costs nothing, so that what is measured is what carries it."""

    name = "buzz"
    rate = RATE

    async def synthesize(
        self, text: str, *, voice: str | None = None, language: str | None = None
    ) -> AsyncIterator[Speech]:
        """A second and a half of buzz, or the long one."""
        yield Speech(LONG if text == LONG_TEXT else BUZZ, RATE)


BUZZ = voice(1.5)
LONG = voice(TALK_S)


class Worker:
    """The app and what is asked about it."""

    def __init__(self, app: VoxtraApp) -> None:
        self.app = app
        self.talking: asyncio.Queue[CallSession] = asyncio.Queue(maxsize=64)
        self.flushed: CallSession | None = None
        self.calls = 0
        self.ended = 0
        self.failed = 0
        self._lags: deque[float] = deque(maxlen=100_000)
        self._delays: deque[float] = deque(maxlen=20_000)
        self._profiler: Profiler | None = None
        self._lag_task: asyncio.Task[None] | None = None
        self.app.default()(self.handle)

    async def handle(self, call: CallSession) -> None:
        """Every call."""
        self.calls += 1
        try:
            handlers = {"chat": chat, "greet": greet, "speak": speak, "talk": self.talk}
            await handlers.get(call.called_number, echo)(call)
        finally:
            self.ended += 1

    async def talk(self, call: CallSession) -> None:
        """Lend the call's line to ``flush``."""
        await call.answer()
        await call._live.sound()
        await self.talking.put(call)
        async for _ in call.audio_stream():
            pass

    async def start(self) -> Answer:
        """Start the app, and warm up what it speaks with."""
        began = time.monotonic()
        await self.app.start()
        spare_collector()  # as voxtra.serve does
        return {"seconds": time.monotonic() - began}

    async def stop(self) -> Answer:
        """Stop the app."""
        if self._lag_task is not None:
            self._lag_task.cancel()
        await self.app.stop()
        return {}

    async def usage(self, collect: bool = False) -> Answer:
        """Memory, CPU and what is open, now; ``collect`` has garbage collected before (it blocks a while)."""
        if collect:
            gc.collect()
        return {
            "cpu": time.process_time(),
            "at": time.monotonic(),
            "rss": rss_of(),
            "descriptors": descriptors_of(),
            "tasks": len(asyncio.all_tasks()),
            "active": len(self.app.active_sessions),
            "calls": self.calls,
            "ended": self.ended,
        }

    async def lag(self) -> Answer:
        """How late the loop's timers were since it was asked last, ms; the first time, watching begins."""
        if self._lag_task is None:
            self._lag_task = asyncio.create_task(self._watch_lag())
        lags = [lag * 1000 for lag in self._lags]
        self._lags.clear()
        return {"p50": percentile(lags, 0.5), "p99": percentile(lags, 0.99), "max": max(lags)} if lags else {}

    async def probe(self) -> Answer:
        """Open a socket that takes packets with the time (s, monotonic, a double) in front; its port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Probe(self._delays), ("127.0.0.1", 0))
        return {"port": transport.get_extra_info("sockname")[1]}

    async def delays(self) -> Answer:
        """How long those packets waited since it was asked last, ms."""
        found = list(self._delays)
        self._delays.clear()
        return {"ms": found}

    async def profile(self, seconds: float) -> Answer:
        """Where the time goes."""
        return {"profile": await profiled(seconds)}

    async def profile_start(self) -> Answer:
        """Begin a profile that ``profile_stop`` ends."""
        self._profiler = Profiler()
        return {}

    async def profile_stop(self) -> Answer:
        """Where the time went."""
        assert self._profiler is not None
        return {"profile": self._profiler.stop()}

    async def play(self) -> Answer:
        """Begin to speak on the call that was dialled as ``talk``."""
        async with asyncio.timeout(10):
            call = self.flushed = self.flushed or await self.talking.get()
        line_of(call).play(LONG)
        return {}

    async def flush(self) -> Answer:
        """Throw away what is being said; when that was asked for, and how long it took."""
        assert self.flushed is not None
        began = time.monotonic()
        await line_of(self.flushed).flush()
        return {"at": began, "seconds": time.monotonic() - began}

    async def _watch_lag(self) -> None:
        while True:
            due = time.monotonic() + 0.02
            await asyncio.sleep(0.02)
            self._lags.append(max(0.0, time.monotonic() - due))


class _Probe(asyncio.DatagramProtocol):
    def __init__(self, delays: deque[float]) -> None:
        self._delays = delays

    def datagram_received(self, data: bytes, addr: object) -> None:
        (sent,) = struct.unpack_from("!d", data)
        self._delays.append((time.monotonic() - sent) * 1000)


async def echo(call: CallSession) -> None:
    """Send back every frame."""
    await call.answer()
    async for chunk in call.audio_stream():
        await call.send_audio(chunk)


async def chat(call: CallSession) -> None:
    """One turn of a conversation: everything that hears, thinks and speaks is used."""
    await call.answer()
    await call.say(GREETING)
    heard = await call.listen(timeout=10)
    reply = await call.agent.respond(heard.text if heard else "")
    await call.say(reply.text or GREETING)


async def greet(call: CallSession) -> None:
    """Say the greeting."""
    await call.answer()
    await call.say(GREETING)
    async for _ in call.audio_stream():
        pass


async def speak(call: CallSession) -> None:
    """Say something long, and again a while after the caller cut in."""
    await call.answer()
    while call.is_active:
        await call.say(LONG_TEXT)
        await asyncio.sleep(0.8)


def line_of(call: CallSession) -> Line:
    """The sound of a call; not public, because a handler has verbs for it."""
    media = call._live.media
    assert media is not None
    return media.line


def make_app(options: list[str]) -> VoxtraApp:
    """The app: with the embedded engines (``--local``), or without; ``--barge`` takes any voice for an
    interruption at once."""
    if "--local" in options:
        from voxtra.speech import local
        from voxtra.speech.intents import IntentLLM

        stt, tts, vad, llm = local(IntentLLM())
        return VoxtraApp(stt=stt, llm=llm, tts=tts, vad=vad)
    turns = {"barge_confirm_ms": 0, "cancel_min_interval_ms": 0} if "--barge" in options else None
    return VoxtraApp(tts=CachedTTS(BuzzTTS()), turn_detection=turns)


async def main() -> None:
    worker = Worker(make_app(sys.argv[1:]))
    profiles = ("profile", "profile_start", "profile_stop")
    names = ("start", "stop", "usage", "lag", "probe", "delays", *profiles, "play", "flush")
    await serve({name: getattr(worker, name) for name in names})
    await worker.stop()


if __name__ == "__main__":
    run_child(main)
