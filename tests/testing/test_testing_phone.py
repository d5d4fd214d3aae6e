"""Two phones without a server, on a network that loses what it can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from voxtra.errors import CallEndedError
from voxtra.testing import phone_transport, rtp
from voxtra.testing.phone import Phone, PhoneCall, PhoneError

LOUD = rtp.ulaw_to_pcm(b"\x80\x00" * 800)  # 200 ms


class Network(asyncio.DatagramProtocol):
    """A relay between two phones. ``loses(data)`` says what does not arrive."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.loses: Callable[[bytes], bool] = lambda data: False
        self.callee = ("127.0.0.1", 0)
        self.caller = ("127.0.0.1", 0)

    async def open(self, callee: Phone) -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.callee = ("127.0.0.1", callee.port)
        address: tuple[str, int] = self.transport.get_extra_info("sockname")
        return address

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        to = self.caller if addr[1] == self.callee[1] else self.callee
        if to == self.callee:
            self.caller = ("127.0.0.1", addr[1])
        lost = self.loses(data)
        self.seen.append(data)
        if not lost:
            self.transport.sendto(data, to)

    def count(self, start: bytes) -> int:
        return sum(data.startswith(start) for data in self.seen)


async def answer(phone: Phone) -> PhoneCall:
    call = await phone.incoming()
    call.ringing()
    call.answer()
    return call


async def test_a_call_from_phone_to_phone() -> None:
    async with Phone(user="a", name='A "x"') as a, Phone(user="b") as b:
        dialled = await a.dial(f"sip:b@127.0.0.1:{b.port}")
        taken = await answer(b)
        await dialled.answered()
        assert taken.called == "b"
        assert taken.remote.startswith("sip:a@")
        dialled.play(LOUD)
        await dialled.played()
        started = await taken.voice(after=0)
        assert await taken.silence(after=started) - started == pytest.approx(0.2, abs=0.1)
        assert rtp.ulaw_to_pcm(rtp.pcm_to_ulaw(LOUD)) in taken.received_pcm()
        await taken.send_dtmf("0*")
        assert await dialled.received_digits(2) == "0*"
        await dialled.hold()
        assert taken.held
        await dialled.unhold()
        assert not taken.held
        assert taken.requests.count("INVITE") == 2
        await dialled.info(b"Signal=5")
        assert taken.messages == [b"Signal=5"]
        assert (await taken.hangup()).by == "local"
        assert (await dialled.ended()).by == "remote"
        with pytest.raises(CallEndedError):
            await dialled.hold()
        assert a.calls == b.calls == {}


@pytest.mark.parametrize("status", [404, 486, 603])
async def test_a_refusal(status: int) -> None:
    async with Phone(user="a") as a, Phone(user="b") as b:
        call = await a.dial(f"sip:b@127.0.0.1:{b.port}")
        (await b.incoming()).reject(status)
        with pytest.raises(PhoneError) as caught:
            await call.answered()
        assert caught.value.status == status


async def test_each_message_may_be_lost_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_transport, "T1", 0.03)
    network, lost = Network(), set[bytes]()

    def first_of_its_kind(data: bytes) -> bool:
        kind = data[:12] + b"".join(line for line in data.split(b"\r\n") if line[:4] in (b"CSeq", b"Call"))
        return kind not in lost and not lost.add(kind)  # type: ignore[func-returns-value]

    network.loses = first_of_its_kind
    async with Phone(user="b") as b:
        server = await network.open(b)
        async with Phone(server, user="a") as a:
            call = await a.dial("b")
            taken = await answer(b)
            await call.answered()
            await taken.hangup()
            await call.ended()
            ringing = await a.dial("b")
            taken = await b.incoming()
            taken.ringing()
            await ringing.progress()
            assert (await ringing.hangup()).status == 487
            assert (await taken.ended()).status == 487
        assert network.count(b"ACK") >= 2
        assert network.count(b"INVITE") >= 4
        assert network.count(b"BYE") >= 2
        network.transport.close()


async def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phone_transport, "TRANSACTION_S", 0.2)
    async with Phone(user="b") as gone:
        port = gone.port
    async with Phone(("127.0.0.1", port)) as phone:
        call = await phone.dial("100")
        with pytest.raises(PhoneError) as caught:
            await call.answered(timeout=5)
        assert caught.value.status == 408
        with pytest.raises(PhoneError, match="REGISTER"):
            await phone.register()
        with pytest.raises(PhoneError, match="nobody called"):
            await phone.incoming(timeout=0.01)


async def test_garbage_and_strangers_do_no_harm() -> None:
    async with Phone(user="a") as a, Phone(user="b") as b:
        for data in (b"", b"\r\n\r\n", b"\x00" * 50, b"BYE sip:b SIP/2.0\r\n\r\n", b"\xff" * 2000):
            a.transport.send(data, ("127.0.0.1", b.port))
        call = await a.dial(f"sip:b@127.0.0.1:{b.port}")
        taken = await answer(b)
        await call.answered()
        assert b.transport.malformed == 2
        await taken.hangup()


async def test_a_transfer_is_followed() -> None:
    wanted: list[str] = []

    async def follow(call: PhoneCall, target: str) -> int:
        wanted.append(target)
        return 486 if target.startswith("sip:busy") else 200

    async with Phone(user="a") as a, Phone(user="b", on_refer=follow) as b:
        call = await a.dial(f"sip:b@127.0.0.1:{b.port}")
        taken = await answer(b)
        await call.answered()
        assert await call.refer("sip:c@127.0.0.1:5999") == 200
        assert await call.refer("sip:busy@127.0.0.1:5999") == 486
        assert wanted == taken.referred == ["sip:c@127.0.0.1:5999", "sip:busy@127.0.0.1:5999"]


@pytest.mark.parametrize("target", ["", "1 2", "a\r\nb", "x@y", "1" * 200])
async def test_a_target_that_can_not_be_dialled(target: str) -> None:
    async with Phone(("127.0.0.1", 5999)) as phone:
        with pytest.raises(PhoneError) as caught:
            await phone.dial(target)
        assert caught.value.status == 484
        assert not phone.calls


async def test_a_phone_that_is_off() -> None:
    phone = Phone()
    with pytest.raises(PhoneError, match="off"):
        _ = phone.transport
    await phone.stop()
    async with Phone() as first:
        with pytest.raises(PhoneError, match=str(first.port)):
            await Phone(port=first.port).start()
