"""Phones on the Asterisk in memory: they ring when they are called, and ask for transfers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fake_app import World

from voxtra import CallSession
from voxtra.ari import Channel, ChannelDestroyed
from voxtra.ari.events import ChannelTransfer


class Office:
    """The world, with phones that ring when they are called."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ari = world.ari
        self.rung: list[str] = []
        self.ari.answers["channels.originate_with_id"] = self._ring

    def _ring(self, channel_id: str, **_: Any) -> Channel:
        self.rung.append(channel_id)
        self.ari.channels_there[channel_id] = channel = Channel(
            id=channel_id, name="PJSIP/bob-1", state="Ring"
        )
        return channel

    async def ringing(self, count: int = 1) -> str:
        """The channel of the phone that was called last, once so many were."""
        await until(lambda: len(self.rung) >= count)
        return self.rung[-1]

    def pick_up(self, channel_id: str) -> None:
        self.ari.arrive(channel_id, state="Up")

    def refuse(self, channel_id: str, cause: int = 17) -> None:
        channel = self.ari.channels_there.pop(channel_id)
        self.ari.tell(ChannelDestroyed(channel=channel, cause=cause, cause_txt="no"))


async def waits(call: CallSession) -> None:
    """The handler of a call that stays until somebody ends it."""
    await call.answer()
    await call.listen_dtmf(timeout=None)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def refer(world: World, call: CallSession, target: str, second: CallSession | None = None) -> None:
    """The far end of ``call`` asks for a transfer, to ``target`` or to its ``second`` call."""
    world.ari.tell(
        ChannelTransfer(
            state=None,
            referred_by={"source_channel": Channel(id=call.id)},  # type: ignore[arg-type]
            refer_to={  # type: ignore[arg-type]
                "requested_destination": {"destination": target},
                "destination_channel": Channel(id=second.id) if second is not None else None,
            },
        )
    )


def progress(world: World) -> list[str]:
    """What the far end was told of its transfers."""
    return [asked["states"] for asked in world.ari.asked_for("channels.transfer_progress")]
