"""An independent SIP stack, sipp, against the same Asterisk: our phone's word is not the only one."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from voxtra.testing.asterisk import PrivateAsterisk

pytestmark = pytest.mark.live

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
  <nop><action><exec rtp_stream="SOUND,-1,0,PCMU/8000"/></action></nop>
  <pause milliseconds="1000"/>
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


def sipp() -> str:
    here = [folder / ".asterisk" / "sipp" for folder in Path(__file__).resolve().parents]
    found = next((str(path) for path in here if os.access(path, os.X_OK)), None) or shutil.which("sipp")
    if found is None:
        pytest.fail("sipp is not here: run  make sipp", pytrace=False)
    return found


async def test_sipp_calls_the_echo(asterisk: PrivateAsterisk, tmp_path: Path) -> None:
    (tmp_path / "sound.ulaw").write_bytes(bytes(range(256)) * 125)
    (tmp_path / "call.xml").write_text(SCENARIO.replace("SOUND", str(tmp_path / "sound.ulaw")))
    process = await asyncio.create_subprocess_exec(
        *[sipp(), "-sf", str(tmp_path / "call.xml"), "-s", "600", f"{asterisk.sip_host}:{asterisk.sip_port}"],
        *["-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", "5", "-l", "5", "-r", "20", "-nostdin"],
        *["-timeout", "20s", "-timeout_error", "-trace_err", "-error_file", str(tmp_path / "errors")],
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await asyncio.sleep(0.8)
        statistics = await asterisk.rx("pjsip show channelstats")
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    errors = tmp_path / "errors"
    assert process.returncode == 0, out.decode(errors="replace")[-3000:] + (
        errors.read_text() if errors.exists() else ""
    )
    calls = [line.split() for line in statistics.splitlines() if " ulaw " in line]
    assert calls, statistics
    assert all(int(fields[3]) > 5 for fields in calls), statistics  # packets received from sipp
