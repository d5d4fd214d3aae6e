from __future__ import annotations

import asyncio
import socket
import time

import pytest

from voxtra.speech.pool import InferencePool
from voxtra.testing import DeadlockError, FakeCallError, run_virtual
from voxtra.testing.clock import BEGIN_S, place


def test_ten_minutes_take_no_time() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen = [loop.time()]
        await asyncio.sleep(600)
        seen.append(loop.time())
        try:
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(loop.time())
        return seen

    began = time.monotonic()
    assert run_virtual(main()) == pytest.approx([BEGIN_S, BEGIN_S + 600, BEGIN_S + 630])
    assert time.monotonic() - began < 5


def test_timers_come_in_their_order() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def note(number: int, after: float) -> None:
            await asyncio.sleep(after)
            order.append(number)

        await asyncio.gather(note(3, 3.0), note(1, 0.001), note(2, 2.999999), note(0, 0))
        return order

    assert run_virtual(main()) == [0, 1, 2, 3]


def test_a_thread_is_waited_for_and_the_clock_stands_still() -> None:
    async def main() -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(5):  # would have passed, were the clock to jump
            await asyncio.to_thread(time.sleep, 0.05)
        return 7, loop.time() - began

    assert run_virtual(main()) == (7, 0.0)


def test_a_local_model_is_waited_for_too() -> None:
    async def main() -> str:
        pool = InferencePool(1)
        try:
            return await pool.run(lambda: time.sleep(0.05) or "thought", deadline_s=1)
        finally:
            pool.close()

    assert run_virtual(main()) == "thought"


def test_sockets_take_their_time() -> None:
    async def main() -> tuple[bytes, float]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            await asyncio.sleep(0.05)
            writer.write(b"pong\n")
            await writer.drain()
            writer.close()

        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            await asyncio.sleep(600)  # a port that listens holds no clock
            began = loop.time()
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"ping\n")
            async with asyncio.timeout(30):
                said = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return said, loop.time() - began

    began = time.monotonic()
    said, passed = run_virtual(main())
    assert said == b"pong\n"
    assert 0.04 < passed < 20
    assert time.monotonic() - began < 20


def test_a_datagram_socket_is_a_socket_too() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with ours, theirs:
            ours.setblocking(False)
            loop.call_later(0.02, theirs.send, b"hello")
            async with asyncio.timeout(10):
                return await loop.sock_recv(ours, 100)

    assert run_virtual(main()) == b"hello"


def test_what_can_never_happen_is_told_with_its_place() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"nothing can happen any more(.|\n)*never \(test_testing_fake"):
        run_virtual(never())


def test_a_running_loop_is_told_of() -> None:
    async def main() -> None:
        with pytest.raises(FakeCallError, match="not async def"):
            run_virtual(asyncio.sleep(0))

    asyncio.run(main())


def test_the_place_of_a_task() -> None:
    async def inner() -> None:
        await asyncio.sleep(1)

    async def outer() -> None:
        await inner()

    async def main() -> tuple[str, str]:
        task = asyncio.ensure_future(outer())
        await asyncio.sleep(0)
        before = place(task)
        await task
        return before, place(task)

    before, after = run_virtual(main())
    assert before.startswith("outer (test_testing_fake_clock.py:")
    assert " > inner (" in before
    assert after == "done"
