"""``make demo``: a caller made of sound talks to examples/receptionist.py through a real Asterisk.

Everything runs on this machine. It leaves build/demo/call.wav, call.json and report.html, and fails when the
conversation did not take place as the script says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from receptionist import GREETING, app, tts

from voxtra.cli.serve import run_loop
from voxtra.config import VoxtraConfig
from voxtra.events import DTMFEvent, EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.media.resample import resample
from voxtra.media.wav import read_sound
from voxtra.recording import LocalFileSink, RecordingMetadata
from voxtra.recording.report import render_report
from voxtra.recording.stereo import StereoRecorder
from voxtra.recording.story import Story
from voxtra.recording.timeline import Timeline, save_text
from voxtra.session import CallSession
from voxtra.speech.base import TTS
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone, PhoneCall

OUT = Path("build/demo")
BEGAN = float(os.environ.get("VOXTRA_DEMO_BEGAN") or time.time())
PARTS = ("endpointing", "stt", "llm", "tts", "framework")


@dataclass
class Check:
    """One thing the script wants."""

    what: str
    holds: bool
    seen: str


@dataclass
class Play:
    """The call under way, as the stage sees it."""

    session: CallSession | None = None
    story: Story | None = None
    stereo: StereoRecorder | None = None
    phone: PhoneCall | None = None
    turns: list[tuple[str, str, str]] = field(default_factory=list)
    stop_ms: float = 0.0
    printers: set[asyncio.Task[None]] = field(default_factory=set)

    def watch(self, event: VoxtraEvent) -> None:
        """Begin the story with the answer; print what is said as it is said."""
        if self.session is None:
            self.session = app.get_session(event.session_id)
            self.story = Story(Timeline(self.media_ms))
        match event:
            case UserTranscriptEvent(type=EventType.USER_TRANSCRIPT, text=text):
                show("caller", text)
                self.turns.append(("caller", text, ""))
            case DTMFEvent(digit=digit):
                show("caller", f"presses {digit}")
            case VoxtraEvent(type=EventType.AGENT_SPEECH_STARTED, data=data):
                task = asyncio.ensure_future(self.measure(data["latency"], now()))
                self.printers.add(task)
                task.add_done_callback(self.printers.discard)
            case VoxtraEvent(type=EventType.AGENT_SPEECH_ENDED, data=data):
                self.turns.append(("agent", data["heard"], data["reason"]))
                cut = "" if data["reason"] != "interrupted" else "  (interrupted here)"
                show("agent", f"{data['heard']}{cut}")
        if self.story is not None:
            self.story(event)

    def media_ms(self, moment: float) -> float:
        """A moment of the loop's clock on the recording's axis; what came before it is at 0."""
        if self.stereo is None and self.session is not None and self.session.recording is not None:
            self.stereo = self.session.recording.stereo
        return self.stereo.at(moment) if self.stereo is not None else 0.0

    async def measure(self, latency: dict[str, float], sent: float) -> None:
        """The wait as the caller's own wire tells it: last sound of the caller to first of the agent."""
        assert self.phone is not None
        heard = await self.phone.voice(after=sent - 0.02)
        split = {name: latency[name] for name in PARTS if name in latency}
        if not split:
            show("", f"{(heard - sent) * 1000:.0f} ms from the line to the caller's wire")
            return
        split["wire"] = round((heard - sent) * 1000, 1)
        if self.story is not None:
            self.story.latency = split | {"total": round(sum(split.values()), 1)}
        said = " + ".join(f"{name} {ms:.0f}" for name, ms in split.items())
        show("", f"{sum(split.values()):.0f} ms after the caller's last word: {said}")


class CallWav(LocalFileSink):
    """Keeps the recording as call.wav."""

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        metadata.name = "call"
        await super().on_recording_complete(metadata)


def now() -> float:
    return asyncio.get_running_loop().time()


def show(who: str, text: str) -> None:
    print(f"  {time.time() - BEGAN:6.1f} s  {who:>6}  {text}", flush=True)


async def speech(voice: TTS, text: str) -> bytes:
    """What the caller says, 8 kHz; a little deeper than the agent, so that one can tell them apart."""
    pcm, rate = b"", 0
    async for part in voice.synthesize(text):
        pcm, rate = pcm + part.pcm, part.rate
    return resample(pcm, rate * 19 // 20, 8000)


async def converse(play: Play, lines: dict[str, bytes]) -> None:
    """The caller's script. Waits are for what is heard on the phone, as a person's would be."""
    call = play.phone
    assert call is not None

    async def agent_done() -> None:
        await call.silence(after=await call.voice(after=now(), timeout=15), quiet_ms=700, timeout=30)

    async def say(line: str) -> None:
        call.play(lines[line])
        await call.played()

    await call.voice(after=0)
    print(f"\nFirst word on the phone {time.time() - BEGAN:.1f} s after the command.\n")
    await call.silence(after=now(), quiet_ms=700, timeout=15)
    await say("Hello, good morning.")
    await agent_done()
    await say("What are your opening hours?")
    await call.voice(after=now(), timeout=15)
    await asyncio.sleep(3)
    cut_in = now()
    call.play(lines["Sorry, where are you located?"])
    silent = await call.silence(after=cut_in, quiet_ms=300)
    play.stop_ms = (silent - cut_in) * 1000
    await call.played()
    await agent_done()
    await call.send_dtmf("1")
    await agent_done()
    await say("Thank you, goodbye.")
    await call.ended(20)


def judge(play: Play, recording: Path, left: list[str]) -> list[Check]:
    """Whether the conversation took place as scripted."""
    caller = [text.lower() for who, text, _ in play.turns if who == "caller"]
    agent = [(text, reason) for who, text, reason in play.turns if who == "agent"]
    heard = " | ".join(text for text, _ in agent)
    cut = [text for text, reason in agent if reason == "interrupted"]
    history = play.session.agent.history if play.session else []
    wav = read_sound(recording, 8000) if recording.is_file() else b""
    seconds = len(wav) / 16000
    total = play.session.duration if play.session else 0.0

    def said(words: str) -> Check:
        return Check(f"the caller's {words!r} was understood", any(words in t for t in caller), str(caller))

    return [
        Check("the greeting was heard to its end", bool(agent) and agent[0] == (GREETING, "finished"), heard),
        said("good morning"),
        said("opening hours"),
        said("located"),
        said("goodbye"),
        Check("the agent was interrupted, once", len(cut) == 1, str(cut)),
        Check("it was silent soon after the caller began", 0 < play.stop_ms < 1500, f"{play.stop_ms:.0f} ms"),
        Check(
            "its history holds what was heard of that reply, and no more",
            bool(cut) and any(m.get("content") == cut[0] for m in history),
            str([m.get("content") for m in history]),
        ),
        Check("the key 1 was taken", "on its way" in heard, heard),
        Check("the agent said goodbye and hung up", "Goodbye" in heard and _hung_up(play), heard),
        Check(
            "the recording is as long as the call",
            abs(seconds - total) < 1.0,
            f"{seconds:.1f} of {total:.1f} s",
        ),
        Check("no channel and no bridge is left in Asterisk", not left, str(left)),
    ]


def _hung_up(play: Play) -> bool:
    return play.session is not None and play.session.end is not None and play.session.end.reason == "local"


def clear() -> None:
    """What an earlier demo left must not pass for this one's."""
    for name in ("call.wav", "call.json", "report.html"):
        (OUT / name).unlink(missing_ok=True)


async def demo() -> int:
    clear()
    play = Play()
    app.on()(play.watch)
    app.recording_sink = CallWav(OUT)
    async with PrivateAsterisk(app=app.app_name) as asterisk:
        app.configure(
            VoxtraConfig.load(
                keywords={
                    "asterisk.url": asterisk.ari_url,
                    "asterisk.user": asterisk.ari_user,
                    "asterisk.password": asterisk.ari_password,
                }
            )
        )
        await app.start()
        print(f"Asterisk and the receptionist are up after {time.time() - BEGAN:.1f} s.")
        words = ("Hello, good morning.", "What are your opening hours?", "Sorry, where are you located?")
        lines = {line: await speech(tts, line) for line in (*words, "Thank you, goodbye.")}
        account = {"user": "phone", "password": asterisk.phones["phone"]}
        async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:
            play.phone = await phone.dial("100")
            await play.phone.answered()
            await converse(play, lines)
        await app.stop()
        left = (await asterisk.rx("core show channels concise")).split()
        left += (await asterisk.rx("bridge show all")).split("\n")[1:-1]
    return finish(play, left)


def finish(play: Play, left: list[str]) -> int:
    """Write what is left behind, say what was checked, and judge. Returns the exit code."""
    session, story = play.session, play.story
    if session is None or story is None:
        print("No call reached the receptionist.", file=sys.stderr)
        return 1
    story.timeline.call.update(
        id=session.id,
        caller_id=session.caller_id,
        called_number=session.called_number,
        direction=str(session.direction),
        duration_ms=round(session.duration * 1000),
        ended_by=session.end.reason if session.end else "",
    )
    story.timeline.save(OUT / "call.json")
    save_text(OUT / "report.html", render_report(story.timeline.to_dict(), OUT / "call.wav"))
    checks = judge(play, OUT / "call.wav", left)
    print("\nWhat was checked:")
    for check in checks:
        print(
            f"  {'yes' if check.holds else 'NO '}  {check.what}" + ("" if check.holds else f": {check.seen}")
        )
    failed = sum(not check.holds for check in checks)
    print(f"\nLeft behind: {OUT}/call.wav (left the caller, right the agent), call.json, report.html")
    print("The conversation took place as scripted." if not failed else f"{failed} of {len(checks)} failed.")
    return 1 if failed else 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run_loop(demo()))
