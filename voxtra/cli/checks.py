"""What ``voxtra doctor`` looks at: a check, a series of checks, and those that need no Asterisk."""

from __future__ import annotations

import difflib
import os
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from voxtra.cli.info import extras, installed
from voxtra.config import ENVIRONMENT, VoxtraConfig
from voxtra.errors import TelephonyError

_EXTRA_OF = {
    **dict.fromkeys(("local", "whisper", "hibari", "silero", "intents"), "local"),
    "openai": "openai",
}
"""Speech provider → the extra that brings it."""

Status: TypeAlias = Literal["ok", "warn", "fail", "skip"]


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: what was looked at.
        status: ``ok``; ``warn``: works, but; ``fail``: no call will work like this; ``skip``: not looked at.
        found: what was seen.
        advice: what to do, "" when there is nothing to do.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


Step: TypeAlias = Callable[[], Awaitable[Check]]


async def run_series(steps: list[tuple[str, Step]], show: Callable[[Check], None]) -> list[Check]:
    """Run checks that build on each other: after one has failed, the rest are skipped."""
    done: list[Check] = []
    failed = ""
    for name, step in steps:
        if failed:
            check = Check(name, "skip", f"needs {failed}")
        else:
            try:
                check = await step()
            except TelephonyError as error:
                check = Check(name, "fail", str(error), "look into Asterisk's log")
        if check.status == "fail":
            failed = failed or name
        done.append(check)
        show(check)
    return done


def check_python() -> Check:
    """Which Python is this, and is the fast event loop there?"""
    loop = "uvloop" if installed("uvloop") else "asyncio's own event loop"
    found = f"{platform.python_version()}, {loop}"
    if not installed("uvloop"):
        return Check("python", "warn", found, "for about half the CPU a call: pip install uvloop")
    return Check("python", "ok", found)


def check_extras(settings: VoxtraConfig) -> Check:
    """Are the optional parts there that the settings ask for?"""
    there = extras()
    found = ", ".join(name for name, yes in there.items() if yes) or "none"
    wanted = {
        _EXTRA_OF[provider.provider]
        for provider in (settings.stt, settings.tts, settings.llm, settings.vad)
        if provider is not None and provider.provider in _EXTRA_OF
    }
    missing = sorted(name for name in wanted if not there[name])
    if missing:
        command = f"pip install 'voxtra[{','.join(missing)}]'"
        return Check("extras", "fail", f"{found}; {', '.join(missing)} asked for", f"run  {command}")
    return Check("extras", "ok", f"installed: {found}")


def check_settings(settings: VoxtraConfig) -> Check:
    """Which Asterisk is meant, and who says so?"""
    asterisk = settings.asterisk
    found = (
        f"{asterisk.url} ({settings.source('asterisk.url')}), user {asterisk.user}"
        f" ({settings.source('asterisk.user')}), app {asterisk.app_name}"
    )
    if not asterisk.password.get_secret_value():
        advice = f"set VOXTRA_ARI_PASSWORD to the password of [{asterisk.user}] in ari.conf"
        return Check("settings", "fail", f"{found}, no password", advice)
    if asterisk.sends_password_in_clear:
        advice = "use https:// (tlsenable in http.conf), a VPN, or run the app on Asterisk's machine"
        return Check("settings", "warn", f"{found}: the password crosses the network in clear", advice)
    for name in sorted(os.environ):
        meant = difflib.get_close_matches(name, ENVIRONMENT, n=1, cutoff=0.85)
        if name.startswith("VOXTRA_") and name not in ENVIRONMENT and meant:
            return Check("settings", "warn", f"{found}; {name} is no setting", f"did you mean {meant[0]}?")
    return Check("settings", "ok", found)
