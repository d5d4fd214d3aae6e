"""What an app is made of by its settings: speech providers, and the routes of a configuration file."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

from voxtra.agent.pipeline import SpeechSetup
from voxtra.config import RouteConfig, VoxtraConfig
from voxtra.errors import ConfigurationError
from voxtra.router import Handler, Router
from voxtra.speech.base import LLM, STT, TTS, VAD, EndOfTurnModel, SpeechToSpeech
from voxtra.speech.cache import CachedTTS
from voxtra.speech.local import load_as

P = TypeVar("P", STT, TTS, LLM, VAD, SpeechToSpeech, EndOfTurnModel)


def load_speech(
    given: Mapping[type[Any], Any], settings: VoxtraConfig, resources: contextlib.AsyncExitStack
) -> tuple[SpeechSetup, LLM | None, SpeechToSpeech | None]:
    """The providers of an app: those given to it, else those of its settings.

    Args:
        given: by kind (STT, TTS, LLM, VAD, SpeechToSpeech, EndOfTurnModel): a provider, its name, its settings, None.
        resources: closes those that are made here; one that was given is its giver's to close.

    Raises:
        ConfigurationError: there is no such provider, or a setting of it can't be.
        MissingExtraError: what it needs is not installed.
    """
    stt = provider(STT, given[STT], settings.stt, resources)
    tts = provider(TTS, given[TTS], settings.tts, resources)
    llm = provider(LLM, given[LLM], settings.llm, resources)
    vad = provider(VAD, given[VAD], settings.vad, resources)
    realtime = provider(SpeechToSpeech, given[SpeechToSpeech], settings.realtime, resources)
    end_of_turn = provider(EndOfTurnModel, given[EndOfTurnModel], settings.end_of_turn, resources)
    if vad is None and (stt is not None or tts is not None):
        vad = load_as(VAD, "webrtc")
    if tts is not None and not isinstance(tts, CachedTTS):
        tts = CachedTTS(tts)
    language = settings.speech.language
    return SpeechSetup(stt=stt, tts=tts, vad=vad, language=language, end_of_turn=end_of_turn), llm, realtime


def provider(
    kind: type[P], given: object, configured: BaseModel | None, resources: contextlib.AsyncExitStack
) -> P | None:
    """One provider: the one given, or the one configured. Raises as :func:`load_speech`."""
    if isinstance(given, kind):
        return given
    source = given if given is not None else configured
    if source is None:
        return None
    assert isinstance(source, (str, BaseModel))
    made = load_as(kind, source)
    resources.push_async_callback(made.close)
    return made


class _Use:
    def __init__(self) -> None:
        self.holders = 0
        self.lock = asyncio.Lock()
        self.open = False


_uses: dict[int, _Use] = {}


@contextlib.asynccontextmanager
async def in_use(
    outlet: object, start: Callable[[], Awaitable[None]], close: Callable[[], Awaitable[None]]
) -> AsyncIterator[None]:
    """What several apps of a process may share (a webhook, a sink): the first starts it, the last one closes it."""
    use = _uses.setdefault(id(outlet), _Use())
    use.holders += 1
    try:
        async with use.lock:
            if not use.open:
                try:
                    await start()
                except BaseException:
                    await close()
                    raise
                use.open = True
        yield
    finally:
        use.holders -= 1
        if not use.holders:
            del _uses[id(outlet)]
            if use.open:
                await close()


async def warm_up(speech: SpeechSetup, llm: LLM | None, realtime: SpeechToSpeech | None) -> None:
    """Load all models before the first call."""
    parts = (speech.stt, speech.tts, speech.vad, speech.end_of_turn, llm, realtime)
    await asyncio.gather(*(part.warm_up() for part in parts if part is not None))


def register_routes(router: Router, routes: Sequence[RouteConfig]) -> None:
    """Add the routes of a configuration file, once.

    Raises:
        ConfigurationError: a handler can't be imported.
    """
    known = {(route.name, route.extension, route.number) for route in router.routes}
    for route in routes:
        name = route.name or route.handler
        if (name, route.extension, route.number) not in known:
            handler = import_handler(route.handler)
            router.route(extension=route.extension, number=route.number, name=name, metadata=route.metadata)(
                handler
            )


def import_handler(target: str) -> Handler:
    """``module:function``. Raises ConfigurationError."""
    module, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"routes: handler {target!r} can't be imported: {error}") from None
    handler: Handler = found
    return handler
