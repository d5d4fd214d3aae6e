"""More people than a caller: those whom the app calls, transfers to, bridges with."""

from __future__ import annotations

import asyncio

import pytest

from voxtra import CallSession, CallState, VoxtraApp
from voxtra.ari.operations import (
    ApplicationsOperations,
    BridgesOperations,
    ChannelsOperations,
    PlaybacksOperations,
    RecordingsOperations,
)
from voxtra.ari.protocol import Request
from voxtra.errors import ARIConflictError, ARINotFoundError, OriginateError
from voxtra.testing import (
    Dialplan,
    ExpectationError,
    FakeCall,
    FakeCallError,
    FakeEndpoint,
    FakeOffice,
    FakeTTS,
    run_call,
    run_virtual,
)
from voxtra.testing.fake_rest import _OPERATIONS, answer


async def anna(call: FakeCall) -> None:
    await call.says("Anna speaking")
    await call.hears("hello anna")
    await call.hangs_up()


def talking_app() -> VoxtraApp:
    return VoxtraApp(tts=FakeTTS(), stt="local")


@pytest.mark.parametrize("early", [False, True])
def test_a_call_that_the_app_places(early: bool) -> None:
    app = talking_app()

    async def main() -> CallSession:
        async with FakeOffice(app, endpoints={"PJSIP/anna": anna}) as office:
            session = await office.app.originate(
                "PJSIP/anna", caller_id="Acme <100>", variables={"X": "1"}, early_media=early
            )
            assert str(await session.listen(timeout=10)) == "Anna speaking"
            await session.say("Hello Anna")
            await asyncio.sleep(1)
            assert office.calls[0].caller_id == "100"
            assert office.calls[0].variables["X"] == "1"
            return session

    session = run_virtual(main())
    assert session.state is CallState.COMPLETED
    assert session.duration == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize(
    ("endpoint", "outcome", "cause"),
    [
        ("busy", "busy", 17),
        ("rejected", "rejected", 21),
        ("no_answer", "no_answer", 19),
        ("failed", "failed", 34),
    ],
)
def test_calls_that_nobody_takes(endpoint: str, outcome: str, cause: int) -> None:
    async def main() -> tuple[str, int, float]:
        async with FakeOffice(talking_app(), endpoints={"PJSIP/anna": endpoint}) as office:
            began = asyncio.get_running_loop().time()
            with pytest.raises(OriginateError) as caught:
                await office.app.originate("PJSIP/anna", timeout=20)
            return caught.value.outcome, caught.value.cause, asyncio.get_running_loop().time() - began

    *told, passed = run_virtual(main())
    assert told == [outcome, cause]
    assert passed == pytest.approx(20 if outcome == "no_answer" else 2, abs=1)


def test_an_endpoint_that_the_test_does_not_have() -> None:
    async def main() -> None:
        async with FakeOffice(talking_app()) as office:
            await office.app.originate("PJSIP/bob")

    with pytest.raises(OriginateError, match=r"no endpoint 'PJSIP/bob' \(it has none\)"):
        run_virtual(main())


def test_a_transfer_connects_two_people() -> None:
    async def handler(call: CallSession) -> None:
        await call.say("I connect you.")
        call.metadata["result"] = await call.transfer_to("PJSIP/anna")

    async def caller(call: FakeCall) -> None:
        await call.hears("connect you")
        await call.hears("Anna speaking")
        await call.says("Hello Anna")
        await call.ended()

    result = run_call(handler, caller, endpoints={"PJSIP/anna": anna})
    assert result.metadata["result"].reason == "completed"


def test_a_transfer_to_somebody_busy_comes_back() -> None:
    async def handler(call: CallSession) -> None:
        result = await call.transfer_to("PJSIP/anna")
        await call.say(f"Anna is {result.reason}.")

    async def caller(call: FakeCall) -> None:
        await call.hears("Anna is busy")

    run_call(handler, caller, endpoints={"anna": "busy"})


def test_a_warm_transfer() -> None:
    async def handler(call: CallSession) -> None:
        result = await call.transfer_warm("PJSIP/anna", brief="A caller for you. Press one.")
        call.metadata["reason"] = result.reason
        await call.bridged()

    async def agent(call: FakeCall) -> None:
        await call.hears("press one")
        await call.presses("1")
        await call.says("Good morning, this is Anna")
        await call.hears("hi")

    async def caller(call: FakeCall) -> None:
        await call.answered()
        await call.silence(1)
        assert call.on_music
        await call.hears("this is Anna")
        await call.says("Hi")
        await call.silence(1)
        await call.hangs_up()

    result = run_call(handler, caller, endpoints={"PJSIP/anna": agent})
    assert result.metadata["reason"] == "completed"


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (Dialplan(5, connects="PJSIP/anna-00000001"), "completed"),
        (Dialplan(20, returns=("queue", "TIMEOUT")), "timeout"),
    ],
)
def test_a_queue(plan: Dialplan, reason: str) -> None:
    async def handler(call: CallSession) -> None:
        await call.answer()
        result = await call.transfer_to_queue("sales", {"TICKET": 7})
        call.metadata["reason"] = result.reason
        if result.reason == "timeout":
            await call.say("Everybody is busy.")

    async def caller(call: FakeCall) -> None:
        if reason == "timeout":
            await call.hears("Everybody is busy")
        else:
            await call.silence(10)
            assert call.continued == ("voxtra-queue", "sales")
            await call.hangs_up()
        assert call.variables["TICKET"] == "7"

    result = run_call(handler, caller, dialplan={"voxtra-queue": plan})
    assert result.metadata["reason"] == reason


def test_two_callers_are_bridged() -> None:
    app = talking_app()
    waiting: list[CallSession] = []

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        if not waiting:
            waiting.append(call)
            await asyncio.sleep(3)
            await call.bridged()
        else:
            await call.bridge_with(waiting[0])
            await call.bridged()

    async def first(call: FakeCall) -> None:
        await call.hears("Is anybody there?")
        await call.says("Yes, me")
        await call.hears("fine")
        await call.hangs_up()

    async def second(call: FakeCall) -> None:
        await call.answered()
        await call.silence(1)
        await call.says("Is anybody there?")
        await call.hears("yes, me")
        await call.says("Fine")

    async def main() -> list[str]:
        async with FakeOffice(app) as office:
            results = await asyncio.gather(office.call(first), office.call(second))
            assert office.asterisk.bridges == {}
            assert office.asterisk.channels == {}
            return [result.call.ended_by for result in results]

    assert run_virtual(main())[0] == "caller"


@pytest.mark.parametrize("whisper", [False, True])
def test_somebody_listens_in_and_whispers(whisper: bool) -> None:
    app = talking_app()

    @app.default()
    async def handler(call: CallSession) -> None:
        await call.answer()
        boss = await app.originate("PJSIP/boss")
        await boss.listen_in(call, whisper=whisper)
        await call.listen(timeout=20)
        await call.say("The agent answers.")
        await asyncio.sleep(15)

    async def boss(call: FakeCall) -> None:
        await call.hears("A question")
        await call.hears("The agent answers")
        await call.silence(1)
        await call.says("Offer a discount")

    async def caller(call: FakeCall) -> None:
        await call.silence(5)
        await call.says("A question")
        await call.hears("The agent answers")
        await call.silence(8)
        assert ("Offer a discount" in call.heard) is whisper

    run_call(app, caller, endpoints={"PJSIP/boss": boss})


def test_many_calls_at_once_do_not_mix() -> None:
    app = talking_app()

    @app.default()
    async def handler(call: CallSession) -> None:
        user = await call.listen(timeout=10)
        await call.say(f"You are {user.text}.")

    async def main() -> None:
        async def one(number: int) -> None:
            async def caller(call: FakeCall) -> None:
                await call.says(f"caller number {number} of many")
                await call.hears(f"You are caller number {number} of many.")

            await office.call(caller)

        async with FakeOffice(app) as office:
            await asyncio.gather(*(one(number) for number in range(30)))

    run_virtual(main())


def test_what_a_called_person_expects_is_expected() -> None:
    async def impatient(call: FakeCall) -> None:
        await call.hears("Good news", timeout=5)

    async def handler(call: CallSession) -> None:
        await call.transfer_to("PJSIP/anna")

    async def caller(call: FakeCall) -> None:
        await call.silence(20)
        await call.hangs_up()

    with pytest.raises(ExpectationError, match="PJSIP/anna: waited 5 s for the words 'Good news'"):
        run_call(handler, caller, endpoints={"PJSIP/anna": FakeEndpoint(rings=1, script=impatient)})


# ---- the fake Asterisk


def test_an_operation_that_it_lacks_is_named() -> None:
    async def handler(call: CallSession) -> None:
        await call._ari.channels.rtpstatistics(channel_id=call.id)

    with pytest.raises(FakeCallError, match=r"can't do  GET /channels/fake-call-1/rtp_statistics "):
        run_call(handler)


def test_it_refuses_as_asterisk_does() -> None:
    async def handler(call: CallSession) -> None:
        ari = call._ari
        with pytest.raises(ARINotFoundError):
            await ari.channels.answer(channel_id="nobody")
        with pytest.raises(ARINotFoundError):
            await ari.bridges.get(bridge_id="none")
        with pytest.raises(ARINotFoundError):
            await ari.playbacks.get(playback_id="none")
        with pytest.raises(ARINotFoundError):
            await ari.channels.get_channel_var(channel_id=call.id, variable="NONE")
        await ari.bridges.create_with_id(bridge_id="b")
        with pytest.raises(ARINotFoundError):
            await ari.bridges.add_channel(bridge_id="b", channel=["nobody"])
        await ari.bridges.destroy(bridge_id="b")
        await ari.channels.external_media(app=ari.app, channel_id="mine", external_host="x", format="slin")
        with pytest.raises(ARIConflictError):
            await ari.channels.external_media(
                app=ari.app, channel_id="mine", external_host="y", format="slin"
            )
        await ari.channels.hangup(channel_id="mine")

    run_call(handler)


def test_every_operation_of_the_fake_is_one_of_ari() -> None:
    """A path that the client never asks for would be a spelling mistake."""
    asked: set[tuple[str, str]] = set()

    class Sender:
        async def send(self, request: Request, timeout_s: float | None) -> str:
            asked.add((request.method, request.path))
            raise ConnectionError

    async def main() -> None:
        for kind in (
            ApplicationsOperations,
            BridgesOperations,
            ChannelsOperations,
            PlaybacksOperations,
            RecordingsOperations,
        ):
            operations = kind(Sender())
            for name in dir(kind):
                if name.startswith("_"):
                    continue
                method = getattr(operations, name)
                wanted = {
                    parameter: "*"
                    for parameter, how in __import__("inspect").signature(method).parameters.items()
                    if how.default is how.empty
                }
                with pytest.raises(ConnectionError):
                    await method(**wanted)

    asyncio.run(main())
    asked.add(("GET", "/asterisk/ping"))
    known = {(method, path.replace("%2A", "*")) for method, path in asked}
    assert set(_OPERATIONS) - known == set()


def test_paths_are_found_whatever_the_ids() -> None:
    async def main() -> int:
        async with FakeOffice(talking_app()) as office:
            return answer(office.asterisk, Request("DELETE", "/channels/a%2Fb")).status

    assert run_virtual(main()) == 404


def test_endpoints_that_make_no_sense() -> None:
    with pytest.raises(FakeCallError, match=r"FakeEndpoint\('sleepy'\): one of answers, busy"):
        FakeEndpoint("sleepy")
    with pytest.raises(FakeCallError, match="endpoint 7"):
        run_call(anna, endpoints={"PJSIP/anna": 7})
