"""VoxtraApp: connects to Asterisk, finds the handler of each call, starts and ends everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel

from voxtra._checks import checked
from voxtra.agent.pipeline import SpeechSetup
from voxtra.ari import ARIClient, ARIListener, ConnectionState
from voxtra.ari.listener import server_tls
from voxtra.calls.dial import check_timeout, endpoint_of
from voxtra.calls.fetch import SoundFetcher
from voxtra.calls.switchboard import Switchboard
from voxtra.config import VoxtraConfig
from voxtra.errors import (
    ConfigurationError,
    NotConnectedError,
    TelephonyConnectionError,
    TelephonyError,
)
from voxtra.exchange import Exchange
from voxtra.media.configured import transport_settings
from voxtra.media.line import Transport
from voxtra.media.transports import open_transport
from voxtra.parts import in_use, load_speech, register_routes, warm_up
from voxtra.registrations import Hook, Registrations
from voxtra.router import Router
from voxtra.serving import StoppedError, run, serve
from voxtra.session import CallSession
from voxtra.shared import Shared
from voxtra.speech.base import LLM, STT, TTS, VAD, EndOfTurnModel, SpeechToSpeech
from voxtra.turns import LISTENING, TurnDetection
from voxtra.types import AppState

if TYPE_CHECKING:
    from voxtra.recording.records import CallRecords
    from voxtra.recording.sink import RecordingSink
    from voxtra.webhook import BackendWebhook, WebhookConfig

log = logging.getLogger("voxtra.app")


P = TypeVar("P", STT, TTS, LLM, VAD)


@runtime_checkable
class ApiServer(Protocol):
    """What answers others over HTTP on behalf of an app; :class:`~voxtra.api.Api` does."""

    async def start(self, app: VoxtraApp) -> None:
        """Begin; the app is connected."""

    async def close(self) -> None:
        """End. Idempotent."""


class VoxtraApp(Registrations):
    """A phone application::

        app = VoxtraApp(stt="local", tts="local", llm=OpenAILLM(model="..."))

        @app.default()
        async def reception(call):
            await call.answer()
            await call.say("Hello, how can I help?")
            while user := await call.listen(timeout=10):
                reply = await call.agent.respond(user.text)
                await call.say(reply.text)

    Args:
        ari_url: Asterisk's HTTP server; else VOXTRA_ARI_URL, else http://localhost:8088.
        ari_user, ari_password: of ari.conf; else VOXTRA_ARI_USER, VOXTRA_ARI_PASSWORD.
        listen: ``[HOST:]PORT`` where Asterisk connects to us, instead of us to it; see docs/running.md.
        app_name: the name in the dialplan's ``Stasis(name)``; ``"voxtra"``.
        reconnect_interval: longest wait between attempts to reconnect, s.
        debug: log everything voxtra does.
        router: routes made elsewhere.
        stt, llm, tts, vad: a provider, its name (``"local"``, ``"openai"``), or its settings. With any of
            stt and tts every call gets a voice pipeline of its own.
        realtime: a speech-to-speech model for ``converse``, its name or its settings, in place of stt, llm, tts.
        end_of_turn: hears at each pause whether the caller has finished; a model, ``"smart-turn"``, or its settings.
        language: BCP 47, spoken on calls whose agent or handler sets none; else the settings' ``speech.language``.
        recording_sink: where recordings go; None = the folder ``recordings``. Started and closed with the app.
        call_records: where a document of every call goes: a folder, a sink, or
            :class:`~voxtra.recording.CallRecords`; None = by the settings ``call_records``.
        webhook: who is told of the events of all calls, see :class:`~voxtra.webhook.WebhookConfig`.
        telephony: an ARI client of your own, not connected yet, with ``app=`` the app's name; None makes one.
        turn_detection: settings of turn-taking: a :class:`~voxtra.turns.TurnDetection`, the name of a preset, or a
            dict of what is to differ from :data:`~voxtra.turns.LISTENING`.
        instructions: the system prompt of every call's conversation.
        media: settings of the media transport, see :class:`~voxtra.config.MediaConfig`.
        drain_s: how long ``stop`` lets calls go on; else VOXTRA_DRAIN_GRACE, else 10. What is left then goes
            back to the dialplan, see :class:`~voxtra.config.DrainConfig`.
        private_urls: let ``play_url`` fetch from private networks and from this machine.
        apology: what a caller hears before the hang-up when the handler failed: words (with a TTS), or a
            prompt like ``"sound:tt-somethingwrong"``.
        api: the HTTP API, ``Api(port=8080)`` of :mod:`voxtra.api`; None = where the settings name ``api.port``.

    Raises:
        ConfigurationError: a setting can't be; the message names it.
    """

    def __init__(
        self,
        ari_url: str = "",
        ari_user: str = "",
        ari_password: str = "",
        *,
        app_name: str = "",
        listen: str = "",
        reconnect_interval: float | None = None,
        debug: bool = False,
        router: Router | None = None,
        stt: STT | BaseModel | str | None = None,
        llm: LLM | BaseModel | str | None = None,
        tts: TTS | BaseModel | str | None = None,
        vad: VAD | BaseModel | str | None = None,
        realtime: SpeechToSpeech | BaseModel | str | None = None,
        end_of_turn: EndOfTurnModel | BaseModel | str | None = None,
        language: str | None = None,
        recording_sink: RecordingSink | None = None,
        call_records: CallRecords | RecordingSink | str | PathLike[str] | None = None,
        webhook: BackendWebhook | WebhookConfig | None = None,
        telephony: ARIClient | None = None,
        turn_detection: TurnDetection | dict[str, Any] | str | None = None,
        instructions: str = "",
        media: Mapping[str, Any] | None = None,
        drain_s: float | None = None,
        private_urls: bool = False,
        apology: str = "",
        api: ApiServer | None = None,
    ) -> None:
        checked("media", media, (Mapping, type(None)), "settings like {'transport': 'rtp'}")
        checked("router", router, (Router, type(None)), "a voxtra.Router")
        if recording_sink is not None and not hasattr(recording_sink, "on_recording_complete"):
            raise ConfigurationError(f"recording_sink={recording_sink!r}: should be a RecordingSink")
        if telephony is not None and not hasattr(telephony, "connect"):
            raise ConfigurationError(f"telephony={telephony!r}: should be an ARIClient, not connected yet")
        checked("instructions", instructions, (str,), "text")
        checked("apology", apology, (str,), "words, or a prompt like 'sound:tt-somethingwrong'")
        checked("private_urls", private_urls, (bool,), "True or False")
        checked("drain_s", drain_s, (int, float, type(None)), "seconds, 0 or more")
        if drain_s is not None and not drain_s >= 0:
            raise ConfigurationError(f"drain_s={drain_s!r}: should be seconds, 0 or more")
        keywords: dict[str, Any] = {
            "asterisk.url": ari_url or None,
            "asterisk.user": ari_user or None,
            "asterisk.password": ari_password or None,
            "asterisk.app_name": app_name or None,
            "asterisk.listen": listen or None,
            "asterisk.reconnect_interval": reconnect_interval,
            "drain.grace": drain_s,
            "speech.language": language,
            **{f"media.{name}": value for name, value in (media or {}).items()},
        }
        self._keywords = {name: value for name, value in keywords.items() if value is not None}
        self.settings = VoxtraConfig.load(keywords=self._keywords)
        if debug:
            logging.getLogger("voxtra").setLevel(logging.DEBUG)
        super().__init__(router if router is not None else Router())
        self._given: dict[type[Any], Any] = {STT: stt, LLM: llm, TTS: tts, VAD: vad, SpeechToSpeech: realtime}
        self._given[EndOfTurnModel] = end_of_turn
        names = {SpeechToSpeech: "realtime", EndOfTurnModel: "end_of_turn"}
        for kind, part in self._given.items():
            name = names.get(kind, kind.__name__.lower())
            wanted = f"a {kind.__name__} provider, its name, or its settings"
            checked(name, part, (kind, str, BaseModel, type(None)), wanted)
        self._turns = TurnDetection.of(turn_detection, base=LISTENING)
        self._instructions = instructions
        self.recording_sink = recording_sink
        self.call_records = _records_of(call_records)
        self.processes = 1
        """How many processes run this app side by side; ``voxtra run --workers`` says so. Spools are shared then."""
        self._webhook_given = _webhook_of(webhook)
        self.webhook: BackendWebhook | None = None
        self._telephony = telephony
        self._private_urls = private_urls
        self._apology = apology
        checked("api", api, (ApiServer, type(None)), "a voxtra.api.Api")
        self.api = api
        self._phase = AppState.NEW
        self._told = AppState.NEW, time.time()
        self._exchange = Exchange(self.router, self.middlewares, self._listeners)
        self._tell_backend()
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._shared: Shared | None = None
        self._resources = contextlib.AsyncExitStack()
        self._broken: asyncio.Future[TelephonyError] | None = None

    @classmethod
    def with_asterisk(
        cls, *, ari_url: str, ari_user: str, ari_password: str, app_name: str = "voxtra", **options: Any
    ) -> Self:
        """An app for one Asterisk; ``options`` as of the constructor."""
        return cls(ari_url, ari_user, ari_password, app_name=app_name, **options)

    @classmethod
    def from_config(cls, config: VoxtraConfig, **options: Any) -> Self:
        """An app with these settings; ``options`` as of the constructor."""
        checked("config", config, (VoxtraConfig,), "a VoxtraConfig; from_yaml() reads a file")
        app = cls(**options)
        app.configure(config.layered(keywords=app._keywords))
        return app

    @classmethod
    def from_yaml(cls, path: str | PathLike[str], **options: Any) -> Self:
        """An app with the settings of a YAML file. Raises ConfigurationError."""
        checked("path", path, (str, PathLike), "the name of a YAML file")
        return cls.from_config(VoxtraConfig.from_yaml(path), **options)

    def configure(self, settings: VoxtraConfig) -> None:
        """Replace all settings, before the start.

        Raises:
            ConfigurationError: the app is started already.
        """
        if not self._at_rest:
            raise ConfigurationError("settings can't change while the app runs: stop() it first")
        checked("settings", settings, (VoxtraConfig,), "a VoxtraConfig")
        self.settings = settings
        self._tell_backend()

    def _tell_backend(self) -> None:
        """Let the program's webhook, else that of the settings, have the events."""
        if self.webhook is not None:
            self._listeners.remove((None, self.webhook.send))
        self.webhook = self._webhook_given or _webhook_set(self.settings)
        if self.webhook is not None:
            self.on()(self.webhook.send)

    # ---- what it is

    @property
    def app_name(self) -> str:
        """Name of the Stasis application."""
        return self.settings.asterisk.app_name

    @property
    def active_sessions(self) -> list[CallSession]:
        """The calls that live now."""
        return list(self._exchange.sessions.values())

    def get_session(self, session_id: str) -> CallSession | None:
        """The living call of this id, None when there is none."""
        return self._exchange.sessions.get(session_id)

    @property
    def state(self) -> AppState:
        """Where the app stands: new, starting, ready, lost, failed, draining or stopped."""
        if self._phase is AppState.READY and self._shared is not None:
            if self._broken is not None and self._broken.done():
                return AppState.FAILED
            return AppState.READY if self._shared.ari.ready else AppState.LOST
        return self._phase

    @property
    def _at_rest(self) -> bool:
        return self._phase in (AppState.NEW, AppState.STOPPED)

    @property
    def is_running(self) -> bool:
        """True between ``start`` and ``stop``."""
        return self._phase in (AppState.READY, AppState.DRAINING)

    @property
    def is_ready(self) -> bool:
        """True while calls are taken: running, and Asterisk connected."""
        return self.state is AppState.READY

    def health(self) -> dict[str, Any]:
        """How it is, as ``/readyz`` tells it: JSON values only, no secrets.

        Returns:
            ``app``, ``asterisk`` (its address, or where it is to connect), ``state``, ``ready`` (whether calls
            are taken), ``since`` (ISO 8601, when this state began), ``calls`` (how many live), ``error`` (why
            Asterisk can't be reached, "" when it can), ``attempts`` (tries to reach it that failed).
        """
        state = self._note()
        ari = self._shared.ari if self._shared is not None else None
        error = ari.last_error if ari is not None else None
        return {
            "app": self.app_name,
            "asterisk": self._asterisk(),
            "state": str(state),
            "ready": state is AppState.READY,
            "since": datetime.fromtimestamp(self._told[1], UTC).isoformat(timespec="milliseconds"),
            "calls": len(self._exchange.sessions),
            "error": str(error) if error is not None else "",
            "attempts": ari.attempts if ari is not None else 0,
        }

    def _asterisk(self) -> str:
        ari = self._shared.ari if self._shared is not None else self._telephony
        asterisk = self.settings.asterisk
        if ari is None:
            return f"listening on {asterisk.listen}" if asterisk.listen else asterisk.url
        return ari.url

    def _note(self) -> AppState:
        """The state, and since when: noted at every change of it."""
        state = self.state
        if state is not self._told[0]:
            self._told = state, time.time()
        return state

    def _enter(self, phase: AppState) -> None:
        self._phase = phase
        self._note()

    @property
    def ari(self) -> ARIClient:
        """The ARI client. Raises NotConnectedError (a RuntimeError) when the app is not started."""
        if self._shared is None:
            raise NotConnectedError("the app is not started: await app.start() first")
        return self._shared.ari

    telephony = ari

    # ---- starting and stopping

    async def start(self) -> None:
        """Load speech, connect, run the start-up hooks. Returns once calls are taken.

        An Asterisk that isn't there yet is waited for.

        Raises:
            ConfigurationError: a setting can't be, or an extra is missing.
            AuthenticationError: Asterisk refuses user or password.
            MediaError: a port of the media transport is taken.
            NotConnectedError: the app was stopped meanwhile.
        """
        if not self._at_rest:
            raise ConfigurationError(f"the app is {self._phase.value} already")
        self._enter(AppState.STARTING)
        self._resources = contextlib.AsyncExitStack()
        self._broken = asyncio.get_running_loop().create_future()
        self._starting = asyncio.ensure_future(self._start())
        try:
            await self._starting
        except BaseException as error:
            if self._phase is AppState.STARTING:
                await self._release()
            elif isinstance(error, asyncio.CancelledError) and self._starting.cancelled():
                raise await self._stopped_meanwhile() from None
            raise
        if self._phase is not AppState.STARTING:
            raise await self._stopped_meanwhile()
        self._enter(AppState.READY)
        self._exchange.open()

    async def _stopped_meanwhile(self) -> StoppedError:
        if self._stopping is not None:
            await asyncio.shield(self._stopping)
        return StoppedError("the app was stopped while it started")

    async def _start(self) -> None:
        settings = self.settings
        register_routes(self.router, settings.routes)
        if not self.router:
            log.warning("no handler: write @app.default() or @app.route(...); calls will be hung up")
        speech, llm, realtime = self._load_speech()
        ari, transport = self._doors()
        await self._open_outlets()
        await warm_up(speech, llm, realtime)
        await transport.start()
        self._resources.push_async_callback(transport.close)
        self._resources.push_async_callback(ari.close)
        switchboard = Switchboard(ari, self._exchange.take)
        self._resources.push_async_callback(switchboard.close)
        ari.on_state(self._connection)
        self._resources.callback(ari.on_event(self._exchange.offered))
        self._shared = Shared(
            app_name=settings.asterisk.app_name,
            ari=ari,
            switchboard=switchboard,
            transport=transport,
            speech=speech,
            llm=llm,
            realtime=realtime,
            turns=self._turns,
            instructions=self._instructions or (settings.llm and settings.llm.system_prompt) or "",
            recording_sink=self.recording_sink,
            call_records=self.call_records,
            place=self._exchange.place,
            find=self._exchange.sessions.get,
            apology=self._apology,
            sounds=self._sounds(),
            trunk=settings.trunk,
            drain=settings.drain,
        )
        self._exchange.shared = self._shared
        await ari.connect()
        for hook in self._startup:
            await _run_hook(hook)
        await self._open_api()

    async def _open_api(self) -> None:
        api = self.api
        if api is None and self.settings.api.port is not None:
            # by name: it is built on top of the app
            api = self.api = import_module("voxtra.api").Api()
        if api is not None:
            self._resources.push_async_callback(api.close)  # the last, so it is closed first
            await api.start(self)

    def _doors(self) -> tuple[ARIClient, Transport]:
        """The ways to Asterisk, not opened yet. (A test without an Asterisk puts others in their place.)"""
        settings = self.settings
        transport = open_transport(transport_settings(settings.media, settings.asterisk.url))
        asterisk = settings.asterisk
        if self._telephony is not None:
            if self._telephony.app != asterisk.app_name:
                raise ConfigurationError(
                    f"telephony: the client is of app {self._telephony.app!r}, the app is {asterisk.app_name!r}: "
                    "give both the same name"
                )
            return self._telephony, transport
        password = asterisk.password.get_secret_value()
        if asterisk.listen_address is not None:
            cert = asterisk.listen_cert
            tls = server_tls(cert, asterisk.listen_key) if cert else None
            listener = ARIListener(*asterisk.listen_address, asterisk.user, password, tls=tls)
            return ARIClient.accept(listener, asterisk.app_name), transport
        reconnect_s = min(0.25, asterisk.reconnect_interval), asterisk.reconnect_interval
        ari = ARIClient(asterisk.url, asterisk.user, password, app=asterisk.app_name, reconnect_s=reconnect_s)
        return ari, transport

    async def _open_outlets(self) -> None:
        """What news and recordings go through. Opened first, so that they are closed last."""
        kept = self.settings.call_records
        if self.call_records is None and kept.folder is not None:
            self.call_records = _records_of(kept.folder, page=kept.page, keep_days=kept.keep_days)
        for outlet in (self.webhook, self.recording_sink, self.call_records):
            start, close, share = (getattr(outlet, name, None) for name in ("start", "close", "share"))
            if share is not None and self.processes > 1:
                share(self.processes)
            if start is not None and close is not None:  # a sink may have neither
                await self._resources.enter_async_context(in_use(outlet, start, close))

    def _sounds(self) -> SoundFetcher:
        sounds = SoundFetcher(private=self._private_urls)
        self._resources.push_async_callback(sounds.close)
        return sounds

    def _load_speech(self) -> tuple[SpeechSetup, LLM | None, SpeechToSpeech | None]:
        return load_speech(self._given, self.settings, self._resources)

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no more calls, let those that live end, run the shutdown hooks, disconnect. Idempotent.

        A start under way is given up. May be called from a call's handler, which then ends with its call.
        With 0 while a stop is under way, it waits for calls no longer.

        Args:
            drain_s: how long calls may go on; None = the app's own. Those left then go back to the dialplan,
                or are hung up, as the settings (``drain.leftover``) say.
        """
        if self._at_rest:
            return
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.ensure_future(self._stop(drain_s))
        elif drain_s == 0:
            self._exchange.hurry()
        await asyncio.shield(self._stopping)

    async def _stop(self, drain_s: float | None) -> None:
        self._enter(AppState.DRAINING)
        self._exchange.shut()
        try:
            if self._starting is not None and not self._starting.done():
                self._starting.cancel()
                await asyncio.wait({self._starting})
            await self._exchange.drain(self.settings.drain.grace if drain_s is None else drain_s)
            for hook in self._shutdown:
                try:
                    await _run_hook(hook)
                except Exception:
                    log.exception("a shutdown hook failed; the others go on")
        finally:
            await self._release()

    async def _release(self) -> None:
        await self._exchange.close()
        try:
            await self._resources.aclose()
        except Exception:
            log.exception("something could not be closed in order; everything else is closed")
        finally:
            self._shared = None
            self._enter(AppState.STOPPED)
            if self._broken is not None and not self._broken.done():
                self._broken.set_result(StoppedError("the app was stopped"))

    async def run_async(self) -> None:
        """:func:`voxtra.serve` for this app alone.

        Raises:
            TelephonyError: the connection failed for good (password refused, name taken by another client).
        """
        await serve(self)

    def run(self) -> None:
        """:func:`voxtra.run` for this app alone."""
        run(self)

    async def wait_broken(self) -> TelephonyError:
        """Wait until the connection has failed for good, and return why. Also returns at ``stop``."""
        if self._broken is None:
            raise NotConnectedError("the app is not started: await app.start() first")
        return await asyncio.shield(self._broken)

    def _connection(self, state: ConnectionState) -> None:
        try:
            self._say(state)
        finally:
            self._note()

    def _say(self, state: ConnectionState) -> None:
        ari = self._shared.ari if self._shared is not None else None
        error = ari.last_error if ari is not None else None
        if state is ConnectionState.LOST:
            log.warning("Asterisk is gone, reconnecting: %s", error)
        elif state is ConnectionState.READY:
            log.info("connected to %s", ari.url if ari is not None else "Asterisk")
        elif state in (ConnectionState.REPLACED, ConnectionState.FAILED):
            reason = error or TelephonyConnectionError(f"the connection to Asterisk has {state}")
            log.error("no more calls: %s", reason)
            if self._broken is not None and not self._broken.done():
                self._broken.set_result(reason)

    # ---- calls

    async def originate(
        self,
        endpoint: str,
        *,
        caller_id: str = "",
        timeout: float = 30,
        variables: Mapping[str, str] | None = None,
        context: str = "",
        headers: Mapping[str, str] | None = None,
        early_media: bool = False,
        wait: bool = True,
    ) -> CallSession:
        """Place a call; returns once it is answered.

        Args:
            endpoint: ``"PJSIP/alice"``, ``"PJSIP/+4420...@trunk"``; ``"+4420..."`` through the trunk of the
                settings; an extension of ``context``.
            caller_id: what the callee sees, ``"Name <number>"`` or a number; else that of the trunk it goes by.
            timeout: how long it may ring, s.
            variables: channel variables; ``PJSIP_HEADER(add,X-Name)`` adds a SIP header.
            context: dialplan context, for an extension.
            headers: SIP headers of the INVITE.
            early_media: the call is yours while it rings: what the far end plays then is heard. Not for
                every trunk; the answer comes later (``await session.answered()``).
            wait: False returns at once; ``await session.answered()`` then waits, and tells why not. Verbs that
                make sound wait for the answer, too.

        Raises:
            ConfigurationError: an argument can't be.
            NotConnectedError: (a RuntimeError) the app is not connected.
            OriginateError: not answered; ``outcome`` is busy, no_answer, rejected or failed.
            ARIConnectionLostError, ARITimeoutError: Asterisk could not be asked.
        """
        checked("endpoint", endpoint, (str,), "text, like 'PJSIP/alice'")
        checked("caller_id", caller_id, (str,), "text, like '4711' or 'Acme <4711>'")
        if re.search(r"[\x00-\x1f\x7f]", caller_id):
            raise ConfigurationError(f"caller_id={caller_id!r}: should be text of one line")
        checked("variables", variables, (Mapping, type(None)), "names and values, like {'LANG': 'en'}")
        check_timeout(timeout)
        _check_variables(variables or {})
        checked("headers", headers, (Mapping, type(None)), "names and values, like {'X-Order': '4711'}")
        shared = self._shared
        if shared is None or not shared.ari.ready:
            raise NotConnectedError("the app is not connected to Asterisk: no call can be placed")
        if self._phase is AppState.DRAINING:
            raise NotConnectedError("the app is stopping: no call can be placed")
        target = endpoint_of(endpoint, trunk=shared.trunk, context=context)
        caller_id = caller_id or shared.trunk.shown_of(endpoint)
        given = {f"PJSIP_HEADER(add,{name})": value for name, value in _headers(headers).items()}
        variables = {**(variables or {}), **given}
        return await self._exchange.place(
            target,
            called_number=endpoint,
            caller_id=caller_id,
            timeout=timeout,
            variables=variables,
            wait=wait,
            early_media=early_media,
        )


def _check_variables(variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigurationError(
                f"variables: {name!r} = {value!r}: should be text, as all of Asterisk's are"
            )


def _headers(headers: Mapping[str, str] | None) -> Mapping[str, str]:
    for name, value in (headers or {}).items():
        fits = isinstance(name, str) and isinstance(value, str)
        if not fits or not re.fullmatch(r"[A-Za-z0-9!%*_+`'~.-]+", name) or re.search(r"[\x00-\x1f]", value):
            raise ConfigurationError(f"SIP header {name!r}: {value!r} can't be sent: text of one line can")
    return headers or {}


async def _run_hook(hook: Hook) -> None:
    result = hook()
    if inspect.isawaitable(result):
        await result


def _records_of(
    given: CallRecords | RecordingSink | str | PathLike[str] | None, **options: Any
) -> CallRecords | None:
    if given is None:
        return None
    from voxtra.recording.records import CallRecords

    return given if isinstance(given, CallRecords) else CallRecords(given, **options)


def _webhook_of(given: BackendWebhook | WebhookConfig | None) -> BackendWebhook | None:
    if given is None:
        return None
    from voxtra.webhook import BackendWebhook

    return given if isinstance(given, BackendWebhook) else BackendWebhook(given)


def _webhook_set(settings: VoxtraConfig) -> BackendWebhook | None:
    if not settings.backend.url:
        return None
    from voxtra.webhook import WebhookConfig

    return _webhook_of(WebhookConfig(**settings.backend.arguments()))
