"""The verbs of a call that need no speech engine: prompts, raw sound, keys, who answered."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from voxtra._checks import checked
from voxtra.ari import ChannelDtmfReceived, Event
from voxtra.ari.events import ChannelTalkingStarted
from voxtra.calls.amd import AnswerDetector, Answerer, AnswerResult
from voxtra.calls.audio import AudioOut, AudioTap
from voxtra.calls.dial import check_timeout
from voxtra.calls.dtmf import DigitCollector, Digits
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.prompts import PlayResult, Prompts, media_uris
from voxtra.errors import CallEndedError, ConfigurationError, LineClosedError, MediaError, PlaybackError
from voxtra.events import UserTranscriptEvent, VoxtraEvent
from voxtra.live import LiveCall
from voxtra.media.line import Frame, Line
from voxtra.shared import Shared
from voxtra.speech.base import VAD
from voxtra.speech.local import load_as
from voxtra.types import AudioChunk, AudioCodec, EndReason

AMD_CONTEXT = "voxtra-amd"
"""Dialplan context that runs AMD() and brings the call back; see docs/asterisk.md."""
AMD_S = 15.0
TICK_S = 0.1
LATE_S = 0.3
"""How late sound may come: where none comes at all, time is all there is to decide by."""

InterruptBy: TypeAlias = Literal["", "dtmf", "speech", "any"]
"""What stops a prompt: nothing, a key, the caller's voice, or either."""


class Sounds:
    """Mixed into :class:`~voxtra.session.CallSession`."""

    _shared: Shared
    _leg: Leg
    _live: LiveCall
    _loop: asyncio.AbstractEventLoop
    _prompts: Prompts
    _stops: set[asyncio.Event]
    """What stops each sound from the web that is under way."""
    _dtmf_queue: asyncio.Queue[str]
    _keyed: asyncio.Event
    """Set when a key has come into the queue."""
    _collecting: int
    """How many wait for keys, or play what a key interrupts."""
    _out: AudioOut | None
    _answered_at: float | None
    id: str

    if TYPE_CHECKING:

        async def _ready(self) -> None:
            """See CallSession."""

        async def _alive(self) -> None:
            """See CallSession."""

        async def _over(self) -> bool: ...

        def _keep_key(self, digit: str) -> None:
            """See CallSession."""

        def observe(self, callback: Callable[[VoxtraEvent], None]) -> Callable[[], None]:
            """See CallSession."""

    # ---- prompts and raw sound

    async def play_file(
        self, filename: str | Sequence[str], lang: str = "", *, interrupt_by: InterruptBy = ""
    ) -> PlayResult:
        """Let Asterisk play a prompt, and wait until it was heard. A tone has no end of its own.

        Args:
            filename: ``hello-world``, ``sound:hello-world``, ``digits:123``, ``number:42``, ``tone:ring``,
                ``recording:name``; or a list of them.
            lang: language of the prompt, when it is not the channel's.
            interrupt_by: ``dtmf``, ``speech`` or ``any`` of the two stop it. The key is not lost: it is the
                first that ``listen_dtmf`` gives. A key that waits already leaves the prompt out.

        Returns:
            ``reason``: ``finished``, ``interrupted`` or ``hangup``.

        Raises:
            PlaybackError: Asterisk could not play it.
            ConfigurationError: it is nothing that Asterisk plays.
            CallEndedError: the call was over already.
        """
        uris = tuple(media_uris(filename))
        checked("lang", lang, (str,), "a language like 'en', '' for the channel's own")
        _check_interrupt(interrupt_by)
        await self._alive()
        try:
            await self._ready()
        except CallEndedError:
            return PlayResult("hangup", uris)
        async with self._keys_asked_for(interrupt_by), self._cut_in(interrupt_by):
            if self._key_waits(interrupt_by):
                return PlayResult("interrupted", uris)
            async with self._live.prompting():
                if self._key_waits(interrupt_by):  # a recorder takes its time to make ready
                    return PlayResult("interrupted", uris)
                return await self._prompts.play(filename, lang=lang)

    def _key_waits(self, by: InterruptBy) -> bool:
        """Who knows the menu presses the key before the prompt, and is not made to hear it."""
        return by in ("dtmf", "any") and not self._dtmf_queue.empty()

    @contextlib.asynccontextmanager
    async def _keys_asked_for(self, by: InterruptBy) -> AsyncIterator[None]:
        """While inside, a key is for the next ``listen_dtmf``: no turn of a conversation."""
        asked = by in ("dtmf", "any")
        self._collecting += asked
        try:
            yield
        finally:
            self._collecting -= asked

    @contextlib.asynccontextmanager
    async def _cut_in(self, by: InterruptBy) -> AsyncIterator[None]:
        """While inside, a key or the caller's voice stops what plays."""
        kinds: tuple[type[Event], ...] = ()
        if by in ("dtmf", "any"):
            kinds += (ChannelDtmfReceived,)
        if by in ("speech", "any"):
            kinds += (ChannelTalkingStarted,)
            await self._talk_detect("set", "")

        def take(event: Event) -> None:
            if isinstance(event, kinds):
                self._live.spawn(self._prompts.stop(), "interrupt")

        off = self._leg.on_event(take) if kinds else None
        try:
            yield
        finally:
            if off is not None:
                off()
            if ChannelTalkingStarted in kinds and not self._leg.is_over:
                await self._talk_detect("remove", "")

    async def _talk_detect(self, action: str, value: str) -> None:
        with contextlib.suppress(CallEndedError):
            await self._leg.do(
                lambda: self._shared.ari.channels.set_channel_var(
                    channel_id=self.id, variable=f"TALK_DETECT({action})", value=value
                )
            )

    async def play_url(self, url: str, *, interrupt_by: InterruptBy = "") -> PlayResult:
        """Fetch a sound and play it; returns when it was heard.

        It is kept where its server gives it an ETag or a Last-Modified date, and the next time only asked whether
        it is still the same. WAV always; MP3, Ogg and FLAC with ``voxtra[sounds]``; ten minutes and 20 MB at the
        most. Addresses of private networks are refused unless the app was made with ``private_urls=True``.

        Returns:
            ``reason``: ``finished``, ``interrupted``, ``hangup``, or ``failed`` when the call's line broke off.

        Raises:
            PlaybackError: it can't be fetched, is no sound, or too long a one.
            ConfigurationError: the URL can't be.
            CallEndedError: the call was over already.
        """
        checked("url", url, (str,), "text, like 'https://example.com/a.wav'")
        _check_interrupt(interrupt_by)
        await self._alive()
        stopped = asyncio.Event()

        def take(event: Event) -> None:
            key, voice = isinstance(event, ChannelDtmfReceived), isinstance(event, ChannelTalkingStarted)
            if (key and interrupt_by in ("dtmf", "any")) or (voice and interrupt_by in ("speech", "any")):
                stopped.set()

        off = self._leg.on_event(take)
        self._stops.add(stopped)
        try:
            async with self._keys_asked_for(interrupt_by):
                return PlayResult(await self._play_url(url, interrupt_by, stopped), (url,))
        finally:
            self._stops.discard(stopped)
            off()

    async def _play_url(self, url: str, interrupt_by: InterruptBy, stopped: asyncio.Event) -> EndReason:
        try:
            await self._ready()
            line = (await self._live.sound()).line
            pcm = await self._live.until_end(self._shared.sounds.fetch(url, line.rate))
        except CallEndedError:
            return "hangup"
        async with self._cut_in("speech" if interrupt_by in ("speech", "any") else ""):
            if stopped.is_set() or self._key_waits(interrupt_by):
                return "interrupted"
            return await self._play_pcm(line, pcm, stopped)

    async def _play_pcm(self, line: Line, pcm: bytes, stopped: asyncio.Event) -> EndReason:
        """Play sound through the line until it was heard, ``stopped``, or the line closed."""
        try:
            line.play(pcm)
        except LineClosedError:
            return "hangup" if await self._over() else "failed"
        except MediaError as error:
            raise PlaybackError(f"the sound is longer than the call's line takes now: {error}") from error
        heard = asyncio.ensure_future(line.drained())
        cut = asyncio.ensure_future(stopped.wait())
        try:
            await first_of(heard, cut, self._leg.ended)
            if heard.done() and heard.result() != "closed":
                return "finished" if heard.result() == "heard" else "interrupted"
            if cut.done():
                return "interrupted"
            return "hangup" if await self._over() else "failed"
        finally:
            if not heard.done():
                await line.flush()
            for task in (heard, cut):
                task.cancel()

    async def stop_playback(self, playback_id: str | PlayResult | None = None) -> None:
        """Stop one prompt (its id, or what ``play_file`` gave), or all, those of ``play_url``, too.

        ``play_file`` and ``play_url`` then say ``interrupted``. Finished already is as good.
        """
        checked("playback_id", playback_id, (str, PlayResult, type(None)), "an id, or what play_file gave")
        if isinstance(playback_id, PlayResult):
            if not playback_id.playback_id:
                return
            playback_id = playback_id.playback_id
        for stopped in self._stops if playback_id is None else ():
            stopped.set()
        await self._prompts.stop(playback_id)

    async def audio_stream(self, codec: AudioCodec = AudioCodec.ULAW) -> AsyncIterator[AudioChunk]:
        """The caller's sound, 20 ms at a time, until the call ends; of a call with early media while it rings, too.

        Args:
            codec: ``ulaw`` or ``alaw`` (8 kHz), or ``pcm_s16le`` at the line's rate.

        A consumer that is more than 5 s late loses the oldest; ``sequence`` shows the gap. It begins anew where
        the line broke off and another took its place.
        """
        await (self._alive() if self._leg.audible else self._ready())
        line = (await self._live.sound()).line
        while True:
            async with AudioTap(line, codec) as tap:
                async for chunk in tap:
                    yield chunk
            if await self._over():
                return
            try:  # it broke off, and the call goes on
                line = (await self._live.sound()).line
            except CallEndedError:
                return

    async def send_audio(self, chunk: AudioChunk) -> None:
        """Play a chunk to the far end, after what is queued already.

        Raises:
            ConfigurationError: it is no chunk.
            CodecError: its codec or rate can't be played.
            CallEndedError: the call is over.
        """
        checked("chunk", chunk, (AudioChunk,), "an AudioChunk; send_audio_bytes() takes bytes")
        await self._ready()
        if self._out is None or self._out.line.closed.done():
            self._out = AudioOut((await self._live.sound()).line)
        self._out.play(chunk)

    async def send_audio_bytes(self, data: bytes) -> None:
        """Play μ-law at 8 kHz, any length. Raises as :meth:`send_audio`."""
        checked("data", data, (bytes, bytearray, memoryview), "bytes of μ-law sound")
        await self.send_audio(AudioChunk(data, duration_ms=len(data) // 8))

    # ---- keys

    async def listen_dtmf(
        self,
        max_digits: int = 1,
        timeout: float | None = 10,
        *,
        inter_digit_timeout: float = 3.0,
        terminators: str = "#",
        patterns: Sequence[str] = (),
    ) -> Digits | None:
        """The keys the caller presses; None when no key came, or the call ended without one.

        Keys pressed before count. The result is a string with a ``reason``: ``finished``, ``terminator``
        (``#`` alone is an empty string, not None), ``timeout``, ``hangup``.

        Args:
            max_digits: complete with this many.
            timeout: longest wait for the first key in s, None = for ever.
            inter_digit_timeout: longest wait for each further key in s.
            terminators: keys that end the input.
            patterns: what may be dialled instead of ``max_digits`` keys: ``["0", "_2XX", "_9."]``; the
                reason is ``invalid`` as soon as none can fit.

        Raises:
            ConfigurationError: an argument can't be.
            CallEndedError: the call was over already.
        """
        await self._alive()
        collector = DigitCollector(
            max_digits,
            timeout,
            inter_digit_s=inter_digit_timeout,
            terminators=terminators,
            patterns=patterns,
            now=self._loop.time(),
        )
        self._collecting += 1
        if self._live.voice is not None:  # who cuts in on "key in your PIN" has begun with it
            for key in self._live.voice.give_up_keys():
                self._keep_key(key)
        try:
            return await self._collect(collector)
        finally:
            self._collecting -= 1

    async def _collect(self, collector: DigitCollector) -> Digits | None:
        while collector.result is None:
            if self._dtmf_queue.empty() and not self._leg.is_over:
                await self._key_comes(collector.deadline)
            now = self._loop.time()
            if not self._dtmf_queue.empty():
                collector.push(self._dtmf_queue.get_nowait(), now)
            elif self._leg.is_over:
                collector.hang_up()
            elif collector.deadline is not None and now >= collector.deadline:
                collector.expire()
        result = collector.result
        return result if result or result.reason == "terminator" else None

    async def _key_comes(self, deadline: float | None) -> None:
        """Wait until there is a key, the call has ended, or it is ``deadline``. The key stays for who can take it."""
        self._keyed.clear()
        key = asyncio.ensure_future(self._keyed.wait())
        try:
            left = None if deadline is None else max(0.0, deadline - self._loop.time())
            await first_of(key, self._leg.ended, timeout=left)
        finally:
            key.cancel()

    async def send_dtmf(self, dtmf: str, *, duration_ms: int = 100, between_ms: int = 100) -> None:
        """Press keys towards the far end; returns when the last one was sent.

        Args:
            dtmf: keys ``0-9 * # A-D``; ``w`` waits half a second.
            duration_ms: how long each is pressed.
            between_ms: pause between two.

        Raises:
            ConfigurationError: there is something else in it.
            CallEndedError: the call is over, or ended before the last key.
        """
        checked("dtmf", dtmf, (str,), "keys as text, like '12#'")
        keys = dtmf.upper().replace(",", "W")
        if not keys or not re.fullmatch(r"[0-9A-D*#W]+", keys):
            raise ConfigurationError(f"send_dtmf({dtmf!r}): keys are 0-9 * # A-D, and w for a pause")
        for name, value in (("duration_ms", duration_ms), ("between_ms", between_ms)):
            checked(name, value, (int,), "ms, 40 to 5000")
        if not 40 <= duration_ms <= 5000 or not 40 <= between_ms <= 5000:
            raise ConfigurationError(f"duration_ms={duration_ms}, between_ms={between_ms}: 40 to 5000")
        await self._ready()
        for part in re.findall(r"W+|[^W]+", keys):
            if part[0] == "W":
                wait = 0.5 * len(part)
            else:
                await self._leg.do(
                    lambda part=part: self._shared.ari.channels.send_dtmf(  # type: ignore[misc]
                        channel_id=self.id, dtmf=part, duration=duration_ms, between=between_ms
                    )
                )
                wait = len(part) * (duration_ms + between_ms) / 1000
            await first_of(self._leg.ended, timeout=wait)
            self._leg.check()

    # ---- who answered

    async def detect_machine(
        self,
        method: Literal["speech", "asterisk"] = "speech",
        *,
        timeout: float = 6,
        context: str = AMD_CONTEXT,
    ) -> AnswerResult:
        """Find out whether a person or a machine answered an outbound call.

        Args:
            method: ``speech`` listens with the app's VAD, and to words where there is an STT; ``asterisk``
                runs AMD() in the dialplan.
            timeout: longest time to decide by speech, s; AMD() has its own (``total_analysis_time``).
            context: dialplan context that runs AMD() (see docs/asterisk.md).

        Returns:
            ``who`` is ``human``, ``machine`` or ``unsure``; ``delay_ms``, ``why``.

        Raises:
            ConfigurationError: an argument can't be.
            CallEndedError: the call was over already.
        """
        if method not in ("speech", "asterisk"):
            raise ConfigurationError(f"method={method!r}: 'speech' or 'asterisk'")
        check_timeout(timeout)
        await self._ready()
        if method == "asterisk":
            return await self._asterisk_amd(context)
        began = self._loop.time() * 1000
        detector = AnswerDetector(began, timeout_ms=timeout * 1000)
        line = (await self._live.sound()).line
        vad = (self._shared.speech.vad or load_as(VAD, "webrtc")).open(rate=line.rate)
        decided = asyncio.Event()

        def frame(frame: Frame) -> None:
            if detector.frame(vad.push(frame.pcm), frame.time * 1000) is not None:
                decided.set()

        def words(event: VoxtraEvent) -> None:
            if isinstance(event, UserTranscriptEvent) and detector.words(
                event.text, self._loop.time() * 1000
            ):
                decided.set()

        off = line.listen(frame), self.observe(words)
        waiting = asyncio.ensure_future(decided.wait())
        try:
            until = self._loop.time() + timeout + LATE_S
            while not waiting.done() and not self._leg.is_over and self._loop.time() < until:
                await first_of(waiting, self._leg.ended, timeout=TICK_S)
                if detector.tick(self._loop.time() * 1000, LATE_S * 1000) is not None:
                    decided.set()
        finally:
            waiting.cancel()
            for each in off:
                each()
        now = self._loop.time() * 1000
        if self._leg.is_over:
            return detector.hang_up(now)
        return detector.result or detector.tick(now) or AnswerResult("unsure", round(now - began), "timeout")

    async def _asterisk_amd(self, context: str) -> AnswerResult:
        channels = self._shared.ari.channels
        began = self._loop.time()
        await self._leg.do(
            lambda: channels.set_channel_var(
                channel_id=self.id, variable="VOXTRA_APP", value=self._shared.app_name
            )
        )
        away = await self._live.go_away(
            lambda: channels.continue_in_dialplan(
                channel_id=self.id, context=context, extension="s", priority=1
            )
        )
        await first_of(away.returned, self._leg.ended, timeout=AMD_S)
        delay = round((self._loop.time() - began) * 1000)
        if not away.returned.done():
            return AnswerResult("unsure", delay, "hangup" if self._leg.is_over else "timeout")
        await self._live.come_back()
        status, cause = (*away.returned.result().args[1:], "", "")[:2]
        known: dict[str, Answerer] = {"HUMAN": "human", "MACHINE": "machine"}
        return AnswerResult(known.get(status, "unsure"), delay, cause or status)


def _check_interrupt(by: object) -> None:
    if by not in get_args(InterruptBy):
        raise ConfigurationError(f"interrupt_by={by!r}: 'dtmf', 'speech', 'any' or ''")
