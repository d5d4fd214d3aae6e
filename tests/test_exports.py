"""What ``voxtra`` offers, pinned: a name that goes or comes is seen here."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import voxtra

NAMES = [
    "ARIClient",
    "AppState",
    "AudioChunk",
    "AudioCodec",
    "AudioSocketServer",
    "BackendWebhook",
    "CallDirection",
    "CallEndedError",
    "CallSession",
    "CallState",
    "CompositeSink",
    "DispatchRule",
    "EventType",
    "GCSSink",
    "LocalFileSink",
    "RecordingMetadata",
    "RecordingSink",
    "Router",
    "S3Sink",
    "SIPTrunk",
    "SpooledSink",
    "TurnDetection",
    "VoxtraApp",
    "VoxtraError",
    "VoxtraEvent",
    "WebhookConfig",
    "WebhookSink",
    "__version__",
    "run",
    "serve",
]

DOCUMENTED_PATHS = {
    "voxtra.app": ["VoxtraApp"],
    "voxtra.api": ["Api"],
    "voxtra.ari": ["ARIClient"],
    "voxtra.config": [
        "AsteriskConfig",
        "BackendConfig",
        "LLMConfig",
        "MediaConfig",
        "RouteConfig",
        "SIPTrunkConfig",
        "STTConfig",
        "ServerConfig",
        "TTSConfig",
        "TrunkConfig",
        "VADConfig",
        "VoxtraConfig",
    ],
    "voxtra.errors": ["CallError", "ConfigurationError", "VoxtraError"],
    "voxtra.events": ["EventType", "UserTranscriptEvent", "VoxtraEvent"],
    "voxtra.recording": [
        "CompositeSink",
        "LocalFileSink",
        "RecordingMetadata",
        "RecordingSink",
        "WebhookSink",
    ],
    "voxtra.provisioning": ["SIPTrunk", "TenantConfig", "TenantProvisioner"],
    "voxtra.router": ["DispatchRule", "Router"],
    "voxtra.session": ["CallSession"],
    "voxtra.types": ["AudioChunk", "AudioCodec", "CallDirection", "CallState"],
}


def test_the_public_names() -> None:
    assert sorted(voxtra.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(voxtra, name) is not None
    assert name in dir(voxtra)


def test_from_voxtra_import_star() -> None:
    got: dict[str, object] = {}
    exec("from voxtra import *", got)
    assert set(NAMES) <= set(got)


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="'voxtra' has no attribute 'VoxtraAp'"):
        voxtra.VoxtraAp  # noqa: B018


@pytest.mark.proves(
    "SIPTrunkConfig",
    "AsteriskConfig",
    "MediaConfig",
    "RouteConfig",
    "STTConfig, TTSConfig, LLMConfig, VADConfig",
)
@pytest.mark.parametrize(("module", "names"), DOCUMENTED_PATHS.items())
def test_documented_import_paths_are_real(module: str, names: list[str]) -> None:
    found = import_module(module)
    assert [name for name in names if not hasattr(found, name)] == []


@pytest.mark.parametrize(
    ("code", "not_loaded"),
    [
        ("import voxtra", ["aiohttp", "numpy", "pydantic", "picows", "yaml", "voxtra.app"]),
        (
            "from voxtra import VoxtraError, EventType, CallState, AudioChunk",
            ["aiohttp", "numpy", "pydantic"],
        ),
        ("from voxtra import VoxtraApp", ["ctranslate2", "onnxruntime", "hibari", "openai"]),
    ],
)
def test_nothing_is_imported_ahead_of_need(code: str, not_loaded: list[str]) -> None:
    script = f"{code}\nimport sys\nprint(sorted(set({not_loaded!r}) & set(sys.modules)))"
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == "[]"
