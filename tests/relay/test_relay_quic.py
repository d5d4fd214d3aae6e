"""The audio bridge over QUIC, on a call without Asterisk."""

from __future__ import annotations

import pytest
from relay_fakes import FakeCalls, FakeSession

from voxtra.relay import Relay
from voxtra.relay.publisher import Publisher
from voxtra.tokens import RelayKeys
from voxtra.voice.link import LinkEnded
from voxtra.voice.quic_link import QuicLink
from voxtra.wire import AudioFormat, SoundFrame

SID = "call_0001"
ULAW = AudioFormat(codec="g711_ulaw")


async def test_what_fails_in_the_relay_itself_is_logged_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Publisher, message: bytes) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Publisher, "take", broken)
    keys = RelayKeys.create()
    async with Relay(FakeCalls(**{SID: FakeSession()}), keys, websocket=False) as relay:
        token, _ = keys.sign("acme", SID)
        assert relay.quic_url is not None
        link = await QuicLink.connect(relay.quic_url, SID, token, "server", ULAW, relay.fingerprints)
        try:
            await link.send(SoundFrame(0, bytes(160)))
            with pytest.raises(LinkEnded, match="closed with 500"):
                await link.receive()
        finally:
            await link.close()
    assert "a bug" in caplog.text
