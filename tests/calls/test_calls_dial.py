"""Calls placed: what is asked of Asterisk for them, and what is left when they end before they began."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_app import running
from fake_calls import FakeAri, breathe

from voxtra.ari import Channel, ChannelDestroyed, StasisEnd, StasisStart
from voxtra.calls.dial import dial
from voxtra.calls.leg import Leg
from voxtra.calls.switchboard import Switchboard
from voxtra.config import TrunkConfig
from voxtra.errors import ConfigurationError, OriginateError

NUMBER = "+442071838750"


@pytest.mark.parametrize("early", [False, True])
async def test_a_call_hung_up_while_asterisk_makes_it(
    ari: FakeAri, switchboard: Switchboard, early: bool
) -> None:
    """Asterisk did not know it when it was hung up; then it does, and would ring on or wait for good."""
    request = "channels.create" if early else "channels.originate_with_id"
    gate = ari.gates[request] = asyncio.Event()
    leg = Leg(ari, switchboard, "vx-call-1")  # type: ignore[arg-type]
    dialling = asyncio.ensure_future(dial(ari, switchboard, "PJSIP/anna", leg=leg, early=early))  # type: ignore[arg-type]
    await breathe()
    await leg.hangup()
    ari.asked.clear()
    gate.set()
    ari.channels_there["vx-call-1"] = channel = Channel(id="vx-call-1", name="PJSIP/anna-1")
    ari.answers["channels.dial"] = RuntimeError("it is not in the application yet")
    ari.tell(StasisStart(application=ari.app, args=[], channel=channel))
    with pytest.raises(OriginateError):
        await dialling
    await breathe()
    assert "channels.hangup" in ari.names()
    assert ari.channels_there == {}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("caller_id", "shown"),
    [("4711", "<4711>"), ("Clinic <4711>", "Clinic <4711>"), ("", None)],
)
async def test_what_the_callee_sees(
    ari: FakeAri, switchboard: Switchboard, early: bool, caller_id: str, shown: str | None
) -> None:
    """Of a channel that rings, PJSIP shows the connected line, not the caller."""
    request = "channels.create" if early else "channels.originate_with_id"
    ari.answers[request] = OSError("enough")
    with pytest.raises(OSError, match="enough"):
        await dial(ari, switchboard, "PJSIP/anna", caller_id=caller_id, early=early)  # type: ignore[arg-type]
    (asked,) = ari.asked_for(request)
    if not early:
        assert asked["caller_id"] == shown
    else:
        assert asked["variables"].get("CONNECTEDLINE(all,i)") == shown
        assert asked["variables"].get("CALLERID(all)") == shown


@pytest.mark.parametrize(
    ("endpoint", "given", "shown"),
    [
        (NUMBER, "", "Acme <+4930111>"),
        (NUMBER, "4711", "<4711>"),
        ("PJSIP/anna", "", None),
    ],
)
async def test_what_is_seen_of_a_call_through_the_trunk(
    monkeypatch: pytest.MonkeyPatch, endpoint: str, given: str, shown: str | None
) -> None:
    trunk = TrunkConfig(endpoint="PJSIP/{number}@carrier", caller_id="Acme <+4930111>")
    async with running(monkeypatch) as world:
        monkeypatch.setattr(world.app._shared, "trunk", trunk)
        world.ari.answers["channels.originate_with_id"] = lambda **asked: _busy(
            world.ari, asked["channel_id"]
        )
        with pytest.raises(OriginateError) as refused:
            await world.app.originate(endpoint, caller_id=given)
        assert refused.value.outcome == "busy"
        (asked,) = world.ari.asked_for("channels.originate_with_id")
        assert asked["caller_id"] == shown


def _busy(ari: FakeAri, channel_id: str) -> None:
    channel = Channel(id=channel_id, name="PJSIP/carrier-1")
    ari.tell(StasisEnd(channel=channel))
    ari.tell(ChannelDestroyed(channel=channel, cause=17, cause_txt="User busy"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"caller_id": "4711\r\nX-Evil: 1"}, "caller_id"),
        ({"caller_id": 4711}, "caller_id=4711"),
        ({"headers": "X-Order: 1"}, "headers='X-Order: 1'"),
        ({"headers": {1: "x"}}, "SIP header 1"),
        ({"headers": {"X-Order": "1\r\nX-Evil: 1"}}, "SIP header 'X-Order'"),
        ({"variables": {"ORDER": 42}}, "ORDER"),
    ],
)
async def test_what_can_not_be_sent(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], said: str
) -> None:
    async with running(monkeypatch) as world:
        with pytest.raises(ConfigurationError) as refused:
            await world.app.originate("PJSIP/anna", **options)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [
        (17, "busy"), (18, "no_answer"), (19, "no_answer"), (16, "no_answer"), (21, "rejected"),
        (1, "failed"), (20, "failed"), (34, "failed"), (38, "failed"), (58, "failed"), (127, "failed"), (0, "failed"),
    ],
)  # fmt: skip
def test_an_outcome_by_its_cause(cause: int, outcome: str) -> None:
    error = OriginateError.of("PJSIP/anna", cause, "so")
    assert (error.outcome, error.cause) == (outcome, cause)
