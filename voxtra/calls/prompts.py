"""Prompts that Asterisk plays itself, waited for until they were heard."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from voxtra.ari import ARIClient, Event, PlaybackFinished
from voxtra.calls.leg import Leg, first_of
from voxtra.calls.switchboard import Switchboard, new_id
from voxtra.errors import ARIError, ARINotFoundError, CallEndedError, ConfigurationError, PlaybackError
from voxtra.types import EndReason

log = logging.getLogger("voxtra.calls")

SCHEMES = ("sound", "recording", "number", "digits", "characters", "tone")
"""What Asterisk can play. It accepts any other scheme, and then never finishes."""
LOOK_S = 5.0
"""How often a playback is looked at, in case its end was told while the connection was down."""
LOOK_FIRST_S = 0.3
"""How soon a playback of a recording is: of one that is not there, Asterisk tells no end."""
END_S = 0.3
"""How long the end of a call may be told after that of the prompt it broke off."""


@dataclass(slots=True, frozen=True)
class PlayResult:
    """How a prompt ended.

    Attributes:
        reason: ``finished`` (heard to the end), ``interrupted`` (stopped), ``hangup``, and of ``play_url`` ``failed``.
        media: what was played, as media URIs.
        playback_id: Asterisk's id of it (of the first, for a list), "" when it was not played by Asterisk.
    """

    reason: EndReason
    media: tuple[str, ...]
    playback_id: str = ""


def media_uris(prompt: str | Sequence[str]) -> list[str]:
    """``hello-world`` and ``sound:hello-world`` are the same; a list is played in order.

    Raises:
        ConfigurationError: empty, or of a scheme that Asterisk can't play.
    """
    uris = []
    items: object = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise ConfigurationError(f"{prompt!r}: a sound's name, like 'hello-world', or a list of them")
    for item in items:
        scheme, colon, rest = item.strip().partition(":")
        if not colon:
            scheme, rest = "sound", item.strip()
        if scheme not in SCHEMES:
            raise ConfigurationError(f"{item!r}: Asterisk plays {', '.join(f'{s}:' for s in SCHEMES)} only")
        if not rest or "," in rest or re.search(r"[\x00-\x1f]", rest):
            raise ConfigurationError(f"{item!r} names no medium: write a sound's name, like 'hello-world'")
        uris.append(f"{scheme}:{rest}")
    if not uris:
        raise ConfigurationError("nothing to play: give a sound's name, or several")
    return uris


class Prompts:
    """Plays prompts on one leg."""

    def __init__(self, ari: ARIClient, switchboard: Switchboard, leg: Leg) -> None:
        self._ari = ari
        self._switchboard = switchboard
        self._leg = leg
        self._stopped: set[str] = set()
        self._now: dict[str, str] = {}
        """Prompt (a list of them goes by its first id) -> the playback of it that is under way."""

    @property
    def playing(self) -> list[str]:
        """Ids of the prompts under way."""
        return list(self._now)

    async def play(self, prompt: str | Sequence[str], *, lang: str = "") -> PlayResult:
        """Play and wait until it was heard, stopped, or the call ended.

        Each of a list is a playback of its own: Asterisk leaves out a file of a list that is not there, and
        tells nobody.

        Raises:
            ConfigurationError: the prompt can't be.
            PlaybackError: Asterisk could not play it (no such file, mostly); what follows it is not played.
            CallEndedError: the call is over already.
        """
        uris = media_uris(prompt)
        self._leg.check()
        whole = playback_id = new_id("play")
        reason: EndReason = "finished"
        try:
            for number, uri in enumerate(uris, 1):
                self._now[whole] = playback_id
                place = f" ({number} of {len(uris)})" if len(uris) > 1 else ""
                reason = await self._play_one(playback_id, uri, lang, place)
                if whole in self._stopped:
                    reason = "interrupted"
                if reason != "finished":
                    break
                playback_id = new_id("play")
            return PlayResult(reason, tuple(uris), whole)
        finally:
            del self._now[whole]
            self._stopped.discard(whole)

    async def _play_one(self, playback_id: str, uri: str, lang: str, place: str) -> EndReason:
        finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def take(event: Event) -> None:
            if isinstance(event, PlaybackFinished) and not finished.done():
                finished.set_result(event.playback.state)

        off = self._switchboard.register(f"playback:{playback_id}", take)
        try:
            await self._leg.do(
                lambda: self._ari.channels.play_with_id(
                    channel_id=self._leg.id, playback_id=playback_id, media=[uri], lang=lang or None
                )
            )
            if self._is_stopped(playback_id):  # asked before Asterisk knew of it
                await self._switchboard.gone(self._ari.playbacks.stop(playback_id=playback_id))
            return await self._heard(playback_id, finished, f"{uri}{place}")
        except CallEndedError:
            if finished.done() or self._leg.is_over:
                return "hangup"
            raise
        except asyncio.CancelledError:
            if not self._leg.is_over:
                self._switchboard.chore(
                    self._switchboard.gone(self._ari.playbacks.stop(playback_id=playback_id))
                )
            raise
        finally:
            off()

    async def _heard(self, playback_id: str, finished: asyncio.Future[str], shown: str) -> EndReason:
        looks = missed = 0
        while not finished.done():
            soon = shown.startswith("recording:") and looks < 2
            looks += 1
            await first_of(finished, self._leg.ended, timeout=LOOK_FIRST_S if soon else LOOK_S)
            if self._leg.is_over:
                return "hangup"
            if not finished.done():
                missed = 0 if await self._is_there(playback_id) else missed + 1
                if missed > 1:
                    raise PlaybackError(f"Asterisk knows no playback of {shown} any more: is it there?")
        if finished.result() == "failed" and not self._is_stopped(playback_id):
            await first_of(self._leg.ended, timeout=END_S)
            if self._leg.is_over:
                return "hangup"
            raise PlaybackError(
                f"Asterisk could not play {shown}: is the file in its sounds directory, in a format it reads?"
            )
        return "finished"

    def _is_stopped(self, playback_id: str) -> bool:
        return any(self._now.get(whole) == playback_id for whole in self._stopped)

    async def _is_there(self, playback_id: str) -> bool:
        try:
            await self._ari.playbacks.get(playback_id=playback_id)
        except ARINotFoundError:
            return False
        except ARIError as error:  # not to be told now: look again
            log.debug("playback %s: %s", playback_id, error)
        return True

    async def stop(self, prompt_id: str | None = None) -> None:
        """Stop one prompt, or all on this leg. Finished already is as good."""
        for each in [prompt_id] if prompt_id else self.playing:
            if each in self._now:
                self._stopped.add(each)
            playback_id = self._now.get(each, each)
            await self._switchboard.gone(self._ari.playbacks.stop(playback_id=playback_id))
