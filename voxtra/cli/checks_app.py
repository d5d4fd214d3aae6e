"""What ``voxtra check`` looks at: an app and its settings, with nothing connected."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from voxtra._env_file import ENV_FILE
from voxtra.cli import options
from voxtra.cli.checks import Check, check_settings
from voxtra.cli.complain import first_line
from voxtra.cli.target import load_handler
from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError, MissingExtraError, VoxtraError

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.router import Router
    from voxtra.speech.base import Provider


def yaml_routes(settings: VoxtraConfig) -> Router:
    """The routes of the settings, their handlers imported: from beside the file, or the current folder.

    Raises:
        ConfigurationError: names the route that is wrong, and the mend.
    """
    from voxtra.router import Router

    router = Router()
    if settings.routes:
        options.find_handlers(settings)
    for number, route in enumerate(settings.routes):
        try:
            handler = load_handler(route.handler)
            router.route(
                extension=route.extension, number=route.number, name=route.name, metadata=route.metadata
            )(handler)  # type: ignore[type-var]  # it refuses what is no handler
        except ConfigurationError as error:
            error.args = (f"routes.{number}: {error}",)
            raise
    return router


def check_routes(app: VoxtraApp | None, settings: VoxtraConfig) -> Check:
    """Does a handler take calls, and are all of them there?"""
    try:
        from_settings = len(yaml_routes(settings).routes)
    except ConfigurationError as error:
        return Check("routes", "fail", first_line(error))
    in_program = len(app.router.routes) if app is not None else 0
    if not from_settings and (app is None or not app.router):
        advice = "write @app.default() or @app.route(...), or routes: in the settings file"
        return Check("routes", "warn", "none: calls will be hung up", advice)
    counts = {"in the program": in_program, "in the settings": from_settings}
    found = ", ".join(f"{count} {where}" for where, count in counts.items() if count)
    return Check("routes", "ok", found or "a default")


def check_env_file() -> Iterator[Check]:
    """Is ``.env`` its owner's alone?"""
    path = Path(ENV_FILE)
    if path.is_file():
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Check(ENV_FILE, "warn", "others on this machine can read it", f"chmod 600 {ENV_FILE}")
        else:
            yield Check(ENV_FILE, "ok", "read; only its owner can")


def check_asterisk(settings: VoxtraConfig) -> Check:
    """Which Asterisk is meant? No password is none of a mistake here: ``voxtra dev`` needs none."""
    check = check_settings(settings)
    if check.status == "fail":
        return replace(check, name="asterisk", status="warn", advice=f"{check.advice}; voxtra dev needs none")
    return replace(check, name="asterisk")


def check_media(settings: VoxtraConfig) -> Check:
    """Is there a codec for the sound?"""
    from voxtra.media.codecs import make_codec
    from voxtra.media.configured import transport_settings

    media = settings.media
    found = f"{media.transport} {media.codec}"
    try:
        make_codec(media.codec)
        transport_settings(media, settings.asterisk.url)
    except VoxtraError as error:
        return _failed("media", f"{found}: ", error)
    return Check("media", "ok", found)


def check_trunk(settings: VoxtraConfig) -> Iterator[Check]:
    """What becomes of a telephone number?"""
    if settings.trunk.endpoint:
        yield Check("trunk", "ok", f"+442071838750 is called at {settings.trunk.dial('+442071838750')}")


def check_providers(app: VoxtraApp | None, settings: VoxtraConfig) -> Iterator[Check]:
    """Can every speech provider be made? None is started, nothing is fetched."""
    from voxtra.speech.base import LLM, STT, TTS, VAD, EndOfTurnModel, Provider, SpeechToSpeech
    from voxtra.speech.local import load_as

    make: tuple[tuple[str, type[Provider], Callable[[str | BaseModel], Provider]], ...] = (
        ("stt", STT, partial(load_as, STT)),
        ("tts", TTS, partial(load_as, TTS)),
        ("llm", LLM, partial(load_as, LLM)),
        ("vad", VAD, partial(load_as, VAD)),
        ("realtime", SpeechToSpeech, partial(load_as, SpeechToSpeech)),
        ("end_of_turn", EndOfTurnModel, partial(load_as, EndOfTurnModel)),
    )
    given = dict(app._given) if app is not None else {}
    for name, kind, load in make:
        source: object = given.get(kind) or getattr(settings, name)
        if isinstance(source, Provider):
            yield Check(name, "ok", type(source).__name__)
        elif isinstance(source, (str, BaseModel)):
            yield _constructed(name, source, load)


def _constructed(name: str, source: str | BaseModel, load: Callable[[str | BaseModel], Provider]) -> Check:
    called = source if isinstance(source, str) else str(getattr(source, "provider", "?"))
    try:
        provider = load(source)
        asyncio.run(provider.close())
    except VoxtraError as error:
        return _failed(name, f"{called}: ", error)
    return Check(name, "ok", f"{called}: {type(provider).__name__}")


def _failed(name: str, found: str, error: VoxtraError) -> Check:
    if isinstance(error, MissingExtraError):
        what, _, mend = first_line(error).partition(": ")
        return Check(name, "fail", f"{found}{what}", mend)
    return Check(name, "fail", f"{found}{first_line(error)}")
