"""A recogniser behind a socket: what all of them need, whoever's server it is.

:class:`SocketSTT` is the provider; it says how to connect and how sound is written. :class:`SocketSTTStream`
is one call's recogniser: one task connects, sends, listens, and does so again when the socket drops, with the
sound of the turn whose words are not final sent once more.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence

from pydantic import Field

from voxtra.errors import ConfigurationError, ProviderError, STTError
from voxtra.speech.base import STT, STTStream, Transcript
from voxtra.speech.sdk import Refusal
from voxtra.speech.settings import ProviderSettings
from voxtra.speech.tape import Heard, Tape, TurnText

logger = logging.getLogger(__name__)

PREROLL_MS = 500
"""Sound kept from before speech, where nobody says how much."""
SLACK_MS = 300.0
"""How much earlier than the pause an answer to it may end: servers count in steps of their own."""
COVERED_MS = 100.0
"""A VAD reports a pause well after the last word: a server that heard to here has heard that word."""
BURST_MS = 200
"""Most sound in one message."""
CLOSE_S = 1.0
LIVED_S = 5.0
"""A connection that held for so long counts as good: the next attempt is made at once."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0


class SocketSettings(ProviderSettings):
    """Settings of every recogniser behind a socket.

    Attributes:
        final_timeout_s: longest wait, after a pause, for the final transcript, in s.
        connect_timeout_s: longest wait for the connection, in s.
        keep_alive_s: a sign of life after so long without sound, in s.
        replay_s: most sound of a turn that is kept to be sent again after a dropped socket, in s.
        send_silence: send everything, not only what the VAD takes for speech (and what lies right before).
    """

    final_timeout_s: float = Field(2.0, gt=0)
    connect_timeout_s: float = Field(5.0, gt=0)
    keep_alive_s: float = Field(4.0, gt=0)
    replay_s: float = Field(30.0, ge=1, le=300)
    send_silence: bool = False


class STTConnection(ABC):
    """A socket to a server. Every method raises STTError when the socket is gone."""

    @abstractmethod
    async def send(self, sound: bytes) -> None:
        """The next sound."""

    @abstractmethod
    async def finish(self) -> None:
        """Ask for the final words of all sound sent."""

    @abstractmethod
    async def keep_alive(self) -> None:
        """A sign of life."""

    @abstractmethod
    async def receive(self) -> Heard | None:
        """What was heard; None when a message says nothing of that kind."""

    @abstractmethod
    async def close(self) -> None:
        """End it. Never raises."""


class SocketSTT(STT):
    """A provider whose recogniser sits behind a socket."""

    settings: SocketSettings

    @abstractmethod
    async def connect(self, *, rate: int, language: str | None, hints: Sequence[str]) -> STTConnection:
        """A connection for one call. Raises STTError."""

    def encode(self, pcm: bytes, rate: int) -> bytes:
        """Sound as the server wants it; as it is by default."""
        return pcm

    def sample_bytes(self, rate: int) -> int:
        """Bytes a sample has after ``encode``."""
        return 2

    def check(self, rate: int, language: str | None) -> None:
        """Raise ConfigurationError for a rate or language that can't be."""
        if rate < 8000 or rate % 100:
            raise ConfigurationError(
                f"{self.name}: rate = {rate}: it must be 8000 Hz or more, a multiple of 100"
            )

    def open(
        self,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None = None,
        hints: Sequence[str] = (),
    ) -> STTStream:
        """A recogniser for one call, which connects at once; see :meth:`voxtra.speech.base.STT.open`.

        Raises:
            ConfigurationError: the rate or the language is not one this provider takes.
        """
        self.check(rate, language)
        return SocketSTTStream(
            self, rate=rate, on_transcript=on_transcript, on_error=on_error, language=language, hints=hints
        )


class SocketSTTStream(STTStream):
    """One call's recogniser behind a socket.

    A pause is answered by the server's final words; after ``final_timeout_s`` by the words known so far, or,
    when there are none, by an STTError. A socket that drops is made anew (after 0.1 s, then longer, up to
    10 s) and says nothing to the caller as long as that succeeds; a refusal is told once per outage, and for
    each pause that stays without an answer.

    Attributes:
        reconnects: how often the socket was made anew.
    """

    def __init__(
        self,
        engine: SocketSTT,
        *,
        rate: int,
        on_transcript: Callable[[Transcript], None],
        on_error: Callable[[Exception], None],
        language: str | None,
        hints: Sequence[str],
    ) -> None:
        self._engine = engine
        self._rate = rate
        self._on_transcript = on_transcript
        self._on_error = on_error
        self._language = language
        self._hints = tuple(hints)
        self._loop = asyncio.get_running_loop()
        self._a_second = rate * engine.sample_bytes(rate)
        self._tape = Tape(int(engine.settings.replay_s * self._a_second))
        self._text = TurnText()
        self._preroll: deque[bytes] = deque()
        self._preroll_bytes = 0
        self._before = PREROLL_MS * self._a_second // 1000
        self._speaking = self._in_turn = False
        self._heard_to = 0.0
        self._pause: int | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._answered = False
        self._finish_wanted = False
        self._finishes = 0
        self._base = 0.0
        self._connected = False
        self._wake = asyncio.Event()
        self._reported = False
        self._trouble: ProviderError | None = None
        self._closed = False
        self.reconnects = 0
        self._task = self._loop.create_task(self._run())

    # what the call says

    def keep_before(self, ms: int) -> None:
        """Keep so much from before ``speech_started`` instead of 0.5 s."""
        self._before = ms * self._a_second // 1000
        self._trim()

    def push(self, pcm: bytes) -> None:
        """The next frame; in silence only what :meth:`keep_before` says is kept."""
        if self._closed:
            return
        sound = self._engine.encode(pcm, self._rate)
        if self._speaking or self._engine.settings.send_silence:
            self._tape.append(sound)
            if not self._in_turn:  # silence before a turn: no use to send all of it again
                self._forget(self._tape.end - self._before)
            self._wake.set()
            return
        self._preroll.append(sound)
        self._preroll_bytes += len(sound)
        self._trim()

    def _trim(self) -> None:
        while self._preroll_bytes > self._before:
            self._preroll_bytes -= len(self._preroll.popleft())

    def speech_started(self) -> None:
        """Send from the pre-roll on; an answer under way is superseded."""
        if self._closed or self._speaking:
            return
        self._speaking = self._in_turn = True
        self._no_pause()
        for sound in self._preroll:
            self._tape.append(sound)
        self._forget_preroll()
        self._wake.set()

    def speech_stopped(self) -> None:
        """Ask for the final words."""
        if self._closed:
            return
        self._speaking = False
        self._no_pause()
        self._pause = self._tape.end
        if self._tape.start == self._tape.end:  # nothing that is not final already
            self._answer()
            return
        if self._covered():
            self._answer()  # and ask all the same: words that still come supersede this
            self._finish_wanted = True
            self._wake.set()
            return
        limit = self._engine.settings.final_timeout_s
        self._finish_wanted = True
        self._timers = [
            self._loop.call_later(min(0.6, limit / 2), self._settled),
            self._loop.call_later(limit, self._late),
        ]
        self._wake.set()

    def next_turn(self) -> None:
        """Forget the turn. Speech under way goes on into the next one."""
        self._no_pause()
        self._in_turn = self._speaking
        self._forget(self._tape.end)
        self._text.next(self._ms(self._tape.end))

    async def close(self) -> None:
        """End the stream, its socket and its task."""
        self._closed = True
        self._no_pause()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._forget_preroll()
        self._tape.forget(self._tape.end)

    @property
    def buffered(self) -> int:
        """Bytes of sound held."""
        return self._tape.end - self._tape.start + self._preroll_bytes

    def _ms(self, position: int) -> float:
        return position * 1000 / self._a_second

    def _forget(self, position: int) -> None:
        """What lies before needs no second hearing; on a live socket all of it goes out once, or its server
        would count the time from another begin than we do."""
        (self._tape.settle if self._connected else self._tape.forget)(position)

    def _forget_preroll(self) -> None:
        self._preroll.clear()
        self._preroll_bytes = 0

    # what the call is told

    def _no_pause(self) -> None:
        self._pause = None
        self._answered = self._finish_wanted = False
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def _tell(self, transcript: Transcript) -> None:
        # by way of the loop: a listener with a flaw must not end the task that keeps the call heard
        self._loop.call_soon(lambda: None if self._closed else self._on_transcript(transcript))

    def _tell_error(self, problem: ProviderError) -> None:
        logger.warning("%s", problem)
        self._loop.call_soon(lambda: None if self._closed else self._on_error(problem))

    def _answer(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._answered = True
        self._tell(self._text.transcript(is_final=True))

    def _covered(self) -> bool:
        """All words are final, and the server has heard the caller fall silent."""
        heard = self._pause is not None and self._heard_to >= self._ms(self._pause) - COVERED_MS
        return heard and self._text.known and not self._text.open

    def _settled(self) -> None:
        """A server that has nothing to add, or heard no word in a noise, may keep silent (Deepgram does)."""
        there = self._pause is not None and self._heard_to >= self._ms(self._pause) - SLACK_MS
        if self._connected and self._finishes and not self._text.open and (self._text.known or there):
            self._answer()

    def _late(self) -> None:
        if self._text.known:
            logger.warning("%s: no final transcript in time: the words known are taken", self._engine.name)
            self._answer()
            return
        limit = self._engine.settings.final_timeout_s
        why = f": {self._trouble}" if self._trouble is not None else ""
        self._timers.clear()
        self._answered = True
        self._tell_error(STTError(f"{self._engine.name}: no final transcript within {limit:g} s{why}"))

    def _hear(self, heard: Heard) -> None:
        if heard.answers and self._finishes:
            self._finishes -= 1
        changed = self._text.hear(heard, self._base)
        end = self._base + heard.end
        self._heard_to = max(self._heard_to, end)
        if heard.is_final:
            self._tape.settle(int(end * self._a_second / 1000))
        self._trouble = None
        if self._pause is None or self._speaking:
            if changed and self._text.known:
                self._tell(self._text.transcript(is_final=False))
            return
        near = end >= self._ms(self._pause) - SLACK_MS
        complete = heard.is_final and (
            end >= self._ms(self._pause) - 1 or (heard.answers and (near or not self._finishes))
        )
        if (complete or self._covered()) if not self._answered else (changed and heard.is_final):
            self._answer()
        elif changed and not self._answered and self._text.known:
            self._tell(self._text.transcript(is_final=False))

    # the connection

    async def _run(self) -> None:
        pause = 0.0
        while not self._closed:
            began = self._loop.time()
            trouble = await self._connection_lives()
            self._connected = False
            if self._loop.time() - began > LIVED_S:
                pause = 0.0
                self._reported = False
            if trouble is not None:
                self._report(trouble, again=pause > 0)
            pause = min(max(2 * pause, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            asked = trouble.retry_after_s if isinstance(trouble, Refusal) else 0.0
            await asyncio.sleep(max(pause, asked))
            self.reconnects += 1

    def _report(self, trouble: ProviderError, *, again: bool) -> None:
        """A socket that drops once is no news; one that is refused, or drops again, is."""
        self._trouble = trouble
        if (again or isinstance(trouble, Refusal)) and not self._reported:
            self._reported = True
            self._tell_error(trouble)
        else:
            logger.info("%s; connecting again", trouble)

    async def _connection_lives(self) -> ProviderError | None:
        """From one connect to its end. Returns why it ended."""
        engine, limit = self._engine, self._engine.settings.connect_timeout_s
        try:
            async with asyncio.timeout(limit):
                connection = await engine.connect(rate=self._rate, language=self._language, hints=self._hints)
        except TimeoutError:
            return STTError(f"{engine.name}: no connection within {limit:g} s")
        except Exception as problem:  # noqa: BLE001 - somebody else's provider: told to the call
            return self._as_ours(problem)
        try:
            self._base = self._heard_to = self._ms(self._tape.rewind())
            self._finishes = 0
            self._finish_wanted = self._pause is not None and not self._answered
            self._connected = True
            self._wake.set()  # there may be something to send again, and no more sound to come
            return await self._both_ways(connection)
        finally:
            self._connected = False
            await connection.close()

    async def _both_ways(self, connection: STTConnection) -> ProviderError | None:
        reader = self._loop.create_task(self._read(connection))
        writer = self._loop.create_task(self._write(connection))
        try:
            await asyncio.wait([reader, writer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reader, writer):
                task.cancel()
            await asyncio.wait([reader, writer])
        for task in (reader, writer):
            if not task.cancelled() and (problem := task.exception()) is not None:
                return self._as_ours(problem)
        return None

    def _as_ours(self, problem: BaseException) -> ProviderError:
        if isinstance(problem, ProviderError):
            return problem
        return STTError(f"{self._engine.name}: {type(problem).__name__}: {problem}")

    async def _read(self, connection: STTConnection) -> None:
        while True:
            heard = await connection.receive()
            if heard is not None:
                self._hear(heard)

    async def _write(self, connection: STTConnection) -> None:
        settings = self._engine.settings
        burst = BURST_MS * self._a_second // 1000
        while True:
            try:
                async with asyncio.timeout(settings.keep_alive_s):
                    await self._wake.wait()
            except TimeoutError:
                await connection.keep_alive()
                continue
            self._wake.clear()
            try:
                async with asyncio.timeout(settings.connect_timeout_s):
                    while sound := self._tape.read(burst):
                        await connection.send(sound)
                    if self._finish_wanted:
                        self._finish_wanted = False
                        self._finishes += 1
                        await connection.finish()
            except TimeoutError:
                raise STTError(f"{self._engine.name}: the server does not take the sound") from None
