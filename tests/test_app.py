from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from fake_app import World, running
from fake_calls import breathe

from voxtra import AppState, CallSession, Router, VoxtraApp
from voxtra.ari import Channel
from voxtra.ari.events import CallBroadcast
from voxtra.ari.state import ConnectionState
from voxtra.config import VoxtraConfig
from voxtra.errors import (
    ARIConflictError,
    ARIConnectionLostError,
    AuthenticationError,
    ConfigurationError,
    MediaError,
    NotConnectedError,
    OriginateError,
    TelephonyConnectionError,
)
from voxtra.events import VoxtraEvent

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def quick(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.exchange.FORCE_S", 0.3)
    monkeypatch.setattr("voxtra.calls.leg.CAUSE_WAIT_S", 0.1)  # shorter than that, as in earnest
    monkeypatch.setattr("voxtra.live.HANDLER_GRACE_S", 0.05)
    monkeypatch.setattr("voxtra.live.STOP_GRACE_S", 0.02)
    for name in list(os.environ):
        if name.startswith("VOXTRA_"):
            monkeypatch.delenv(name)


async def answers(call: CallSession) -> None:
    await call.answer()


async def stays(call: CallSession) -> None:
    await call.answer()
    await asyncio.sleep(60)


def complaint(action: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        action()
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ari_url": "nonsense"}, "asterisk.url = 'nonsense': must be an address like http://localhost:8088"),
        ({"ari_url": 5}, "asterisk.url = 5"),
        ({"listen": "a b"}, "asterisk.listen = 'a b': must be PORT or HOST:PORT"),
        ({"ari_user": 5}, "asterisk.user = 5"),
        ({"ari_password": 5}, "asterisk.password: must be text"),
        ({"app_name": "a b"}, "asterisk.app_name = 'a b'"),
        ({"reconnect_interval": "soon"}, "asterisk.reconnect_interval = 'soon'"),
        ({"reconnect_interval": -1}, "asterisk.reconnect_interval = -1"),
        ({"router": "routes"}, "router='routes': should be a voxtra.Router"),
        ({"stt": 5}, "stt=5: should be a STT provider, its name, or its settings"),
        ({"llm": object}, "llm=<class 'object'>"),
        ({"tts": ["local"]}, "tts=['local']"),
        ({"vad": 1.0}, "vad=1.0"),
        ({"recording_sink": "folder"}, "recording_sink='folder': should be a RecordingSink"),
        ({"turn_detection": 5}, "turn detection = 5"),
        ({"turn_detection": {"silence": 5}}, "turn detection has no setting 'silence'"),
        ({"instructions": 5}, "instructions=5: should be text"),
        ({"media": 5}, "media=5: should be settings"),
        ({"media": {"foo": 1}}, "unknown setting 'media.foo'"),
        ({"media": {"transport": "pigeon"}}, "media.transport = 'pigeon'"),
        ({"drain_s": "5"}, "drain_s='5': should be seconds"),
        ({"drain_s": -1}, "drain_s=-1: should be seconds"),
        ({"drain_s": float("nan")}, "drain_s=nan"),
        ({"apology": 5}, "apology=5: should be words"),
        ({"private_urls": "no"}, "private_urls='no': should be True or False"),
    ],
)
def test_constructor_arguments_that_cannot_be(options: dict[str, Any], said: str) -> None:
    assert said in complaint(lambda: VoxtraApp(**options))


def test_a_password_never_shows() -> None:
    assert "secret" not in complaint(lambda: VoxtraApp(ari_password=["secret"]))  # type: ignore[arg-type]


def test_routes_listeners_and_hooks_that_cannot_be() -> None:
    app = VoxtraApp()
    assert "did you mean 'extension'" in complaint(lambda: app.route(extention="1"))
    assert "parentheses" in complaint(lambda: app.route(answers))
    assert "parentheses" in complaint(lambda: app.default(answers))
    assert "parentheses" in complaint(lambda: app.default_route(answers))
    assert "events are call.started" in complaint(lambda: app.on("call.begun"))
    assert "no function" in complaint(lambda: app.on_startup(None))  # type: ignore[type-var]
    assert "no function" in complaint(lambda: app.on_shutdown("x"))  # type: ignore[type-var]
    assert "no function" in complaint(lambda: app.on()(5))  # type: ignore[type-var]
    assert "a VoxtraConfig" in complaint(lambda: app.configure({}))  # type: ignore[arg-type]
    assert "a VoxtraConfig" in complaint(lambda: VoxtraApp.from_config("voxtra.yaml"))  # type: ignore[arg-type]
    assert "a YAML file" in complaint(lambda: VoxtraApp.from_yaml(None))  # type: ignore[arg-type]
    assert "parentheses" in complaint(lambda: app.on(answers))  # type: ignore[arg-type]
    assert "two arguments" in complaint(lambda: app.middleware(answers))  # type: ignore[type-var]
    assert "async def" in complaint(lambda: app.middleware(lambda call, next: None))  # type: ignore[arg-type, return-value]


def test_on_call_is_old_but_works() -> None:
    app = VoxtraApp()
    with pytest.deprecated_call():
        app.on_call(extension="1")(answers)
    with pytest.deprecated_call():
        app.on_call(answers)
    assert len(app.router.routes) == 1
    assert app.router


# ---- settings


def test_where_settings_come_from(tmp_path: Path, monkeypatch: Patch) -> None:
    file = tmp_path / "voxtra.yaml"
    file.write_text("asterisk:\n  url: http://file:8088\n  user: filed\nmedia:\n  transport: rtp\n")
    monkeypatch.setenv("VOXTRA_ARI_USER", "environment")
    app = VoxtraApp.from_yaml(str(file), app_name="program", media={"codec": "alaw"})
    settings = app.settings
    assert (settings.asterisk.url, settings.asterisk.user) == ("http://file:8088", "environment")
    assert (app.app_name, settings.media.transport, settings.media.codec) == ("program", "rtp", "alaw")
    other = VoxtraApp.with_asterisk(ari_url="http://a:1", ari_user="u", ari_password="p")
    assert (other.settings.asterisk.url, other.app_name) == ("http://a:1", "voxtra")


async def test_settings_stay_while_it_runs(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        with pytest.raises(ConfigurationError, match=r"stop\(\) it first"):
            world.app.configure(VoxtraConfig())
    world.app.configure(VoxtraConfig())


@pytest.mark.proves("failure 26")
async def test_routes_of_the_settings(monkeypatch: Patch, tmp_path: Path) -> None:
    (tmp_path / "desk_of_test.py").write_text("async def answer(call):\n    call.metadata['by'] = 'desk'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    world = World(monkeypatch)
    routes = [{"handler": "desk_of_test:answer", "extension": "100", "metadata": {"queue": 1}}]
    world.app.configure(VoxtraConfig.model_validate({"routes": routes, "asterisk": {"app_name": "test"}}))
    for _ in range(2):  # started again, they are not there twice
        await world.app.start()
        session = world.call()
        await world.over()
        await world.app.stop()
    assert session.metadata == {"queue": 1, "by": "desk"}
    assert len(world.app.router.routes) == 1
    for handler in ("desk_of_test:nobody", "no_such_module:answer"):
        bad = World(monkeypatch)
        bad.app.configure(VoxtraConfig.model_validate({"routes": [{"handler": handler}]}))
        with pytest.raises(ConfigurationError, match=f"routes: handler '{handler}' can't be imported"):
            await bad.app.start()


# ---- starting


async def test_before_the_start() -> None:
    app = VoxtraApp(router=Router())
    assert not app.is_running
    assert not app.is_ready
    assert app.active_sessions == []
    assert app.get_session("x") is None
    with pytest.raises(NotConnectedError):
        app.ari  # noqa: B018
    with pytest.raises(RuntimeError):
        await app.originate("PJSIP/alice")
    with pytest.raises(NotConnectedError):
        await app.wait_broken()
    await app.stop()


async def test_start_twice(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        with pytest.raises(ConfigurationError, match="ready already"):
            await world.app.start()
        assert world.app.is_ready


def startup_fails(world: World) -> type[Exception]:
    @world.app.on_startup
    def fails() -> None:
        raise ValueError("the hook's own fault")

    return ValueError


def no_login(world: World) -> type[Exception]:
    world.ari.answers["connect"] = AuthenticationError("no")
    return AuthenticationError


def port_taken(world: World) -> type[Exception]:
    async def start() -> None:
        raise MediaError("127.0.0.1:4000 is taken")

    world.transport.start = start  # type: ignore[method-assign]
    return MediaError


@pytest.mark.parametrize("flaw", [startup_fails, no_login, port_taken])
async def test_a_start_that_fails_releases_everything(monkeypatch: Patch, flaw: Any) -> None:
    before = asyncio.all_tasks()
    world = World(monkeypatch)
    error = flaw(world)
    with pytest.raises(error):
        await world.app.start()
    assert not world.app.is_running
    assert (world.ari.names().count("close"), world.transport.log) in [
        (1, ["start", "close"]),
        (0, []),
    ]
    assert not any(world.ari._listeners["event"])
    await breathe()
    assert asyncio.all_tasks() == before
    await world.app.stop()


async def test_callers_of_a_start_that_fails_go_back_to_the_dialplan(monkeypatch: Patch) -> None:
    world = World(monkeypatch)

    @world.app.on_startup
    async def fails() -> None:
        world.ari.arrive("early")
        await breathe()
        raise ValueError("the hook's own fault")

    with pytest.raises(ValueError, match="own fault"):
        await world.app.start()
    assert world.ari.asked_for("channels.continue_in_dialplan") == [{"channel_id": "early"}]
    assert world.events == []


async def test_calls_wait_for_the_start_up_hooks_and_are_taken_once(monkeypatch: Patch) -> None:
    order: list[str] = []
    world = World(monkeypatch)

    @world.app.default()
    async def handler(call: CallSession) -> None:
        order.append(call.id)
        await call.answer()

    @world.app.on_startup
    async def hook() -> None:
        world.ari.arrive("early")
        world.ari.resync()  # which tells of it again
        world.ari.arrive("gone")
        world.ari.hang_up("gone")
        await breathe()
        order.append("hook")

    world.ari.channels_there["before"] = world.ari.arrive("before")
    await world.app.start()
    await world.over()
    await world.app.stop()
    assert order == ["hook", "before", "early"]
    assert world.types().count("call.started") == 2


async def test_too_many_who_wait_go_back(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.exchange.MAX_WAITING", 1)
    world = World(monkeypatch)
    world.app.default()(answers)

    @world.app.on_startup
    def hook() -> None:
        world.ari.arrive("one")
        world.ari.arrive("two")

    await world.app.start()
    await world.over()
    await world.app.stop()
    assert world.ari.asked_for("channels.continue_in_dialplan") == [{"channel_id": "two"}]


@pytest.mark.parametrize("where", ["connect", "transport", "hook"])
async def test_stop_gives_a_start_up(monkeypatch: Patch, where: str) -> None:
    before = asyncio.all_tasks()
    world = World(monkeypatch)
    hang = asyncio.Event()
    if where == "connect":
        world.ari.gates["connect"] = hang
    elif where == "transport":
        world.transport.start = hang.wait  # type: ignore[assignment,method-assign]
    else:
        world.app.on_startup(hang.wait)
    starting = asyncio.ensure_future(world.app.start())
    await breathe()
    world.ari.arrive("early")
    await asyncio.wait_for(world.app.stop(), 2)
    with pytest.raises(NotConnectedError, match="stopped while it started"):
        await starting
    assert not world.app.is_running
    if where != "transport":
        assert world.ari.names()[-1] == "close"
        assert world.transport.log == ["start", "close"]
    hang.set()
    await breathe()
    assert asyncio.all_tasks() == before
    with pytest.raises(NotConnectedError):
        world.app.ari  # noqa: B018


async def test_a_start_that_is_cancelled_releases_everything(monkeypatch: Patch) -> None:
    before = asyncio.all_tasks()
    world = World(monkeypatch)
    world.ari.gates["connect"] = asyncio.Event()
    starting = asyncio.ensure_future(world.app.start())
    await breathe()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert world.transport.log == ["start", "close"]
    await breathe()
    assert asyncio.all_tasks() == before
    world.ari.gates.clear()
    await world.app.start()
    await world.app.stop()


async def test_a_hook_may_stop_the_app(monkeypatch: Patch) -> None:
    world = World(monkeypatch)
    world.app.on_startup(world.app.stop)
    with pytest.raises(NotConnectedError):
        await asyncio.wait_for(world.app.start(), 2)
    assert not world.app.is_running
    assert world.transport.log == ["start", "close"]


# ---- stopping


async def test_stop_drains_then_gives_back_then_runs_the_hooks(monkeypatch: Patch) -> None:
    order: list[str] = []

    async def handler(call: CallSession) -> None:
        call.on_hangup(lambda: order.append(f"ended {call.id}"))  # type: ignore[arg-type,return-value]
        await call.answer()
        await asyncio.sleep(0.02 if call.id == "short" else 60)

    async with running(monkeypatch, handler) as world:

        @world.app.on_shutdown
        def fails() -> None:
            order.append("hook")
            raise ValueError("the hook's own fault")

        @world.app.on_shutdown
        async def last() -> None:
            assert world.app.active_sessions == []
            assert world.app.ari.ready
            order.append("last hook")

        world.call("short")
        world.call("long")
        await breathe()
        stopping = asyncio.ensure_future(world.app.stop(0.1))
        again = asyncio.ensure_future(world.app.stop(0.1))
        await breathe()
        world.ari.arrive("late")
        assert not world.app.is_ready
        with pytest.raises(NotConnectedError, match="is stopping"):
            await world.app.originate("PJSIP/alice")
        assert world.app.state is AppState.DRAINING
        await asyncio.gather(stopping, again)
        back = [("late", "draining"), ("long", "leftover")]
        assert [a["channel_id"] for a in world.ari.asked_for("channels.continue_in_dialplan")] == [
            "late",
            "long",
        ]
        assert [
            (a["channel_id"], a["value"])
            for a in world.ari.asked_for("channels.set_channel_var")
            if a["variable"] == "VOXTRA_RETURNED"
        ] == back
        assert {"channel_id": "long", "reason": "normal"} not in world.ari.asked_for("channels.hangup")
    assert order == ["ended short", "ended long", "hook", "last hook"]


@pytest.mark.parametrize(
    ("goto", "said"),
    [
        ("", {}),
        ("3", {"priority": 3}),
        ("no-app", {"label": "no-app"}),
        ("t,1", {"extension": "t", "priority": 1}),
        ("ivr-down,s,1", {"context": "ivr-down", "extension": "s", "priority": 1}),
        ("ivr-down,100,start", {"context": "ivr-down", "extension": "100", "label": "start"}),
    ],
)
async def test_where_calls_go_back_to(monkeypatch: Patch, goto: str, said: dict[str, Any]) -> None:
    monkeypatch.setenv("VOXTRA_DRAIN_GOTO", goto)
    async with running(monkeypatch, stays) as world:
        session = world.call()
        await breathe()
        await world.app.stop(0)
        assert world.ari.asked_for("channels.continue_in_dialplan") == [{"channel_id": "caller", **said}]
    assert session.end is not None
    assert session.end.reason == "left"
    assert world.types()[-2:] == ["call.ended", "session.destroyed"]


@pytest.mark.parametrize("goto", ["a,b,c,d", "a b", "s,,1", "x;y"])
def test_where_calls_cannot_go_back_to(monkeypatch: Patch, goto: str) -> None:
    monkeypatch.setenv("VOXTRA_DRAIN_GOTO", goto)
    assert "drain.goto" in complaint(VoxtraApp)


async def test_what_is_left_is_hung_up_when_the_settings_say_so(monkeypatch: Patch) -> None:
    monkeypatch.setenv("VOXTRA_DRAIN_LEFTOVER", "hangup")
    async with running(monkeypatch, stays) as world:
        session = world.call()
        await breathe()
        await world.app.stop(0)
        assert world.ari.asked_for("channels.continue_in_dialplan") == []
    assert session.end is not None
    assert session.end.reason == "local"


async def test_a_call_that_we_placed_has_no_dialplan_to_go_back_to(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        placing = asyncio.ensure_future(world.app.originate("PJSIP/alice"))
        await breathe()
        (asked,) = world.ari.asked_for("channels.originate_with_id")
        world.ari.arrive(asked["channel_id"], state="Up")
        session = await placing
        await world.app.stop(0)
        assert world.ari.asked_for("channels.continue_in_dialplan") == []
    assert session.end is not None
    assert session.end.reason == "local"


async def test_a_call_that_the_dialplan_will_not_have_is_hung_up(monkeypatch: Patch) -> None:
    async with running(monkeypatch, stays) as world:
        session = world.call()
        await breathe()
        world.ari.answers["channels.continue_in_dialplan"] = ARIConnectionLostError("POST", "/continue")
        await world.app.stop(0)
    assert session.end is not None
    assert session.end.reason == "local"


async def test_patience_can_be_cut_short(monkeypatch: Patch) -> None:
    async with running(monkeypatch, stays) as world:
        for _ in range(2):  # and the next stop is patient again
            world.call()
            await breathe()
            stopping = asyncio.ensure_future(world.app.stop(60))
            await breathe()
            assert not stopping.done()
            await asyncio.wait_for(world.app.stop(0), 3)
            assert stopping.done()
            world.ari.channels_there.clear()
            await world.app.start()
            world.ari.ready = True


async def test_calls_that_are_offered_are_claimed_while_calls_are_taken(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.exchange.CLAIM_S", 0.0)
    async with running(monkeypatch, stays) as world:
        world.ari.answers["events.claim_channel"] = lambda channel_id, application: (
            ARIConflictError("POST", "/events/claim", 409) if channel_id == "slow" else True
        )
        for name in ("first", "slow"):
            world.ari.tell(CallBroadcast(channel=Channel(id=name, name=f"PJSIP/{name}")))
        await breathe()
        asked = world.ari.asked_for("events.claim_channel")
        assert asked == [{"channel_id": name, "application": "test"} for name in ("first", "slow")]
        world.call("first")
        stopping = asyncio.ensure_future(world.app.stop(0.05))
        await breathe()
        world.ari.tell(CallBroadcast(channel=Channel(id="late", name="PJSIP/late")))
        await stopping
        assert len(world.ari.asked_for("events.claim_channel")) == 2


async def test_who_has_calls_lets_others_claim_first(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.exchange.CLAIM_S", 0.2)
    monkeypatch.setattr("voxtra.exchange.CLAIM_MAX_S", 0.2)
    async with running(monkeypatch, stays) as world:
        world.ari.answers["events.claim_channel"] = True
        world.call()
        world.ari.tell(CallBroadcast(channel=Channel(id="next", name="PJSIP/next")))
        await breathe()
        assert world.ari.asked_for("events.claim_channel") == []
        async with asyncio.timeout(10):
            while not world.ari.asked_for("events.claim_channel"):
                await asyncio.sleep(0.005)


async def test_of_calls_that_come_all_at_once_others_may_claim_some(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.exchange.CLAIM_S", 0.2)
    monkeypatch.setattr("voxtra.exchange.CLAIM_MAX_S", 0.2)
    async with running(monkeypatch, stays) as world:
        world.ari.answers["events.claim_channel"] = True
        for name in ("first", "second", "third"):
            world.ari.tell(CallBroadcast(channel=Channel(id=name, name=f"PJSIP/{name}")))
        await breathe()
        assert [each["channel_id"] for each in world.ari.asked_for("events.claim_channel")] == ["first"]
        async with asyncio.timeout(10):
            while len(world.ari.asked_for("events.claim_channel")) < 3:
                await asyncio.sleep(0.005)


async def test_states_and_health(monkeypatch: Patch) -> None:
    world = World(monkeypatch)
    app = world.app
    seen = [app.health()]
    gate = world.ari.gates["connect"] = asyncio.Event()
    starting = asyncio.ensure_future(app.start())
    await breathe()
    seen.append(app.health())
    gate.set()
    await starting
    world.call()
    seen.append(app.health())
    world.ari.ready, world.ari.last_error = False, TelephonyConnectionError("no answer")
    for callback in world.ari._listeners["state"]:
        callback(ConnectionState.LOST)
    seen.append(app.health())
    world.ari.ready, world.ari.last_error = True, None
    for callback in world.ari._listeners["state"]:
        callback(ConnectionState.READY)
    seen.append(app.health())
    world.ari.last_error = TelephonyConnectionError("another client has the name")
    for callback in world.ari._listeners["state"]:
        callback(ConnectionState.REPLACED)
    seen.append(app.health())
    await app.stop()
    seen.append(app.health())
    assert [each["state"] for each in seen] == [
        "new", "starting", "ready", "lost", "ready", "failed", "stopped"
    ]  # fmt: skip
    assert [each["ready"] for each in seen] == [False, False, True, False, True, False, False]
    assert [each["calls"] for each in seen] == [0, 0, 1, 1, 1, 1, 0]
    assert [each["error"] for each in seen][3:6] == ["no answer", "", "another client has the name"]
    assert sorted(each["since"] for each in seen) == [each["since"] for each in seen]
    assert seen[0]["app"] == "test"


async def test_a_handler_may_stop_the_app(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        await world.app.stop(0.02)

    async with running(monkeypatch, handler) as world:
        session = world.call()
        await breathe()
        async with asyncio.timeout(2):
            assert "stopped" in str(await world.app.wait_broken())
        assert not world.app.is_running
    assert session.end is not None
    assert world.types()[-1] == "session.destroyed"


async def test_stop_without_asterisk(monkeypatch: Patch) -> None:
    async with running(monkeypatch, stays) as world:
        session = world.call()
        await breathe()
        lost = ARIConnectionLostError("DELETE", "/x")
        closed = TelephonyConnectionError("closed")
        world.ari.answers |= {
            "channels.hangup": lost, "channels.set_channel_var": lost, "wait_ready": closed
        }  # fmt: skip
        await asyncio.wait_for(world.app.stop(0), 3)
        world.ari.answers.clear()
    assert session.end is not None
    assert session.end.reason == "lost"
    assert world.types()[-2:] == ["call.ended", "session.destroyed"]


async def test_a_part_that_cannot_be_closed_does_not_keep_the_rest(monkeypatch: Patch) -> None:
    world = World(monkeypatch)
    await world.app.start()
    world.ari.answers["close"] = OSError("broken")
    await world.app.stop()
    assert not world.app.is_running
    assert world.transport.log == ["start", "close"]
    world.ari.answers.clear()
    await world.app.start()
    await world.app.stop()


async def test_stop_while_a_call_is_being_placed(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        placing = asyncio.ensure_future(world.app.originate("PJSIP/alice"))
        await breathe()
        (asked,) = world.ari.asked_for("channels.originate_with_id")
        await world.app.stop(0)
        with pytest.raises(OriginateError):
            await asyncio.wait_for(placing, 2)
        assert asked["channel_id"] in [a["channel_id"] for a in world.ari.asked_for("channels.hangup")]


# ---- running


@pytest.mark.parametrize("how", ["signal", "stop", "stop while it starts", "broken", "no login"])
async def test_run_async(monkeypatch: Patch, how: str) -> None:
    before = asyncio.all_tasks()
    world = World(monkeypatch)
    shut: list[bool] = []
    world.app.on_shutdown(lambda: shut.append(True))
    if how == "no login":
        world.ari.answers["connect"] = AuthenticationError("no")
    if how == "stop while it starts":
        world.ari.gates["connect"] = asyncio.Event()
    running = asyncio.ensure_future(world.app.run_async())
    await breathe()
    if how == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
    elif how.startswith("stop"):
        await world.app.stop()
    elif how == "broken":
        world.ari.last_error = TelephonyConnectionError("another client has the name")
        for callback in world.ari._listeners["state"]:
            callback(ConnectionState.REPLACED)
    async with asyncio.timeout(3):
        if how in ("broken", "no login"):
            with pytest.raises(TelephonyConnectionError, match=r"another client|no"):
                await running
        else:
            await running
    assert not world.app.is_running
    assert shut == ([] if how == "no login" else [True])
    await breathe()
    assert asyncio.all_tasks() == before


# ---- calls


async def test_a_call_that_nobody_takes(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        world.call()
        await world.over()
        assert world.ari.asked_for("channels.hangup") == [{"channel_id": "caller", "reason": "unallocated"}]


async def test_what_a_handler_is_told(monkeypatch: Patch) -> None:
    seen: list[Any] = []

    async with running(monkeypatch) as world:

        async def rule(*, extension: str, number: str, channel: str, args: list[str]) -> bool:
            seen.append((extension, number, channel, args))
            return True

        world.app.router.add_dispatch_rule(rule, stays)
        session = world.call(args="one two")
        await breathe()
        assert world.app.active_sessions == [session]
        assert (session.caller_id, session.called_number) == ("4711", "100")
    assert seen == [("100", "4711", "PJSIP/caller", ["one", "two"])]


async def test_metadata_of_a_route_is_each_calls_own(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        shared = object()
        seen: list[Any] = []

        @world.app.route(metadata={"notes": [], "of": {"caller": []}, "shared": shared})
        async def handler(call: CallSession) -> None:
            call.metadata["notes"].append(call.id)
            call.metadata["of"]["caller"].append(call.id)
            seen.append(call.metadata)

        for name in ("one", "two"):
            world.call(name)
            await world.over()
        assert [(each["notes"], each["of"]) for each in seen] == [
            (["one"], {"caller": ["one"]}),
            (["two"], {"caller": ["two"]}),
        ]
        assert all(each["shared"] is shared for each in seen)


async def test_one_call_that_fails_is_its_own(monkeypatch: Patch) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        if call.id == "bad":
            raise RuntimeError("the handler's own fault")
        await asyncio.sleep(60)

    async with running(monkeypatch, handler) as world:
        world.call("bad")
        good = world.call("good")
        await breathe(60)
        assert world.app.active_sessions == [good]
        assert good.is_active


async def test_a_rule_that_fails_ends_its_call_alone(monkeypatch: Patch) -> None:
    async def rule(*, extension: str) -> bool:
        raise LookupError("the table is gone")

    async with running(monkeypatch) as world:
        world.app.router.add_dispatch_rule(rule, answers)
        world.call()
        await world.over()
        assert world.types().count("error") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"endpoint": "no such / thing"}, "'no such / thing'"),
        ({"endpoint": 5}, "endpoint=5"),
        ({"endpoint": "PJSIP/a", "timeout": "30"}, "timeout='30'"),
        ({"endpoint": "PJSIP/a", "timeout": 0}, "timeout=0"),
        ({"endpoint": "PJSIP/a", "variables": ["X"]}, "variables=['X']"),
        ({"endpoint": "PJSIP/a", "variables": {"N": 5}}, "variables: 'N' = 5: should be text"),
        ({"endpoint": "PJSIP/a", "headers": ["X"]}, "headers=['X']"),
        ({"endpoint": "PJSIP/a", "headers": {"X-N": 5}}, "SIP header 'X-N': 5"),
        ({"endpoint": "PJSIP/a", "headers": {5: "X"}}, "SIP header 5: 'X'"),
        ({"endpoint": "PJSIP/a", "caller_id": 4711}, "caller_id=4711"),
    ],
)
async def test_calls_that_cannot_be_placed(monkeypatch: Patch, arguments: dict[str, Any], said: str) -> None:
    async with running(monkeypatch) as world:
        with pytest.raises(ConfigurationError) as error:
            await world.app.originate(**arguments)
        assert said in str(error.value)
        assert world.ari.asked_for("channels.originate_with_id") == []
        world.ari.ready = False
        with pytest.raises(NotConnectedError):
            await world.app.originate("PJSIP/alice")


async def test_placing_given_up_leaves_no_phone_ringing(monkeypatch: Patch) -> None:
    async with running(monkeypatch) as world:
        placing = asyncio.ensure_future(world.app.originate("PJSIP/alice"))
        await breathe()
        (asked,) = world.ari.asked_for("channels.originate_with_id")
        placing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await placing
        await world.over()
        hung_up = world.ari.asked_for("channels.hangup")
        assert {"channel_id": asked["channel_id"], "reason": "no_answer"} in hung_up


async def test_asterisk_is_lost_while_a_phone_rings(monkeypatch: Patch) -> None:
    monkeypatch.setattr("voxtra.calls.dial.ANSWER_GRACE_S", 0.02)
    async with running(monkeypatch) as world:
        lost = ARIConnectionLostError("DELETE", "/x")
        world.ari.answers |= {"channels.hangup": lost, "wait_ready": TelephonyConnectionError("gone")}
        with pytest.raises(OriginateError):
            await asyncio.wait_for(world.app.originate("PJSIP/alice", timeout=0.01), 3)
        await world.over()
        world.ari.answers.clear()


async def test_listeners_that_hang_are_bounded(monkeypatch: Patch, caplog: pytest.LogCaptureFixture) -> None:
    """A slow one costs its call's events, not the process its memory."""
    monkeypatch.setattr("voxtra.exchange.MAX_BESIDE", 10)
    began: list[str] = []

    async def handler(call: CallSession) -> None:
        await call.answer()
        await asyncio.sleep(60)

    async with running(monkeypatch, handler) as world:
        hangs = asyncio.Event()

        @world.app.on("dtmf.received")
        async def slow(event: VoxtraEvent) -> None:
            began.append(event.digit)  # type: ignore[attr-defined]
            await hangs.wait()

        world.call()
        await breathe()
        world.ari.press("caller", "1" * 30)
        await breathe()
        assert len(began) == 10
        assert caplog.text.count("left out") == 1
        hangs.set()
        await breathe()
        world.ari.press("caller", "2")
        await breathe()
        assert began[-1] == "2"
        world.ari.hang_up("caller")
        await world.over()
