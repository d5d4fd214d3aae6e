from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fake_calls import FakeAri, breathe, missing
from hypothesis import given
from hypothesis import strategies as st

from voxtra.ari import ChannelHangupRequest, Playback
from voxtra.calls.leg import SOFT_CAUSE, Leg
from voxtra.calls.prompts import SCHEMES, Prompts, media_uris
from voxtra.calls.switchboard import Switchboard
from voxtra.errors import ARIConnectionLostError, CallEndedError, ConfigurationError, PlaybackError


@pytest.fixture
async def prompts(ari: FakeAri, switchboard: Switchboard, leg: Leg) -> Prompts:
    return Prompts(ari, switchboard, leg)  # type: ignore[arg-type]


async def begun(prompts: Prompts, prompt: Any = "hello-world", **options: Any) -> asyncio.Task[Any]:
    task = asyncio.ensure_future(prompts.play(prompt, **options))
    await breathe()
    return task


def test_media_uris() -> None:
    assert media_uris("hello-world") == media_uris(" sound:hello-world ") == ["sound:hello-world"]
    assert media_uris(["digits:12", "beep"]) == ["digits:12", "sound:beep"]
    assert media_uris("sound:/var/spool/a b") == ["sound:/var/spool/a b"]
    for wrong in ("", "sound:", "http://x/y.wav", "a,b", "a\nb", [], ["ok", ""]):
        with pytest.raises(ConfigurationError) as error:
            media_uris(wrong)
        assert "\n" not in str(error.value)


@given(st.text())
def test_nothing_but_known_schemes_gets_to_asterisk(prompt: str) -> None:
    try:
        (uri,) = media_uris(prompt)
    except ConfigurationError:
        return
    scheme, _, rest = uri.partition(":")
    assert scheme in SCHEMES
    assert rest
    assert "," not in rest


async def test_heard_to_the_end(ari: FakeAri, prompts: Prompts) -> None:
    task = await begun(prompts, ["hello-world", "digits:1"], lang="de")
    (first,) = ari.asked_for("channels.play_with_id")
    assert (first["media"], first["lang"]) == (["sound:hello-world"], "de")
    assert prompts.playing == [first["playback_id"]]
    assert not task.done(), "it is not over before it was heard"
    ari.played("of-another-call")
    await breathe()
    assert not task.done()
    ari.played(first["playback_id"])
    await breathe()
    assert not task.done()
    _, second = ari.asked_for("channels.play_with_id")
    assert second["media"] == ["digits:1"]
    assert second["playback_id"] != first["playback_id"]
    ari.played(second["playback_id"])
    result = await task
    assert (result.reason, result.media) == ("finished", ("sound:hello-world", "digits:1"))
    assert result.playback_id == first["playback_id"]
    assert prompts.playing == []


async def test_a_file_of_a_list_that_is_not_there(ari: FakeAri, prompts: Prompts) -> None:
    task = await begun(prompts, ["hello-world", "no-such-file", "goodbye"])
    ari.played(prompts.playing[0])
    await breathe()
    ari.played(ari.asked_for("channels.play_with_id")[-1]["playback_id"], "failed")
    with pytest.raises(PlaybackError, match=r"sound:no-such-file \(2 of 3\): is the file"):
        await task
    assert len(ari.asked_for("channels.play_with_id")) == 2, "what follows is not played"
    assert prompts.playing == []


@pytest.mark.parametrize("state", ["done", "failed"])
async def test_a_list_is_stopped_as_a_whole(ari: FakeAri, prompts: Prompts, state: str) -> None:
    task = await begun(prompts, ["one", "two", "three"])
    (whole,) = prompts.playing
    ari.played(whole)
    await breathe()
    second = ari.asked_for("channels.play_with_id")[-1]["playback_id"]
    ari.answers["playbacks.stop"] = lambda playback_id: ari.played(playback_id, state)
    await prompts.stop(whole)
    assert ari.asked_for("playbacks.stop") == [{"playback_id": second}]
    assert (await task).reason == "interrupted"
    assert len(ari.asked_for("channels.play_with_id")) == 2


async def test_a_list_stopped_between_two(ari: FakeAri, prompts: Prompts) -> None:
    task = await begun(prompts, ["one", "two"])
    ari.played(prompts.playing[0])  # heard; its task has not noticed yet
    await prompts.stop()
    assert (await task).reason == "interrupted"
    assert len(ari.asked_for("channels.play_with_id")) == 1


async def test_a_file_that_is_not_there(ari: FakeAri, prompts: Prompts) -> None:
    task = await begun(prompts, "no-such-file")
    ari.played(prompts.playing[0], "failed")
    with pytest.raises(PlaybackError, match="sound:no-such-file: is the file"):
        await task


async def test_stopped(ari: FakeAri, prompts: Prompts) -> None:
    one, two = await begun(prompts), await begun(prompts)
    await prompts.stop(prompts.playing[0])
    assert (await one).reason == "interrupted"
    assert not two.done()
    await prompts.stop()
    assert (await two).reason == "interrupted"
    await prompts.stop("unknown")
    await prompts.stop()
    assert not prompts._stopped


@pytest.mark.parametrize("playback", ["failed", "done", None])
async def test_a_hang_up_ends_it(ari: FakeAri, prompts: Prompts, playback: str | None) -> None:
    task = await begun(prompts)
    if playback:
        ari.played(prompts.playing[0], playback)
    ari.hang_up("caller")
    assert (await task).reason == "hangup"
    with pytest.raises(CallEndedError):
        await prompts.play("beep")


@pytest.mark.parametrize("asked", [True, False])
async def test_a_hang_up_that_is_told_after_what_it_broke_off(
    ari: FakeAri, prompts: Prompts, asked: bool
) -> None:
    """By ``channel request hangup``, which says so by a cause that is none; by TIMEOUT(absolute), which doesn't."""
    task = await begun(prompts)
    if asked:
        ari.tell(ChannelHangupRequest(channel=ari.channels_there["caller"], cause=SOFT_CAUSE))
    ari.played(prompts.playing[0], "failed")
    await asyncio.sleep(0.02)
    ari.gone("caller")
    assert (await task).reason == "hangup"


async def test_the_call_ends_before_it_begins(ari: FakeAri, prompts: Prompts) -> None:
    gate = ari.gates["channels.play_with_id"] = asyncio.Event()
    task = await begun(prompts)
    ari.hang_up("caller")
    gate.set()
    assert (await task).reason == "hangup"


async def test_cancelled_it_stops(ari: FakeAri, prompts: Prompts) -> None:
    task = await begun(prompts)
    playback = prompts.playing[0]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await breathe()
    assert ari.asked_for("playbacks.stop") == [{"playback_id": playback}]
    assert prompts.playing == []


async def test_an_end_that_nobody_told(
    ari: FakeAri, prompts: Prompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxtra.calls.prompts.LOOK_S", 0.01)
    answers: list[Any] = [
        Playback(id="p", state="playing"),
        ARIConnectionLostError("GET", "/playbacks/p"),
        missing("/playbacks/p"),
        missing("/playbacks/p"),
    ]
    ari.answers["playbacks.get"] = lambda **_: answers.pop(0)
    with pytest.raises(PlaybackError, match="is it there"):
        await asyncio.wait_for(prompts.play("hello-world"), 2)
    assert answers == []


async def test_two_at_once_know_their_own(ari: FakeAri, prompts: Prompts) -> None:
    one, two = await begun(prompts, "one"), await begun(prompts, "two")
    ari.played(prompts.playing[1], "failed")
    with pytest.raises(PlaybackError, match="two"):
        await two
    ari.played(prompts.playing[0])
    assert (await one).reason == "finished"
