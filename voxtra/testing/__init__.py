"""For tests of phone apps.

Without any Asterisk: :func:`run_call` lets a handler and a scripted caller (:class:`FakeCall`) meet on a
clock that jumps. With a real one: :class:`PrivateAsterisk`, and a telephone that measures what it hears
(:class:`TestPhone`). For a speech provider of one's own: :func:`check_stt`, :func:`check_tts`,
:func:`check_llm`, :func:`check_realtime` and :func:`check_vad`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxtra.testing.asterisk import AsteriskError, PrivateAsterisk
    from voxtra.testing.check_realtime import check_realtime
    from voxtra.testing.check_speech import check_llm, check_stt, check_tts, check_vad
    from voxtra.testing.clock import DeadlockError, VirtualLoop, run_virtual
    from voxtra.testing.fake_asterisk import Dialplan, FakeAsterisk, FakeEndpoint
    from voxtra.testing.fake_call import FakeCall
    from voxtra.testing.fake_errors import ExpectationError, FakeCallError
    from voxtra.testing.fake_llm import ScriptedLLM, tool
    from voxtra.testing.fake_office import FakeOffice
    from voxtra.testing.fake_playback import Prompt
    from voxtra.testing.fake_realtime import ScriptedRealtime
    from voxtra.testing.fake_result import CallResult
    from voxtra.testing.fake_run import run_call
    from voxtra.testing.fake_speech import FakeSTT, FakeTTS, FakeVAD
    from voxtra.testing.fake_story import Said
    from voxtra.testing.phone import Ended, Packet, Phone, PhoneCall, PhoneError
    from voxtra.testing.talking_phone import TestPhone

_HOMES = {
    "AsteriskError": "asterisk",
    "CallResult": "fake_result",
    "DeadlockError": "clock",
    "Dialplan": "fake_asterisk",
    "Ended": "phone",
    "ExpectationError": "fake_errors",
    "FakeAsterisk": "fake_asterisk",
    "FakeCall": "fake_call",
    "FakeCallError": "fake_errors",
    "FakeEndpoint": "fake_asterisk",
    "FakeOffice": "fake_office",
    "FakeSTT": "fake_speech",
    "FakeTTS": "fake_speech",
    "FakeVAD": "fake_speech",
    "Packet": "phone",
    "Phone": "phone",
    "PhoneCall": "phone",
    "PhoneError": "phone",
    "PrivateAsterisk": "asterisk",
    "Prompt": "fake_playback",
    "Said": "fake_story",
    "ScriptedLLM": "fake_llm",
    "ScriptedRealtime": "fake_realtime",
    "TestPhone": "talking_phone",
    "VirtualLoop": "clock",
    "check_llm": "check_speech",
    "check_realtime": "check_realtime",
    "check_stt": "check_speech",
    "check_tts": "check_speech",
    "check_vad": "check_speech",
    "run_call": "fake_run",
    "run_virtual": "clock",
    "tool": "fake_llm",
}

__all__ = [
    "AsteriskError",
    "CallResult",
    "DeadlockError",
    "Dialplan",
    "Ended",
    "ExpectationError",
    "FakeAsterisk",
    "FakeCall",
    "FakeCallError",
    "FakeEndpoint",
    "FakeOffice",
    "FakeSTT",
    "FakeTTS",
    "FakeVAD",
    "Packet",
    "Phone",
    "PhoneCall",
    "PhoneError",
    "PrivateAsterisk",
    "Prompt",
    "Said",
    "ScriptedLLM",
    "ScriptedRealtime",
    "TestPhone",
    "VirtualLoop",
    "check_llm",
    "check_realtime",
    "check_stt",
    "check_tts",
    "check_vad",
    "run_call",
    "run_virtual",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import a name where it lives, when it is first used: an Asterisk alone needs no app."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'voxtra.testing' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"voxtra.testing.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
