"""Recordings and news of a real call, through an outage of both that take them."""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from pathlib import Path

import pytest
from aiohttp import web
from app_rig import Rig, running

from voxtra import CallSession, LocalFileSink, RecordingMetadata, SpooledSink, WebhookConfig
from voxtra.testing.asterisk import PrivateAsterisk

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

pytestmark = pytest.mark.live


class Failing(LocalFileSink):
    """Takes nothing the first time."""

    tries = 0

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        self.tries += 1
        if self.tries < 3:
            raise OSError("no route to the archive")
        await super().on_recording_complete(metadata)


async def test_a_call_is_told_and_kept_although_both_fail_at_first(
    asterisk: PrivateAsterisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import webhook_receiver

    told: list[dict[str, object]] = []
    monkeypatch.setattr(webhook_receiver, "act_on", told.append)
    refused = 0

    @web.middleware
    async def outage(request: web.Request, handler: object) -> web.StreamResponse:
        nonlocal refused
        refused += 1
        if refused <= 3:
            return web.Response(status=503)
        return await handler(request)  # type: ignore[operator, no-any-return]

    receiver = webhook_receiver.make_app()
    receiver.middlewares.append(outage)
    runner = web.AppRunner(receiver, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/voxtra"
    hook = WebhookConfig(
        url,
        signing_secret=webhook_receiver.SECRET,
        private_urls=True,
        backoff=0.05,
        spool=tmp_path / "news",
        retries=9,
    )
    sink = SpooledSink(Failing(tmp_path / "archive"), tmp_path / "spool", retry_s=(0.05, 0.2))

    async def handler(call: CallSession, rig: Rig) -> None:
        await call.answer()
        await call.record_start("acme/call")
        await call.listen_dtmf(max_digits=9, timeout=10)  # the caller hangs up first

    try:
        async with running(asterisk, handler, webhook=hook, recording_sink=sink) as rig:
            async with rig.dialled() as phone:
                await asyncio.sleep(0.5)
                await phone.send_dtmf("12")
                await asyncio.sleep(0.5)
                await phone.hangup()
            await rig.nothing_left()
    finally:
        await runner.cleanup()
    (stored,) = (tmp_path / "archive").rglob("*.wav")
    assert stored == tmp_path / "archive" / "acme" / "call.wav"
    with wave.open(str(stored)) as recording:
        assert recording.getnframes() > recording.getframerate() * 0.8
    assert [event["sequence"] for event in told] == list(range(1, len(told) + 1))
    types = [event["type"] for event in told]
    assert types[:2] == ["session.created", "call.started"]
    assert types[-1] == "session.destroyed"
    assert [
        json.loads(json.dumps(event))["data"]["digit"] for event in told if event["type"] == "dtmf.received"
    ] == [*"12"]
    assert types == rig.types()
