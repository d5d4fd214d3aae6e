"""Plays scenarios as real calls: a telephone on a private Asterisk, with synthesised speech."""

from __future__ import annotations

import asyncio
import contextlib
import random
from array import array
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, Self

from voxtra.app import VoxtraApp
from voxtra.config import VoxtraConfig
from voxtra.errors import CallEndedError, ConfigurationError
from voxtra.evaluation.caller import QUIET_S, first_line, perform, quiet, spoken_to
from voxtra.evaluation.persona import converse
from voxtra.evaluation.play import MakeLLM, from_events
from voxtra.evaluation.played import Line, Played
from voxtra.evaluation.scenario import Scenario
from voxtra.evaluation.surroundings import LineSpec, Surroundings, add
from voxtra.events import EventType, VoxtraEvent
from voxtra.media.resample import resample
from voxtra.session import CallSession
from voxtra.speech.base import LLM
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.fake_errors import ExpectationError
from voxtra.testing.fake_llm import ScriptedLLM
from voxtra.testing.fake_watch import errors_into
from voxtra.testing.phone import PhoneCall, PhoneError
from voxtra.testing.rtp import ulaw_to_pcm
from voxtra.testing.talking_phone import RATE, TestPhone

STAY_S = 30.0
"""How long the caller stays after the script's end, waiting for the app to hang up."""
AFTER_S = 10.0
"""How long the app may take to be done with a call that is over."""
LIMIT_S = 600.0
"""Longest call."""
NOISE_PEAK = 6000
OTHER_RATE = 9200
"""Sound at 8 kHz that is taken for sound at this rate is heard higher and quicker: another person's voice."""
APP_NAME = "voxtra"
"""In the Asterisk's dialplan; an app goes by it while it is evaluated."""


class LivePlayer:
    """Plays scenarios one after another; a context manager, as it keeps an Asterisk running.

    Raises:
        AsteriskError: there is no Asterisk, or it did not start.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._asterisk: PrivateAsterisk | None = None

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._asterisk is not None:
                self._runner.run(self._asterisk.stop())
        finally:
            self._runner.__exit__(kind, error, trace)

    def __call__(self, scenario: Scenario, app: VoxtraApp, make_llm: MakeLLM | None = None) -> Played:
        """Play one; as :func:`~voxtra.evaluation.play.play_text`."""
        for key in ("prompts", "endpoints"):
            if getattr(scenario, key):
                raise ConfigurationError(f"{scenario.name}: {key} are for text only, not for --live")
        return self._runner.run(self._play(scenario, app, make_llm))

    async def _play(self, scenario: Scenario, app: VoxtraApp, make_llm: MakeLLM | None) -> Played:
        if self._asterisk is None:
            asterisk = PrivateAsterisk(app=APP_NAME)
            await asterisk.start()
            self._asterisk = asterisk
        connection = {
            "asterisk.url": self._asterisk.ari_url,
            "asterisk.user": self._asterisk.ari_user,
            "asterisk.password": self._asterisk.ari_password,
            "asterisk.app_name": APP_NAME,
        }
        settings, given, listeners = app.settings, dict(app._given), list(app._listeners)
        app.configure(VoxtraConfig.load(keywords=connection))
        if scenario.replies is not None:
            app._given[LLM] = ScriptedLLM(scenario.replies)
        watch = _Watch(app)
        app.on()(watch)
        errors: list[BaseException] = []
        try:
            await app.start()
            with errors_into(errors, asyncio.get_running_loop()):
                async with TestPhone(self._asterisk) as phone:
                    played = await _call(scenario, phone, watch, make_llm)
            played.errors = [f"{type(error).__name__}: {first_line(error)}" for error in errors]
            return played
        finally:
            await app.stop(drain_s=0)
            app._given.update(given)
            app._listeners[:] = listeners
            app.configure(settings)


async def _call(scenario: Scenario, phone: TestPhone, watch: _Watch, make_llm: MakeLLM | None) -> Played:
    failure = ""
    try:
        call = await phone.call(scenario.number)
    except (PhoneError, TimeoutError) as error:
        return Played(failure=f"the call was not answered: {error}")
    person = LivePerson(phone, call, watch)
    try:
        await _surround(phone, call, scenario.line)
        async with asyncio.timeout(LIMIT_S):
            if scenario.persona is not None and make_llm is not None:
                await converse(person, scenario.persona, make_llm())
            else:
                await perform(person, scenario.caller)
            if not person.is_over:
                await person.ended(STAY_S)
    except ExpectationError as error:
        failure = first_line(error)
    except TimeoutError:
        failure = f"the call lasted longer than {LIMIT_S:g} s"
    except (PhoneError, CallEndedError) as error:
        failure = f"the telephone failed: {error}"
    finally:
        await person.close()
    await watch.done(AFTER_S)
    played = Played(lines=sorted(watch.lines, key=lambda line: line.start_s), failure=failure)
    played.ended_by = person.ended_by
    from_events(played, watch.events)
    session = watch.session
    if session is None:
        played.failure = played.failure or "the app took no call"
    else:
        played.state, played.metadata = str(session.state), dict(session.metadata)
    return played


async def _surround(phone: TestPhone, call: PhoneCall, line: LineSpec) -> None:
    """Let the telephone pick up more than its owner."""
    if line.quiet:
        return
    now = asyncio.get_running_loop().time
    talk = _somebody_else(await phone.spoken(line.background)) if line.background.strip() else b""
    room = Surroundings(line, talk)
    call.on_packet = lambda packet: room.hear(ulaw_to_pcm(packet.payload), packet.time)
    call.microphone = lambda pcm: add(pcm, room.beside(now()))


def _somebody_else(pcm: bytes) -> bytes:
    """The same words in another voice: higher and quicker."""
    return resample(pcm, OTHER_RATE, RATE)


class _Watch:
    """What the app tells of the call."""

    def __init__(self, app: VoxtraApp) -> None:
        self._app = app
        self._now = asyncio.get_running_loop().time
        self.began = self._now()
        self.events: list[VoxtraEvent] = []
        self.lines: list[Line] = []
        self.session: CallSession | None = None
        self.heard = ""
        self.speaks_since: float | None = None
        self._over = asyncio.Event()

    def __call__(self, event: VoxtraEvent) -> None:
        self.session = self.session or self._app.get_session(event.session_id)
        self.events.append(event)
        data = event.data
        if event.type is EventType.AGENT_SPEECH_STARTED:
            self.speaks_since = self._now()
        elif event.type is EventType.AGENT_SPEECH_ENDED:
            began = (self.speaks_since or self._now()) - self.began
            self.speaks_since = None
            self.heard = f"{self.heard} {data['heard']}".strip()
            cut = "" if data["reason"] == "finished" else str(data["reason"])
            self.lines.append(Line("agent", str(data["heard"]), round(began, 2), cut))
        elif event.type is EventType.SESSION_DESTROYED:
            self._over.set()

    def said(self, text: str) -> Line:
        """The caller begins to say ``text``."""
        line = Line("caller", text, round(self._now() - self.began, 2))
        self.lines.append(line)
        return line

    async def done(self, timeout: float) -> None:
        """Wait until the app is done with the call."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._over.wait()


class LivePerson:
    """Who holds the real telephone. What is said to them is known from the app; they need no ears for words."""

    def __init__(self, phone: TestPhone, call: PhoneCall, watch: _Watch) -> None:
        self._phone = phone
        self._call = call
        self._watch = watch
        self._cursor = 0
        self._hung_up = False
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.ensure_future(call.ended(2 * LIMIT_S))

    async def close(self) -> None:
        """Hang up, and leave nothing behind."""
        await self.hangs_up()
        self._end.cancel()
        await asyncio.gather(self._end, return_exceptions=True)

    @property
    def is_over(self) -> bool:
        """True once the call has ended."""
        return self._hung_up or self._end.done()

    @property
    def ended_by(self) -> str:
        """``caller`` or ``app``."""
        return "caller" if self._hung_up else "app"

    @property
    def is_spoken_to(self) -> bool:
        """True while the app speaks."""
        return self._watch.speaks_since is not None

    @property
    def heard(self) -> str:
        """All words heard so far, of what was said to its end or cut off."""
        return self._watch.heard

    async def answered(self, timeout: float = 30) -> None:
        """It was answered already."""

    async def hears(self, text: str, timeout: float = 30) -> str:
        """Wait until something with these words was said to its end."""

        def there() -> bool:
            return " ".join(text.lower().split()) in self.heard[self._cursor :].lower()

        await self._until(there, timeout, f"the words {text!r}")
        said, self._cursor = self.heard[self._cursor :], len(self.heard)
        return said

    async def hears_prompt(self, name: str = "", timeout: float = 30) -> Any:
        """Not here: a prompt is not known by its sound."""
        self._cannot("hears_prompt")

    async def says(self, text: str, *, confidence: float | None = None) -> None:
        """Speak, once the app is silent."""
        if confidence is not None:
            self._cannot("confidence")
        await quiet(self, QUIET_S)
        await self._speak(text)

    async def interrupts(self, text: str, *, after: float = 1.0, timeout: float = 30) -> None:
        """Speak while the app does."""
        await spoken_to(self)
        began = self._watch.speaks_since or self._loop.time()
        await asyncio.sleep(max(0.0, began + after - self._loop.time()))
        if not self.is_spoken_to:
            raise ExpectationError(f"can't interrupt after {after:g} s: the other side was done")
        await self._speak(text)

    async def _speak(self, text: str) -> None:
        if self.is_over:
            raise ExpectationError(f"the call was ended by the {self.ended_by} before it could say {text!r}")
        line = self._watch.said(text)
        await self._phone.says(self._call, text)
        line.cut = "hangup" if self._end.done() else ""

    async def noise(self, seconds: float = 0.5) -> None:
        """White noise."""
        rng = random.Random(1)
        samples = array("h", (rng.randint(-NOISE_PEAK, NOISE_PEAK) for _ in range(round(seconds * RATE))))
        self._call.play(samples.tobytes())
        await self._call.played()

    async def silence(self, seconds: float) -> None:
        """Say nothing."""
        await asyncio.sleep(seconds)

    async def presses(self, keys: str, *, gap: float = 0.2) -> None:
        """Press keys."""
        self._watch.said(f"[{keys}]")
        for number, key in enumerate(keys):
            await asyncio.sleep(gap if number else 0)
            await self._call.send_dtmf(key)

    async def holds(self) -> None:
        """Put the app on hold."""
        await self._call.hold()

    async def resumes(self) -> None:
        """Take it off hold."""
        await self._call.unhold()

    async def hangs_up(self) -> None:
        """End the call. Ended already is as good."""
        if not self.is_over:
            self._hung_up = True
            await self._call.hangup()

    async def ended(self, timeout: float = 60) -> str:
        """Wait until it is over."""
        await self._until(lambda: self.is_over, timeout, "the end of the call", even_over=True)
        return self.ended_by

    async def _until(
        self, happened: Callable[[], bool], timeout: float, what: str, *, even_over: bool = False
    ) -> None:
        deadline = self._loop.time() + timeout
        while not happened():
            if self.is_over and not even_over:
                raise ExpectationError(f"the call was ended by the {self.ended_by} before {what} came")
            if self._loop.time() > deadline:
                raise ExpectationError(f"waited {timeout:g} s for {what}")
            await asyncio.sleep(0.05)

    def _cannot(self, what: str) -> NoReturn:
        raise ExpectationError(f"{what}: in text only, not on a real call")
