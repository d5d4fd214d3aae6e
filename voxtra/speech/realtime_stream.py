"""The socket of one Realtime conversation: sent in order, told at once, and every wait has its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from voxtra.errors import LLMError
from voxtra.speech.base import (
    ReplyAudio,
    ReplyAudioEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechEvent,
    SpeechStream,
    StreamLost,
)
from voxtra.speech.realtime_protocol import RealtimeProtocol
from voxtra.speech.sdk import as_error

log = logging.getLogger("voxtra.speech")

MAX_SOUND_S = 10
"""Sound that may wait to be sent, s; the oldest is dropped when there is more."""
APPEND_MS = 200
"""Longest piece of sound in one message, when several wait."""
SEND_S = 10.0
"""A message that can't be sent within this many seconds means that the connection is lost."""
CLOSE_S = 2.0
OF_A_REPLY = (ReplyStarted, ReplyAudio, ReplyText, ReplyAudioEnded, ReplyToolCall)
"""Events that show that a reply is coming."""


class RealtimeStream(SpeechStream):
    """One call's conversation.

    Args:
        connection: the SDK's, open.
        protocol: its state; ``begin`` has been called.
        on_event: takes what comes.
        first_s, idle_s: longest waits for a reply's first piece and for each further one, s.
    """

    def __init__(
        self,
        connection: Any,
        protocol: RealtimeProtocol,
        *,
        name: str,
        rate: int,
        on_event: Callable[[SpeechEvent], None],
        first_s: float,
        idle_s: float,
    ) -> None:
        self.rate = rate
        self.dropped_ms = 0
        """Sound that was dropped because it could not be sent fast enough, in ms."""
        self._connection = connection
        self._protocol = protocol
        self._name = name
        self._tell: Callable[[SpeechEvent], None] | None = on_event
        self._first_s = first_s
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self._out: deque[dict[str, Any] | bytes] = deque()
        self._waiting = 0  # bytes of sound in there
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self._tasks = [
            asyncio.ensure_future(self._guard(self._send())),
            asyncio.ensure_future(self._guard(self._receive())),
        ]
        self._post()

    async def settled(self, within_s: float) -> None:
        """Wait until the session's settings are in force. Raises LLMError."""
        try:
            async with asyncio.timeout(within_s):
                await asyncio.shield(self._settled)
        except TimeoutError:
            raise LLMError(f"{self._name}: the session did not begin within {within_s:g} s") from None

    # ---- what is wanted

    def push(self, pcm: bytes) -> None:
        """The caller's next sound."""
        if self._tell is None:
            return
        self._out.append(pcm)
        self._waiting += len(pcm)
        if self._waiting > MAX_SOUND_S * self.rate * 2:
            self._drop_oldest()
        self._wake.set()

    def _drop_oldest(self) -> None:
        for index, each in enumerate(self._out):
            if isinstance(each, bytes):
                del self._out[index]
                self._waiting -= len(each)
                self.dropped_ms += len(each) * 500 // self.rate
                return

    def commit(self) -> None:
        """What was pushed is a turn."""
        self._protocol.commit()
        self._post()

    def clear(self) -> None:
        """What was pushed is none."""
        self._protocol.clear()
        self._post()

    def respond(self, instructions: str = "", *, tag: str = "") -> None:
        """Ask for a reply."""
        self._protocol.respond(instructions, tag)
        self._post()
        self._watch()

    def add_tool_result(self, tool_id: str, content: str) -> None:
        """What a tool call came to."""
        self._protocol.tool_result(tool_id, content)
        self._post()

    def add_text(self, text: str) -> None:
        """A message of the caller that was not spoken."""
        self._protocol.text(text)
        self._post()

    def cancel(self) -> None:
        """Stop the reply under way."""
        self._protocol.cancel()
        self._post()

    def truncate(self, item: str, heard_ms: int) -> None:
        """Only so much of an utterance was heard."""
        self._protocol.truncate(item, heard_ms)
        self._post()

    def _post(self) -> None:
        """Queue what the protocol wants sent, after the sound that was pushed before."""
        self._out += self._protocol.out
        self._protocol.out.clear()
        self._wake.set()

    # ---- the socket

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._out:
                message = self._next()
                try:
                    async with asyncio.timeout(SEND_S):
                        # the SDK's typed send takes 80 µs to look at a message; 50 a second come from each call
                        await self._connection.send_raw(json.dumps(message))
                except TimeoutError:
                    raise LLMError(f"{self._name}: nothing could be sent for {SEND_S:g} s") from None

    def _next(self) -> dict[str, Any]:
        message = self._out.popleft()
        if not isinstance(message, bytes):
            return message
        sound = bytearray(message)
        while self._out and len(sound) < self.rate * APPEND_MS // 500:
            more = self._out[0]
            if not isinstance(more, bytes):
                break
            sound += more
            self._out.popleft()
        self._waiting -= len(sound)
        return self._protocol.audio(bytes(sound))

    async def _receive(self) -> None:
        protocol = self._protocol
        while True:
            message = await self._connection.recv_bytes()
            owed = protocol.owing
            events = protocol.receive(message)
            self._post()
            if protocol.ready and not self._settled.done():
                self._settled.set_result(None)
            if protocol.owing != owed or any(isinstance(event, OF_A_REPLY) for event in events):
                self._watch()
            for event in events:
                if self._tell is not None:
                    self._tell(event)

    def _watch(self) -> None:
        """A reply that is owed must come: its first piece soon, and each further one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        owing = self._protocol.owing
        if owing and self._tell is not None:
            limit = self._first_s if owing == "first" else self._idle_s
            what = "did not begin to answer" if owing == "first" else "went silent"
            error = LLMError(f"{self._name} {what} within {limit:g} s")
            self._timer = self._loop.call_later(limit, self._lost, error)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except LLMError as error:
            self._lost(error)
        except Exception as problem:  # noqa: BLE001 - told as the stream's end; the SDK lets its socket's errors through
            failure = as_error(LLMError, self._name, problem)
            assert isinstance(failure, LLMError)
            self._lost(failure)

    def _lost(self, error: LLMError) -> None:
        """Nothing more will come."""
        tell, self._tell = self._tell, None
        if self._timer is not None:
            self._timer.cancel()
        if not self._settled.done():
            self._settled.set_exception(error)
            self._settled.exception()  # told there; nobody has to ask
        elif tell is not None:
            tell(StreamLost(error))

    async def close(self) -> None:
        """End the conversation. Idempotent."""
        self._tell = None
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                try:
                    await self._connection.close()
                except Exception as problem:  # noqa: BLE001 - it is gone, which is what was wanted
                    log.debug("%s: %s", self._name, problem)
