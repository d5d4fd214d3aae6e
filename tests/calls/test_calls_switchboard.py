from __future__ import annotations

import asyncio

import pytest
from fake_calls import APP, FakeAri, breathe

from voxtra.ari import Application, Bridge, Channel, PlaybackFinished, Snapshot, StasisEnd, StasisStart
from voxtra.calls.switchboard import PREFIX, Switchboard, new_id
from voxtra.errors import (
    ARIConnectionLostError,
    ARINotFoundError,
    ARIServerError,
    AuthenticationError,
    NotConnectedError,
)


def channel(channel_id: str, app_data: str = APP, name: str = "PJSIP/phone-1") -> Channel:
    return Channel(
        id=channel_id,
        name=name,
        dialplan={"app_name": "Stasis", "app_data": app_data},  # type: ignore[arg-type]
    )


def test_ids_are_ours_and_never_the_beginning_of_another() -> None:
    ids = {new_id("media") for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {len(next(iter(ids)))}
    assert all(each.startswith(f"{PREFIX}media-") for each in ids)


async def test_events_go_to_the_mailbox_of_their_channel_in_order(
    ari: FakeAri, switchboard: Switchboard
) -> None:
    got: dict[str, list[str]] = {"a": [], "b": []}
    off = switchboard.register("channel:a", lambda event: got["a"].append(event.type))
    switchboard.register("channel:b", lambda event: got["b"].append(event.type))
    ari.arrive("a")
    ari.press("a", "1")
    ari.arrive("b")
    off()
    off()
    ari.press("a", "2")
    assert got == {"a": ["StasisStart", "ChannelDtmfReceived"], "b": ["StasisStart"]}


async def test_an_event_about_two_subjects_of_one_mailbox_comes_once(
    ari: FakeAri, switchboard: Switchboard
) -> None:
    got: list[object] = []
    switchboard.register("playback:p", got.append)
    switchboard.register("channel:c", got.append)
    ari.tell(PlaybackFinished(playback={"id": "p", "target_uri": "channel:c", "state": "done"}))  # type: ignore[arg-type]
    assert len(got) == 1


async def test_a_mailbox_taken_over_is_not_taken_off_by_its_predecessor(switchboard: Switchboard) -> None:
    off = switchboard.register("channel:a", lambda event: None, lambda lives: None)
    switchboard.register("channel:a", lambda event: None)
    off()
    assert switchboard.knows("a")


@pytest.mark.proves("failure 3")
async def test_who_is_a_call(ari: FakeAri, switchboard: Switchboard, arrivals: list[StasisStart]) -> None:
    ari.arrive("1700000000.1")
    ari.arrive("snooped", name="Snoop/1700000000.1-0001")
    ari.arrive("vx-media-0123456789abcdef", name="WebSocket/INCOMING/0x1")
    await breathe()
    assert [event.channel.id for event in arrivals] == ["1700000000.1"]
    # ours and nobody's: a caller never hears of it, and it does not stay
    assert ari.asked_for("channels.hangup") == [{"channel_id": "vx-media-0123456789abcdef"}]


async def test_a_reconnect_ends_what_is_gone_and_begins_what_came(
    ari: FakeAri, switchboard: Switchboard, arrivals: list[StasisStart]
) -> None:
    absent: list[tuple[str, bool]] = []
    for each in ("stays", "gone", "left"):
        switchboard.register(
            f"channel:{each}", lambda event: None, lambda lives, each=each: absent.append((each, lives))
        )
    switchboard.register("playback:p", lambda event: None)
    ari.channels_there["left"] = channel("left", "other")
    for each in ("stays", "came"):
        ari.channels_there[each] = channel(each, f"{APP},one,two" if each == "came" else APP)
    ari.resync()
    assert absent == [("gone", False), ("left", True)]
    assert [(event.channel.id, event.args) for event in arrivals] == [("came", ["one", "two"])]


async def test_what_is_another_applications_is_left_alone(
    ari: FakeAri, switchboard: Switchboard, arrivals: list[StasisStart]
) -> None:
    ari.channels_there = {
        "theirs": channel("theirs", "other"),
        "vx-media-theirs": channel("vx-media-theirs", f"{APP}-2", "WebSocket/INCOMING/0x2"),
        "elsewhere": Channel(id="elsewhere", dialplan={"app_name": "Dial", "app_data": APP}),  # type: ignore[arg-type]
        "vx-media-old": channel("vx-media-old", APP, "WebSocket/INCOMING/0x3"),
    }
    ari.bridges_there = {
        "vx-bridge-theirs": Bridge(id="vx-bridge-theirs", name=f"{PREFIX}{APP}-2"),
        "named-alike": Bridge(id="named-alike", name="conference"),
        "vx-bridge-old": Bridge(id="vx-bridge-old", name=switchboard.bridge_name),
        "vx-bridge-used": Bridge(id="vx-bridge-used", name=switchboard.bridge_name),
    }
    switchboard.register("bridge:vx-bridge-used", lambda event: None)
    ari.resync()
    await breathe()
    assert arrivals == []
    assert set(ari.channels_there) == {"theirs", "vx-media-theirs", "elsewhere"}
    assert set(ari.bridges_there) == {"vx-bridge-theirs", "named-alike", "vx-bridge-used"}


@pytest.mark.parametrize(
    "error",
    [
        ARINotFoundError("DELETE", "/channels/x", 404),
        ARIConnectionLostError("DELETE", "/channels/x"),
        ARIServerError("DELETE", "/channels/x", 500, "no"),
        NotConnectedError("closed"),
        AuthenticationError("401"),
    ],
)
async def test_clearing_up_never_fails(ari: FakeAri, switchboard: Switchboard, error: Exception) -> None:
    ari.answers["channels.hangup"] = error
    assert not await switchboard.gone(ari.channels.hangup(channel_id="x"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["replaced", "lost"])
async def test_an_application_that_is_no_longer_ours_is_not_swept(ari: FakeAri, how: str) -> None:
    board = Switchboard(ari, lambda event: None)
    ari.channels_there = {"theirs": channel("theirs")}
    if how == "replaced":
        ari.ready = False
    else:
        ari.answers["channels.list"] = ARIConnectionLostError("GET", "/channels")
    await board.close()
    assert set(ari.channels_there) == {"theirs"}


async def test_close_finishes_chores_and_cuts_what_hangs(
    ari: FakeAri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.calls.switchboard.CLOSE_S", 0.3)
    board = Switchboard(ari, lambda event: None)
    done = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        done.append("work")

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cut")

    board.chore(work())
    board.chore(hangs())
    ari.channels_there = {
        "late": channel("late"),
        "vx-media-late": channel("vx-media-late"),
        "theirs": channel("theirs", "other"),
    }
    await board.close()
    assert done == ["work", "cut"]
    assert set(ari.channels_there) == {"theirs"}, "who came while the application went is not left in it"
    assert ari.asked_for("channels.continue_in_dialplan") == [{"channel_id": "late"}]
    ari.arrive("late")  # nobody listens any more
    ari.tell(StasisEnd(channel=Channel(id="late")))


async def test_calls_that_were_claimed_are_found_again(
    ari: FakeAri, switchboard: Switchboard, arrivals: list[StasisStart]
) -> None:
    def offered(channel_id: str) -> Channel:
        where = {"app_name": "StasisBroadcast", "app_data": "500,^test-[0-9]+$"}
        return Channel(id=channel_id, name="PJSIP/phone-1", dialplan=where)  # type: ignore[arg-type]

    snapshot = Snapshot(Application(name=APP, channel_ids=["mine"]), (offered("mine"), offered("other")), ())
    for callback in ari._listeners["resync"]:
        callback(snapshot)
    await breathe()
    assert [(event.channel.id, event.args) for event in arrivals] == [("mine", [])]
