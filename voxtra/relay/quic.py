"""The tracks of a call over MoQ: QUIC and WebTransport. The only module that knows the package ``moq-rs``.

That package is young: it is pinned to one version, and whatever it raises ends here. See docs/relay.md for the wire.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from voxtra.calls.leg import first_of
from voxtra.errors import MissingExtraError, RelayError
from voxtra.relay.publisher import Publisher
from voxtra.relay.reception import Admission, Reception
from voxtra.relay.request import GONE, INTERNAL, Refused
from voxtra.relay.sound import Sound
from voxtra.wire import AudioFormat, SoundFrame, Track, pack, track_path

log = logging.getLogger("voxtra.relay")

GROUP_FRAMES: Final = 50
"""Frames of a group: one a frame lost sound under load, a second of it none."""
KEPT_US: Final = 2_000_000
"""Sound that a subscriber may ask to be still sent when it is late, µs; it chooses less by itself."""
AHEAD_US: Final = 60_000_000
"""How far ahead of its time a publisher may send, µs: synthesised speech comes all at once."""
SWITCH_S = 0.0005
"""How long MoQ's own thread, which wakes Python for every frame, waits for the interpreter at most, s. With Python's
own 5 ms the sound of 40 calls was 150 ms late (p50), with this 10."""
ACCEPT_S = 10.0
CLOSE_S = 1.0
"""How long a peer may take to go by itself once its tracks have ended."""
FAREWELL_S = 0.1
"""How long the package's own thread takes, at most, to send off why a session was closed."""


def _moq() -> Any:
    try:
        import moq
    except (ImportError, OSError):
        raise MissingExtraError("the audio bridge over QUIC", "relay") from None
    return moq


class Outgoing:
    """A call's received sound in one format as a broadcast, for all sessions that take it."""

    def __init__(
        self, moq: Any, sound: Sound, form: AudioFormat, path: str, stats_out: Callable[[], None]
    ) -> None:
        self.users = 0
        self.origin = moq.OriginProducer()
        self._broadcast = self.origin.create_broadcast(path)
        info = moq.TrackInfo(max_age_us=KEPT_US)
        self._audio = self._broadcast.publish_track("audio", info)
        self._info = self._broadcast.publish_track("info", info)
        self._info.write_frame(json.dumps(form.info()).encode(), 0)
        self._broadcast.announce()
        self._group: Any = None
        self._count = 0
        self._stats_out = stats_out
        self._error = moq.Error
        self._off = sound.feed.subscribe(form, self._deliver)

    def _deliver(self, frame: SoundFrame) -> None:
        try:
            if self._count % GROUP_FRAMES == 0:
                if self._group is not None:
                    self._group.finish()
                self._group = self._audio.append_group()
            self._count += 1
            self._group.write_frame(pack(frame), frame.timestamp_us)
        except self._error as error:
            log.warning("a track broke off: %s", error)
            self._off()
            return
        self._stats_out()

    def close(self) -> None:
        """End the tracks."""
        self._off()
        try:
            if self._group is not None:
                self._group.finish()
            self._broadcast.unannounce()  # a track that ends while announced is asked for again
            self._audio.finish()
            self._info.finish()
            self._broadcast.close()
        except self._error as error:
            log.debug("a broadcast had ended already: %s", error)


class QuicServer:
    """Listens on UDP.

    Args:
        reception: who may attach.
        host, port: where; port 0 = any that is free.
        tls: certificate chain and private key, PEM files. None makes a certificate for ``host`` and localhost.

    Raises:
        MissingExtraError: the extra ``relay`` is not installed.
    """

    def __init__(
        self, reception: Reception, host: str, port: int, *, tls: tuple[Path | str, Path | str] | None = None
    ) -> None:
        self._moq = _moq()
        self._reception = reception
        self._host = host
        self._tls = tls
        self.port = port
        self.fingerprints: tuple[str, ...] = ()
        """SHA-256 of the certificate that it made itself, hex; empty when it was given one."""
        self._server: Any = None
        self._switch_s = sys.getswitchinterval()
        self._accepting: asyncio.Task[None] | None = None
        self._sessions: set[asyncio.Task[None]] = set()
        self._leaving: set[asyncio.Task[Any]] = set()
        self._outgoing: dict[tuple[Sound, AudioFormat], Outgoing] = {}

    async def start(self) -> None:
        """Listen. Raises RelayError naming the address."""
        moq = self._moq
        host = f"[{self._host}]" if ":" in self._host else self._host
        options: dict[str, Any] = {"tls_generate": sorted({self._host, "localhost"})}
        if self._tls is not None:
            options = {"tls_cert": [str(self._tls[0])], "tls_key": [str(self._tls[1])]}
        # nothing is published to or taken from a session but what its request is given
        server = moq.Server(
            f"{host}:{self.port}",
            publish=moq.OriginProducer(),
            subscribe=moq.OriginProducer(),
            **options,
        )
        try:
            await server.__aenter__()
        except moq.Error as error:
            raise RelayError(f"the relay can't listen on udp {host}:{self.port}: {error!r}") from error
        self._server = server
        self._switch_s, switch_s = sys.getswitchinterval(), min(SWITCH_S, sys.getswitchinterval())
        sys.setswitchinterval(switch_s)
        self.port = int(server.local_addr.rsplit(":", 1)[1])
        if self._tls is None:
            self.fingerprints = tuple(server.cert_fingerprints())  # later it is busy accepting
        self._accepting = asyncio.create_task(self._accept(), name="relay quic")

    async def close(self) -> None:
        """Close every session and the port. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        sys.setswitchinterval(self._switch_s)
        if self._leaving:  # their calls have just ended: their peers are told so
            await asyncio.wait(self._leaving, timeout=2 * CLOSE_S)
            await asyncio.sleep(FAREWELL_S)
        await server.__aexit__(None, None, None)
        tasks = [*self._sessions, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        try:
            async for request in self._server:
                task = asyncio.create_task(self._serve(request), name="relay session")
                self._sessions.add(task)
                task.add_done_callback(self._sessions.discard)
        except self._moq.Error as error:
            if self._server is not None:
                log.error("the relay takes no more QUIC connections: %r", error)

    async def _serve(self, request: Any) -> None:
        try:
            try:
                admission = self._reception.admit(f"/{request.path.lstrip('/')}", request.query or "")
                async with self._reception.attach(admission) as sound:
                    await self._carry(request, admission, sound)
            except Refused as refused:
                log.debug("refused over QUIC: %s", refused.reason)
                await request.reject(_code(refused))
        except self._moq.Error as error:
            log.debug("a QUIC session ended: %r", error)
        except TimeoutError:
            log.debug("a QUIC session was not set up within %g s", ACCEPT_S)

    async def _carry(self, request: Any, admission: Admission, sound: Sound) -> None:
        """Sound both ways until either side has had enough."""
        moq = self._moq
        heard, spoken = _tracks(admission)
        sid, form = admission.wanted.sid, admission.wanted.form
        outgoing = self._take(sound, form, track_path(sid, heard)) if admission.wanted.listen else None
        incoming = moq.OriginProducer()
        request.set_publish(outgoing.origin if outgoing is not None else moq.OriginProducer())
        request.set_consume(incoming)
        tasks: list[asyncio.Task[None]] = []
        session: Any = None
        code = 0
        try:
            async with asyncio.timeout(ACCEPT_S):
                session = await request.accept()
            reader = self._read(incoming, track_path(sid, spoken), sound, form)
            tasks = [
                asyncio.create_task(reader, name="relay reader"),
                asyncio.create_task(self._closed(session), name="relay closed"),
            ]
            await first_of(*tasks, sound.ended)
            for task in tasks:
                error = task.exception() if task.done() else None
                if isinstance(error, Refused):
                    code = _code(error)
                    log.info("%s: a publisher is cut off: %s", admission.call.id, error.reason)
                elif error is not None:
                    code = _code(Refused(INTERNAL, "an error of the relay's own"))
                    log.error("%s: a publisher's sound failed here", admission.call.id, exc_info=error)
            if sound.ended.done():
                code = _code(Refused(GONE, sound.ended.result()))
        finally:
            if outgoing is not None:
                self._give_up(sound, form, outgoing)
            try:
                if session is not None and sound.ended.done() and tasks:
                    await self._last_words(tasks[1])
            finally:  # also where the relay stops meanwhile
                for task in tasks:
                    task.cancel()
                if session is not None:
                    session.cancel(code)
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _last_words(self, closed: asyncio.Task[None]) -> None:
        """What was sent last arrives, and then the peer goes by itself."""
        task = asyncio.current_task()
        assert task is not None
        self._leaving.add(task)
        try:
            await first_of(closed, timeout=CLOSE_S)
        finally:
            self._leaving.discard(task)

    async def _closed(self, session: Any) -> None:
        try:
            await session.closed()
        except self._moq.Error as error:
            log.debug("a QUIC session is over: %r", error)

    def _take(self, sound: Sound, form: AudioFormat, path: str) -> Outgoing:
        outgoing = self._outgoing.get((sound, form))
        if outgoing is None:
            outgoing = Outgoing(self._moq, sound, form, path, self._sent)
            self._outgoing[sound, form] = outgoing
        outgoing.users += 1
        return outgoing

    def _sent(self) -> None:
        self._reception.stats.frames_out += 1

    def _give_up(self, sound: Sound, form: AudioFormat, outgoing: Outgoing) -> None:
        outgoing.users -= 1
        if outgoing.users == 0 or sound.ended.done():
            outgoing.close()
            self._outgoing.pop((sound, form), None)

    async def _read(self, incoming: Any, path: str, sound: Sound, form: AudioFormat) -> None:
        """What the session publishes at ``path``, as often as it does.

        Raises:
            Refused: it sends what is no frame.
        """
        consumer = incoming.consume()
        publisher = Publisher(self._reception, sound, form)
        try:
            async with consumer.announced(path) as announced:
                async for update in announced:
                    if update.active and update.prefix == path:
                        await self._read_track(consumer, path, publisher)
        except self._moq.Error as error:
            log.debug("a QUIC session announces nothing more: %r", error)
        finally:
            publisher.close()

    async def _read_track(self, consumer: Any, path: str, publisher: Publisher) -> None:
        moq = self._moq
        try:
            broadcast = await consumer.request_broadcast(path)
            wanted = moq.Subscription(max_age_us=AHEAD_US)
            async with await broadcast.subscribe_track("audio", wanted) as track:
                async for group in track:
                    async for frame in group:
                        await publisher.take(frame.payload)
        except moq.Error as error:
            log.debug("a published track ended: %r", error)


def _tracks(admission: Admission) -> tuple[Track, Track]:
    """What is heard and what is spoken on, by role."""
    return ("uplink", "downlink") if admission.role == "server" else ("downlink", "uplink")


def _code(refused: Refused) -> int:
    """MoQ has the HTTP status itself; 401 becomes the protocol's own unauthorized."""
    return refused.code - 4000 if refused.code >= 4000 else 500
