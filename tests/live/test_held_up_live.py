"""A channel that plays obeys nothing until the prompt is over: that must not hold up any other call."""

from __future__ import annotations

import asyncio

import pytest

from voxtra import AppState, CallSession, VoxtraApp
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

pytestmark = pytest.mark.live

ANSWERED = "[voxtra]\nexten => 800,1,Answer()\n same => n,Stasis(voxtra)\n same => n,Hangup()\n"


async def test_a_prompt_on_one_channel_holds_up_nobody() -> None:
    async with PrivateAsterisk(extra={"extensions.conf": ANSWERED}) as asterisk:
        app = VoxtraApp(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password)
        states: list[str] = []

        @app.default()
        async def plays_at_once(call: CallSession) -> None:  # while the channel is still being set up
            await call.play_file("demo-congrats")

        await app.start()
        app.ari.on_state(lambda state: states.append(str(state)))
        try:
            account = {"user": "phone", "password": asterisk.phones["phone"]}
            async with Phone((asterisk.sip_host, asterisk.sip_port), **account) as phone:
                call = await phone.dial("800")
                await call.answered(timeout=5)
                await call.voice(after=0)
                (channel,) = await app.ari.channels.list()
                setting = asyncio.ensure_future(
                    app.ari.channels.set_channel_var(channel_id=channel.id, variable="X", value="1")
                )
                for _ in range(10):
                    async with asyncio.timeout(1):
                        await app.ari.asterisk.ping()
                    await asyncio.sleep(0.5)  # more than the heartbeat in all
                assert app.state is AppState.READY
                assert states == []
                assert not setting.done(), "else this proves nothing"
                await call.hangup()
                await asyncio.gather(setting, return_exceptions=True)
        finally:
            await app.stop(0)
