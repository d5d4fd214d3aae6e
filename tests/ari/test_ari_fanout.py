"""Events to callbacks and streams."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxtra.ari.events import Event
from voxtra.ari.fanout import EventStream, Fanout
from voxtra.ari.protocol import parse_message
from voxtra.ari.subjects import channel_ids, subjects
from voxtra.errors import ConfigurationError, EventOverflowError, SessionError


def event(kind: str, **fields: object) -> Event:
    made = parse_message(json.dumps({"type": kind, **fields}))
    assert isinstance(made, Event)
    return made


def dtmf(digit: str, channel: str = "c1") -> Event:
    return event("ChannelDtmfReceived", digit=digit, channel={"id": channel})


def stream(fanout: Fanout, *about: str, types: tuple[str, ...] = (), limit: int = 100) -> EventStream:
    return EventStream(fanout, frozenset(about), frozenset(types), limit)


def digits(events: list[Event]) -> str:
    return "".join(e.digit for e in events)  # type: ignore[attr-defined]


async def drain(source: EventStream) -> list[Event]:
    source.end()
    return [e async for e in source]


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (dtmf("1"), ("channel:c1",)),
        (
            event("PlaybackFinished", playback={"id": "p1", "target_uri": "channel:c1"}),
            ("playback:p1", "channel:c1"),
        ),
        (
            event("RecordingFinished", recording={"name": "r", "target_uri": "bridge:b1"}),
            ("recording:r", "bridge:b1"),
        ),
        (
            event("ChannelEnteredBridge", bridge={"id": "b1", "channels": ["c1"]}, channel={"id": "c1"}),
            ("bridge:b1", "channel:c1"),
        ),
        (event("Dial", caller={"id": "c1"}, peer={"id": "c2"}), ("channel:c1", "channel:c2")),
        (
            event(
                "ChannelTransfer",
                refer_to={"requested_destination": {}},
                referred_by={"source_channel": {"id": "c3"}, "bridge": {"id": "b3"}},
            ),
            ("channel:c3", "bridge:b3"),
        ),
        (event("DeviceStateChanged", device_state={"name": "Stasis:x"}), ("deviceState:Stasis:x",)),
        (
            event("EndpointStateChange", endpoint={"technology": "PJSIP", "resource": "phone"}),
            ("endpoint:PJSIP/phone",),
        ),
        (
            event("Unheard", channel={"id": "c7"}, old_bridge={"id": "b7"}, bridge=3),
            ("channel:c7", "bridge:b7"),
        ),
        (event("ApplicationReplaced"), ()),
    ],
    ids=lambda value: value.type if isinstance(value, Event) else "",
)
def test_subjects(made: Event, about: tuple[str, ...]) -> None:
    assert subjects(made) == about
    assert channel_ids(made) == tuple(a.partition(":")[2] for a in about if a.startswith("channel:"))


async def test_callbacks_get_everything_in_order_and_can_be_taken_off() -> None:
    fanout, got = Fanout(), []
    off = fanout.on_event(got.append)
    for digit in "123":
        fanout.deliver(dtmf(digit))
    off()
    off()
    fanout.deliver(dtmf("4"))
    assert digits(got) == "123"


async def test_a_callback_that_raises_is_logged_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fanout, got = Fanout(), []

    def bad(_: Event) -> None:
        raise RuntimeError("oops")

    fanout.on_event(bad)
    fanout.on_event(got.append)
    async with stream(fanout) as everything:
        with caplog.at_level(logging.ERROR):
            fanout.deliver(dtmf("1"))
        assert digits(await drain(everything)) == "1"
    assert digits(got) == "1"
    assert "oops" in caplog.text


async def test_an_async_callback_is_refused() -> None:
    async def nobody_awaits(_: Event) -> None: ...

    with pytest.raises(ConfigurationError, match="async"):
        Fanout().on_event(nobody_awaits)  # type: ignore[arg-type]


async def test_streams_get_what_they_asked_for_and_each_event_once() -> None:
    fanout = Fanout()
    sources = [
        stream(fanout),
        stream(fanout, "channel:c1"),
        stream(fanout, "channel:c1", "channel:c2"),
        stream(fanout, "channel:c2", types=("Dial",)),
        stream(fanout, types=("Dial",)),
    ]
    for source in sources:
        await source.__aenter__()
    fanout.deliver(dtmf("1", "c1"))
    fanout.deliver(dtmf("2", "c2"))
    fanout.deliver(dtmf("3", "c3"))
    fanout.deliver(event("Dial", caller={"id": "c1"}, peer={"id": "c2"}))
    counts = [len(await drain(source)) for source in sources]
    assert counts == [4, 2, 3, 1, 1]
    for source in sources:
        await source.__aexit__(None, None, None)
    fanout.deliver(dtmf("9"))
    assert fanout._everything == []
    assert fanout._by_subject == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("123#")), max_size=40),
    st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=1, max_size=4),
)
def test_any_stream_gets_exactly_its_channels_in_order(
    sent: list[tuple[str, str]], wanted: list[set[str]]
) -> None:
    async def run() -> None:
        fanout = Fanout()
        sources = [stream(fanout, *(f"channel:{c}" for c in channels)) for channels in wanted]
        for source in sources:
            await source.__aenter__()
        for channel, digit in sent:
            fanout.deliver(dtmf(digit, channel))
        for source, channels in zip(sources, wanted, strict=True):
            assert digits(await drain(source)) == "".join(d for c, d in sent if c in channels)

    asyncio.run(run())


async def test_an_overflow_ends_that_stream_after_what_it_had_and_no_other() -> None:
    fanout, got = Fanout(), []
    fanout.on_event(got.append)
    async with stream(fanout, "channel:c1", limit=3) as slow, stream(fanout, "channel:c1") as quick:
        for digit in "123456":
            fanout.deliver(dtmf(digit))
        read: list[Event] = []
        with pytest.raises(EventOverflowError, match="more than 3"):
            await read_into(read, slow)
        assert digits(read) == "123"
        assert digits(await drain(quick)) == "123456"
    assert digits(got) == "123456"


async def test_a_stream_waits_for_events_and_ends_with_the_fanout() -> None:
    fanout = Fanout()
    async with stream(fanout, "channel:c1") as source, asyncio.timeout(5):
        reading = asyncio.create_task(anext(source))
        await asyncio.sleep(0)
        assert not reading.done()
        fanout.deliver(dtmf("5"))
        assert digits([await reading]) == "5"
        waiting = asyncio.ensure_future(drain_without_end(source))
        await asyncio.sleep(0)
        fanout.end()
        assert await waiting == []


async def read_into(read: list[Event], source: EventStream) -> None:
    async for e in source:
        read.append(e)  # noqa: PERF401 - what was read before an error counts


async def drain_without_end(source: EventStream) -> list[Event]:
    return [e async for e in source]


async def test_a_stream_is_read_inside_its_with() -> None:
    with pytest.raises(SessionError):
        await anext(stream(Fanout()))


def test_a_debug_log_has_each_event_and_not_what_it_holds(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "voxtra.ari"):
        Fanout().deliver(dtmf("7"))
    assert caplog.messages == ["← ChannelDtmfReceived channel:c1"]
