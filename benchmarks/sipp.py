"""Many callers at once: sipp, an independent SIP stack, sending and receiving RTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import BenchmarkError
from benchmarks.sound import voice
from voxtra.media.codecs import ULaw
from voxtra.testing.asterisk import PrivateAsterisk

SCENARIO = """<?xml version="1.0" encoding="ISO-8859-1" ?>
<scenario name="call, talk, hang up">
  <send retrans="500"><![CDATA[
    INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>
    Call-ID: [call_id]
    CSeq: 1 INVITE
    Contact: <sip:sipp@[local_ip]:[local_port]>
    Max-Forwards: 70
    Content-Type: application/sdp
    Content-Length: [len]

    v=0
    o=sipp 1 1 IN IP[local_ip_type] [local_ip]
    s=-
    c=IN IP[media_ip_type] [media_ip]
    t=0 0
    m=audio [rtpstream_audio_port] RTP/AVP 0
    a=rtpmap:0 PCMU/8000
  ]]></send>
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>
  <send><![CDATA[
    ACK [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 1 ACK
    Max-Forwards: 70
    Content-Length: 0

  ]]></send>
  <nop><action><exec rtp_stream="@SOUND@,-1,0,PCMU/8000"/></action></nop>
  <pause milliseconds="@HOLD@"/>
  <send retrans="500"><![CDATA[
    BYE [next_url] SIP/2.0
    Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
    From: sipp <sip:sipp@[local_ip]:[local_port]>;tag=[call_number]
    To: <sip:[service]@[remote_ip]:[remote_port]>[peer_tag_param]
    Call-ID: [call_id]
    CSeq: 2 BYE
    Max-Forwards: 70
    Content-Length: 0

  ]]></send>
  <recv response="200"/>
</scenario>
"""


def find_sipp() -> str:
    """Where sipp is. Raises BenchmarkError."""
    own = Path(__file__).resolve().parents[1] / ".asterisk" / "sipp"
    found = str(own) if os.access(own, os.X_OK) else shutil.which("sipp")
    if found is None:
        raise BenchmarkError("sipp is not here: run  make sipp")
    return found


@dataclass(slots=True)
class Outcome:
    """What became of the calls."""

    succeeded: int
    failed: int
    words: str


class Callers:
    """One run of sipp."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path, calls: int) -> None:
        self._process = process
        self._folder = folder
        self._calls = calls
        self.pid = process.pid

    async def done(self, deadline_s: float) -> Outcome:
        """Wait until all calls are over. Raises BenchmarkError when they are not in time."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._process.wait()
        except TimeoutError:
            raise BenchmarkError(f"sipp was not done in {deadline_s:.0f} s") from None
        screen = (self._folder / "screen").read_text(errors="replace")
        errors = self._folder / "errors"
        lines = errors.read_text(errors="replace").split("\n") if errors.exists() else []
        words = next((line.split(": ", 1)[-1] for line in reversed(lines) if line.strip()), "")[:200]
        return Outcome(_last(screen, "Successful call"), _last(screen, "Failed call"), words)


def _last(screen: str, what: str) -> int:
    """The cumulative count in sipp's last statistics screen."""
    found = re.findall(rf"{what}\s*\|\s*\d+\s*\|\s*(\d+)", screen)
    if not found:
        raise BenchmarkError(f"sipp gave no statistics: {screen[-400:]}")
    return int(found[-1])


@contextlib.asynccontextmanager
async def callers(
    asterisk: PrivateAsterisk, extension: str, *, calls: int, at_once: int, rate: float, hold_s: float
) -> AsyncIterator[Callers]:
    """Place ``calls`` calls of ``hold_s`` each, ``rate`` a second; what still runs at the end is killed."""
    with tempfile.TemporaryDirectory(prefix="vx-sipp-") as name:
        folder = Path(name)
        (folder / "sound.ulaw").write_bytes(ULaw().encode(voice(2.0)))
        text = SCENARIO.replace("@SOUND@", str(folder / "sound.ulaw")).replace(
            "@HOLD@", str(int(hold_s * 1000))
        )
        (folder / "call.xml").write_text(text)
        where = ["-i", "127.0.0.1", "-mi", "127.0.0.1", "-min_rtp_port", "20000", "-max_rtp_port", "29998"]
        load = ["-m", str(calls), "-l", str(at_once), "-r", f"{rate:g}", "-nostdin"]
        with (folder / "screen").open("wb") as screen:
            process = await asyncio.create_subprocess_exec(
                *[
                    find_sipp(),
                    "-sf",
                    "call.xml",
                    "-s",
                    extension,
                    f"{asterisk.sip_host}:{asterisk.sip_port}",
                ],
                *[*where, *load, "-trace_err", "-error_file", "errors"],
                cwd=folder,
                stdout=screen,
                stderr=asyncio.subprocess.STDOUT,
            )
        try:
            yield Callers(process, folder, calls)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def packets(asterisk: PrivateAsterisk) -> dict[str, tuple[int, int]]:
    """Channel → RTP packets Asterisk has (received from, sent to) the caller so far."""
    said = await asterisk.rx("pjsip show channelstats")
    found = {}
    for line in said.splitlines():
        fields = line.split()
        if "ulaw" in fields:
            at = fields.index("ulaw")
            found[fields[at - 2]] = (_count(fields[at + 1]), _count(fields[at + 5]))
    return found


def _count(text: str) -> int:
    return int(text[:-1]) * 1000 if text.endswith("K") else int(text)
