"""An app on fakes, and the people who call it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeAlias

from voxtra.app import VoxtraApp
from voxtra.ari import ARIClient
from voxtra.calls.fetch import SoundFetcher
from voxtra.errors import PlaybackError, VoxtraError
from voxtra.events import VoxtraEvent
from voxtra.media.line import Transport
from voxtra.recording import RecordingMetadata, RecordingSink
from voxtra.router import Handler, Router
from voxtra.session import CallSession
from voxtra.speech.base import LLM, STT, TTS, VAD, Provider
from voxtra.testing.clock import place
from voxtra.testing.fake_ari import FakeARI
from voxtra.testing.fake_asterisk import OUTCOMES, Dialplan, FakeAsterisk, FakeChannel, FakeEndpoint
from voxtra.testing.fake_call import FakeCall
from voxtra.testing.fake_errors import ExpectationError, FakeCallError
from voxtra.testing.fake_line import FakeTransport
from voxtra.testing.fake_playback import PROMPT_S
from voxtra.testing.fake_result import CallResult
from voxtra.testing.fake_sound import labelled
from voxtra.testing.fake_speech import FakeSTT, FakeTTS, FakeVAD
from voxtra.testing.fake_story import Story
from voxtra.testing.fake_watch import errors_into

Script: TypeAlias = Callable[[FakeCall], Awaitable[Any]]

STAY_S = 60.0
"""How long the caller stays on the line after the script's end, waiting for the app to hang up."""
TAIL_S = 2.0
"""Silence that is heard beyond what ends a turn, s: then nothing is left to be decided."""
LIMIT_S = 4 * 3600.0
"""Longest call."""
AFTER_S = 30.0
"""How long the app may take to be done with a call that is over."""


class FakeOffice:
    """An app that runs on the fakes, and people who call it; for more than one call, or none.

    ::

        async def main():
            async with FakeOffice(app, endpoints={"PJSIP/anna": anna}) as office:
                session = await office.app.originate("PJSIP/anna")
                first, second = await asyncio.gather(office.call(one), office.call(two))

        run_virtual(main())

    Arguments as of :func:`run_call`.

    Attributes:
        app: the app, started.
        asterisk: the Asterisk it is connected to.
        calls: everybody who called, or was called and answered.
    """

    def __init__(
        self,
        app: VoxtraApp | Router | Handler,
        *,
        llm: LLM | None = None,
        prompts: Mapping[str, float | None] | None = None,
        endpoints: Mapping[str, object] | None = None,
        dialplan: Mapping[str, Dialplan] | None = None,
        check: bool = True,
    ) -> None:
        self.app = _as_app(app)
        self.asterisk = FakeAsterisk(
            self.app.app_name, prompts=prompts, endpoints=endpoints, dialplan=dialplan
        )
        self.calls: list[FakeCall] = []
        self.errors: list[BaseException] = []
        self._bare = not isinstance(app, VoxtraApp)
        self._llm = llm
        self._check = check
        self._numbers = itertools.count(1)
        self._stories: dict[str, Story] = {}
        self._events: dict[str, list[VoxtraEvent]] = {}
        self._sessions: dict[str, CallSession] = {}
        self._people: set[asyncio.Task[Any]] = set()
        self._recordings: _Recordings | None = None
        self._stack = contextlib.AsyncExitStack()
        self._loop = asyncio.get_running_loop()

    # ---- the app on its fakes

    async def __aenter__(self) -> Self:
        stack = self._stack
        try:
            self.asterisk.ring = self._ring
            stack.enter_context(errors_into(self.errors, self._loop))
            stack.enter_context(self._in_place_of_real())
            listeners = list(self.app._listeners)
            stack.callback(lambda: self.app._listeners.__setitem__(slice(None), listeners))
            self.app.on()(self._take)
            await self.app.start()
            stack.push_async_callback(self._stop)
        except BaseException:
            await stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._stack.aclose()
        # What failed in the app explains what the caller missed, so it goes first.
        if self.errors and self._check and (error is None or isinstance(error, ExpectationError)):
            raise self._told(self.errors[0]) from None

    async def _stop(self) -> None:
        for task in self._people:
            task.cancel()
        await asyncio.gather(*self._people, return_exceptions=True)
        await self.app.stop(drain_s=0)

    def _told(self, error: BaseException) -> BaseException:
        for call in self.calls:
            error.add_note(f"{call.number}: the call so far:\n{call._story.told()}")
        return error

    @contextlib.contextmanager
    def _in_place_of_real(self) -> Iterator[None]:
        """The app's doors to the world lead to the fakes meanwhile."""
        app = self.app
        transport = FakeTransport(tail_s=app._turns.silence_threshold_ms / 1000 + TAIL_S)
        self.asterisk.open_line = transport.open

        def doors() -> tuple[ARIClient, Transport]:
            ari = FakeARI(self.asterisk)
            ari.broken = self.errors.append
            return ari, transport

        given = dict(app._given)
        fakes: dict[Any, Any] = {
            STT: FakeSTT() if self._wants(STT, app.settings.stt) else None,
            TTS: FakeTTS() if self._wants(TTS, app.settings.tts) else None,
            VAD: FakeVAD(),
            LLM: self._llm or given[LLM],
        }
        before = app._doors, app._sounds, app.recording_sink
        with tempfile.TemporaryDirectory(prefix="voxtra-fake-") as folder:
            self._recordings = _Recordings(Path(folder))
            app._given.update(fakes)
            app._doors, app.recording_sink = doors, self._recordings  # type: ignore[method-assign]
            app._sounds = lambda: _Sounds(self.asterisk.prompts)  # type: ignore[method-assign]
            try:
                yield
            finally:
                app._given.update(given)
                app._doors, app._sounds, app.recording_sink = before  # type: ignore[method-assign]

    def _wants(self, kind: type[Provider], configured: object) -> bool:
        """Whether the app has such a provider; a handler alone has all."""
        return self._bare or configured is not None or self.app._given[kind] is not None

    def _take(self, event: VoxtraEvent) -> None:
        name = event.session_id
        self._events.setdefault(name, []).append(event)
        session = self.app.get_session(name)
        if session is not None:
            self._sessions[name] = session
        if name in self._stories:
            self._stories[name].take(event, self._loop.time())

    # ---- people

    async def call(
        self,
        caller: Script | None = None,
        *,
        number: str = "100",
        caller_id: str = "4711",
        variables: Mapping[str, str] | None = None,
    ) -> CallResult:
        """Somebody calls. Returns when the call is over. Arguments and errors as of :func:`run_call`."""
        for name, value in (("number", number), ("caller_id", caller_id)):
            if not isinstance(value, str):
                raise FakeCallError(f"{name}={value!r}: write it as text")
        _check_script(caller)
        channel = FakeChannel(
            f"fake-call-{next(self._numbers)}",
            self.asterisk.new_name(f"PJSIP/{caller_id or 'anonymous'}"),
            number=caller_id,
            exten=number,
            variables=dict(variables or {}),
        )
        call = self._seat(channel, number=number, caller_id=caller_id)
        self.asterisk.add(channel)
        self.asterisk.enter_stasis(channel)
        try:
            async with asyncio.timeout(LIMIT_S):
                if caller is not None:
                    await caller(call)
                await self._stay(call)
        except TimeoutError:
            raise self._stuck(call, f"the call lasted longer than {LIMIT_S:g} s") from None
        finally:
            await call.hangs_up()
        await self._finished(call, channel)
        events = self._events.get(channel.id, [])
        said = sorted(self._stories[channel.id].said, key=lambda each: each.start)
        recordings = self._recordings.finished if self._recordings is not None else []
        recordings = [each for each in recordings if each.session_id == channel.id]
        return CallResult(call, self._sessions.get(channel.id), said, events, self.errors, recordings)

    def _seat(self, channel: FakeChannel, *, number: str, caller_id: str) -> FakeCall:
        """Somebody at the far end of a channel."""
        story = self._stories[channel.id] = Story(self._loop.time())
        call = FakeCall(self.asterisk, channel, number=number, caller_id=caller_id, story=story)
        channel.handset = call
        self.calls.append(call)
        return call

    async def _stay(self, call: FakeCall) -> None:
        """On the line until the app hangs up, or lets go."""
        deadline = self._loop.time() + STAY_S
        while not call.is_over and call.continued is None:
            if self._loop.time() > deadline and not call.is_spoken_to:
                raise self._stuck(
                    call,
                    f"the caller's script was done, and {STAY_S:g} s later the call was still up: "
                    "end it with  await call.hangs_up(),  or let the handler return",
                )
            await asyncio.sleep(0.5)

    async def _finished(self, call: FakeCall, channel: FakeChannel) -> None:
        deadline = self._loop.time() + AFTER_S
        while self.app.get_session(channel.id) is not None:
            if self._loop.time() > deadline:
                raise self._stuck(call, f"the app was not done with the call {AFTER_S:g} s after its end")
            await asyncio.sleep(0.05)

    def _stuck(self, call: FakeCall, what: str) -> ExpectationError:
        name = f"handler {call._channel.id}"
        handlers = [task for task in asyncio.all_tasks() if task.get_name() == name]
        where = f" The handler is at {place(handlers[0])}." if handlers else ""
        return ExpectationError(f"{what}.{where} The call so far:\n{call._story.told()}")

    def _ring(self, channel: FakeChannel, endpoint: FakeEndpoint, timeout: float) -> None:
        """The app calls somebody."""
        task = self._loop.create_task(self._callee(channel, endpoint, timeout), name=f"callee {channel.name}")
        self._people.add(task)
        task.add_done_callback(self._person_done)

    def _person_done(self, task: asyncio.Task[None]) -> None:
        self._people.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _callee(self, channel: FakeChannel, endpoint: FakeEndpoint, timeout: float) -> None:
        asterisk = self.asterisk
        patient = endpoint.rings <= timeout and endpoint.outcome != "no_answer"
        await asyncio.sleep(endpoint.rings if patient else timeout)
        if channel.gone:
            return
        outcome = endpoint.outcome if patient else "no_answer"
        if outcome != "answers":
            asterisk.hang_up(channel, by="far end", cause=OUTCOMES[outcome])
            return
        call = self._seat(channel, number=channel.number, caller_id=channel.caller_id)
        asterisk.set_state(channel, "Up")
        if not channel.in_stasis:
            asterisk.enter_stasis(channel)
        if endpoint.script is not None:
            await endpoint.script(call)


def _as_app(given: VoxtraApp | Router | Handler) -> VoxtraApp:
    if isinstance(given, VoxtraApp):
        return given
    router = given
    if not isinstance(router, Router):
        if not callable(given):
            raise FakeCallError(f"run_call({given!r}): a VoxtraApp, a Router, or a handler (async def)")
        router = Router()
        try:
            router.default()(given)
        except VoxtraError as error:
            raise FakeCallError(f"run_call: {error}") from None
    return VoxtraApp(router=router)


def _check_script(script: object) -> None:
    if script is None:
        return
    if inspect.iscoroutine(script):
        script.close()
        raise FakeCallError("give the caller's function itself, without calling it: run_call(app, caller)")
    if not inspect.iscoroutinefunction(script):
        raise FakeCallError(f"caller={script!r}: write it as  async def caller(call)")


class _Recordings(RecordingSink):
    """Keeps what is known of recordings, and no sound."""

    def __init__(self, folder: Path) -> None:
        self.finished: list[RecordingMetadata] = []
        self._folder = folder

    @property
    def workspace(self) -> Path:
        return self._folder

    async def on_recording_complete(self, metadata: RecordingMetadata) -> None:
        self.finished.append(metadata)


class _Sounds(SoundFetcher):
    """Fetches nothing: the sound of a URL is its name, of the length that the test says."""

    def __init__(self, lengths: Mapping[str, float | None]) -> None:
        super().__init__()
        self._lengths = lengths

    async def fetch(self, url: str, rate: int) -> bytes:
        length = self._lengths.get(url, PROMPT_S)
        if length is None:
            raise PlaybackError(f"{url}: the test says that it can't be fetched")
        return labelled(f"<{url}> ", length)
