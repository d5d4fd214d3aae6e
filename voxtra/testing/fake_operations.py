"""ARI's operations on the fake Asterisk's channels, bridges, playbacks and application."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from voxtra.testing.fake_asterisk import NOW, FakeAsterisk, FakeBridge, FakeChannel
from voxtra.testing.fake_errors import FakeCallError
from voxtra.testing.fake_playback import FakePlayback
from voxtra.testing.fake_rest import Answer, Ask, Refusal, operation

_HANGUP_CAUSES = {
    "busy": 17,
    "congestion": 34,
    "no_answer": 19,
    "rejected": 21,
    "unallocated": 1,
    "failure": 38,
}


# ---- channels


@operation("GET /channels")
def _list_channels(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return [asterisk.describe(channel) for channel in asterisk.channels.values()]


@operation("GET /channels/{channelId}")
def _get_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return asterisk.describe(ask.channel(asterisk))


@operation("POST /channels/{channelId}/answer")
def _answer_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    asterisk.set_state(ask.ours(asterisk), "Up")


@operation("DELETE /channels/{channelId}")
def _hang_up(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    reason = ask.get("reason", "normal")
    cause = int(ask.get("reason_code") or _HANGUP_CAUSES.get(reason, 16))
    asterisk.hang_up(ask.channel(asterisk), by="app", cause=cause, reason=reason)


@operation("POST /channels/externalMedia")
def _external_media(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    if asterisk.open_line is None:
        raise FakeCallError("the fake Asterisk has no media transport")
    channel = FakeChannel(_id(asterisk, ask, "channelId"), asterisk.new_name("WebSocket/fake"), state="Up")
    channel.subscribed = True
    channel.line = asterisk.open_line(ask.get("external_host"), lambda pcm: asterisk.sound(channel, pcm))
    asterisk.add(channel)
    asterisk.enter_stasis(channel)
    return asterisk.describe(channel)


@operation("POST /channels", "POST /channels/{channelId}")
def _originate(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    ask.given.setdefault("channelId", ask.ids[0] if ask.ids else "")
    channel = _outbound(asterisk, ask)
    _dial(asterisk, ask, channel)
    return asterisk.describe(channel)


@operation("POST /channels/create")
def _create_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    channel = _outbound(asterisk, ask)
    asterisk.enter_stasis(channel)
    return asterisk.describe(channel)


@operation("POST /channels/{channelId}/dial")
def _dial_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    _dial(asterisk, ask, ask.ours(asterisk))


def _id(asterisk: FakeAsterisk, ask: Ask, name: str) -> str:
    wanted = ask.get(name) or f"fake-{secrets.token_hex(6)}"
    if wanted in asterisk.channels:
        raise Refusal(409, "Channel with given unique ID already exists")
    return wanted


def _outbound(asterisk: FakeAsterisk, ask: Ask) -> FakeChannel:
    asked = ask.get("endpoint")
    endpoint = asterisk.endpoint(asked)
    if endpoint is None:
        known = ", ".join(asterisk.endpoints) or "none"
        raise Refusal(
            500, f"the test has no endpoint {asked!r} (it has {known}): give endpoints={{{asked!r}: ...}}"
        )
    channel = FakeChannel(_id(asterisk, ask, "channelId"), asterisk.new_name(asked), state="Down")
    channel.subscribed = True
    channel.endpoint = endpoint
    channel.number = asked
    channel.variables = {name: str(value) for name, value in (ask.given.get("variables") or {}).items()}
    # a number, or "Name" <number>; of a channel that is dialled later, what its From is made of
    shown = ask.get("callerId") or channel.variables.get("CONNECTEDLINE(all,i)", "")
    channel.caller_id = shown.partition("<")[2].partition(">")[0] or shown
    return asterisk.add(channel)


def _dial(asterisk: FakeAsterisk, ask: Ask, channel: FakeChannel) -> None:
    if asterisk.ring is None or channel.endpoint is None:
        raise FakeCallError(f"the fake Asterisk can't ring {channel.name}")
    asterisk.set_state(channel, "Ringing")
    asterisk.ring(channel, channel.endpoint, float(ask.get("timeout", "30")))


@operation("POST /channels/{channelId}/continue")
def _continue_in_dialplan(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    asterisk.go_on(ask.ours(asterisk), ask.get("context"), ask.get("extension"))


@operation("POST /channels/{channelId}/redirect")
def _redirect(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    channel = ask.ours(asterisk)
    channel.redirected = ask.get("endpoint")
    # The phone takes the REFER and calls there by itself.
    asterisk.hang_up(channel, by="far end", cause=16, reason="redirected")


@operation("POST /channels/{channelId}/ring", "DELETE /channels/{channelId}/ring",
           "POST /channels/{channelId}/progress",
           "POST /channels/{channelId}/silence", "DELETE /channels/{channelId}/silence",
           "POST /channels/{channelId}/hold", "DELETE /channels/{channelId}/hold")  # fmt: skip
def _noted(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    ask.ours(asterisk)


@operation("POST /channels/{channelId}/moh")
def _start_music(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    handset = ask.ours(asterisk).handset
    if handset is not None:
        handset.music(True)


@operation("DELETE /channels/{channelId}/moh")
def _stop_music(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    handset = ask.ours(asterisk).handset
    if handset is not None:
        handset.music(False)


@operation("POST /channels/{channelId}/mute")
def _mute(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    # "in" is what comes from the channel; "out", what it hears, is as it was.
    if ask.get("direction", "both") in ("in", "both"):
        ask.ours(asterisk).muted = True


@operation("DELETE /channels/{channelId}/mute")
def _unmute(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    ask.ours(asterisk).muted = False


@operation("POST /channels/{channelId}/dtmf")
def _send_dtmf(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    handset = ask.ours(asterisk).handset
    if handset is not None:
        handset.keyed(ask.get("dtmf"))


@operation("GET /channels/{channelId}/variable")
def _get_variable(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    channel, name = ask.channel(asterisk), ask.get("variable")
    if name not in channel.variables:
        raise Refusal(404, "Provided variable was not found")
    return {"value": channel.variables[name]}


@operation("POST /channels/{channelId}/variable")
def _set_variable(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    _set(ask.channel(asterisk), ask.get("variable"), ask.get("value"))


@operation("POST /channels/{channelId}/variables")
def _set_variables(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    variables = ask.given.get("variables") or {}
    for name, value in variables.items():
        _set(ask.channel(asterisk), name, str(value))


def _set(channel: FakeChannel, name: str, value: str) -> None:
    if name == "TALK_DETECT(remove)":
        channel.variables.pop("TALK_DETECT(set)", None)
        channel.talked_at = float("-inf")
    else:
        channel.variables[name] = value


@operation("POST /channels/{channelId}/snoop", "POST /channels/{channelId}/snoop/{snoopId}")
def _snoop(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    spied = ask.channel(asterisk)
    wanted = ask.ids[1] if len(ask.ids) > 1 else f"fake-{secrets.token_hex(6)}"
    spy = FakeChannel(wanted, asterisk.new_name(f"Snoop/{spied.id}"), state="Up", subscribed=True)
    spy.spied, spy.spy, spy.whisper = spied, ask.get("spy", "none"), ask.get("whisper", "none")
    if spy.whisper not in ("none", "out"):
        raise FakeCallError(f"snoop whisper={spy.whisper!r}: the fake Asterisk whispers to the far end only")
    asterisk.add(spy)
    asterisk.enter_stasis(spy)
    return asterisk.describe(spy)


# ---- prompts


@operation("POST /channels/{channelId}/play", "POST /channels/{channelId}/play/{playbackId}")
def _play_to_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    channel = ask.ours(asterisk)
    return _play(asterisk, ask, f"channel:{channel.id}", lambda: [] if channel.gone else [channel])


@operation("POST /bridges/{bridgeId}/play", "POST /bridges/{bridgeId}/play/{playbackId}")
def _play_to_bridge(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    bridge = ask.bridge(asterisk)
    return _play(asterisk, ask, f"bridge:{bridge.id}", lambda: list(bridge.channels))


def _play(asterisk: FakeAsterisk, ask: Ask, target: str, channels: Callable[[], list[FakeChannel]]) -> Answer:
    playback_id = ask.ids[1] if len(ask.ids) > 1 else f"fake-{secrets.token_hex(6)}"
    media = ask.get("media").split(",")
    return FakePlayback(asterisk, playback_id, media, target, channels, ask.get("lang", "en")).describe()


@operation("GET /playbacks/{playbackId}")
def _get_playback(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return _playback(asterisk, ask).describe()


@operation("DELETE /playbacks/{playbackId}")
def _stop_playback(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    _playback(asterisk, ask).stop()


def _playback(asterisk: FakeAsterisk, ask: Ask) -> FakePlayback:
    playback = asterisk.playbacks.get(ask.ids[0])
    if playback is None:
        raise Refusal(404, "Playback not found")
    return playback


# ---- bridges


@operation("GET /bridges")
def _list_bridges(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return [asterisk.describe_bridge(bridge) for bridge in asterisk.bridges.values()]


@operation("GET /bridges/{bridgeId}")
def _get_bridge(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return asterisk.describe_bridge(ask.bridge(asterisk))


@operation("POST /bridges", "POST /bridges/{bridgeId}")
def _create_bridge(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    bridge_id = ask.ids[0] if ask.ids else ask.get("bridgeId") or f"fake-{secrets.token_hex(6)}"
    bridge = FakeBridge(bridge_id, ask.get("type", "mixing"), ask.get("name"))
    asterisk.bridges[bridge_id] = bridge
    asterisk.emit("BridgeCreated", bridge=asterisk.describe_bridge(bridge))
    return asterisk.describe_bridge(bridge)


@operation("DELETE /bridges/{bridgeId}")
def _destroy_bridge(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    bridge = ask.bridge(asterisk)
    for channel in list(bridge.channels):
        asterisk.unbridge(channel)
    del asterisk.bridges[bridge.id]
    asterisk.emit("BridgeDestroyed", bridge=asterisk.describe_bridge(bridge))


@operation("POST /bridges/{bridgeId}/addChannel")
def _add_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    bridge = ask.bridge(asterisk)
    for channel_id in ask.get("channel").split(","):
        channel = asterisk.channels.get(channel_id)
        if channel is None:
            raise Refusal(400, "Channel not found")
        if not channel.in_stasis:
            raise Refusal(422, "Channel not in Stasis application")
        asterisk.bridge(bridge, channel)


@operation("POST /bridges/{bridgeId}/removeChannel")
def _remove_channel(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    bridge = ask.bridge(asterisk)
    for channel_id in ask.get("channel").split(","):
        channel = asterisk.channels.get(channel_id)
        if channel is None:
            raise Refusal(400, "Channel not found")
        if channel.bridge is not bridge:
            raise Refusal(422, "Channel not in this bridge")
        asterisk.unbridge(channel)


@operation("POST /bridges/{bridgeId}/moh", "DELETE /bridges/{bridgeId}/moh")
def _bridge_music(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    ask.bridge(asterisk)


# ---- the application


@operation("GET /applications/{applicationName}")
def _get_application(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return {"name": asterisk.app, "channel_ids": [c.id for c in asterisk.channels.values() if c.subscribed]}


@operation("POST /applications/{applicationName}/subscription")
def _subscribe(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    for source in ask.get("eventSource").split(","):
        kind, _, name = source.partition(":")
        if kind == "channel":
            if name not in asterisk.channels:
                raise Refusal(422, "Channel not found")
            asterisk.channels[name].subscribed = True
    return _get_application(asterisk, ask)


@operation("DELETE /applications/{applicationName}/subscription")
def _unsubscribe(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    for source in ask.get("eventSource").split(","):
        channel = asterisk.channels.get(source.partition(":")[2])
        if channel is not None:
            channel.subscribed = False
    return _get_application(asterisk, ask)


@operation("GET /asterisk/ping")
def _ping(asterisk: FakeAsterisk, ask: Ask) -> Answer:
    return {"asterisk_id": "fake", "ping": "pong", "timestamp": NOW}
