"""The caller, to a conversation with a model that hears itself: when they speak, interrupt and are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from voxtra.agent.ears import Ears
from voxtra.agent.hearing_out import rules_of
from voxtra.agent.realtime_ears import Turns
from voxtra.events import EventType, VoxtraEvent
from voxtra.media.line import Line
from voxtra.speech.base import VAD, EndOfTurnModel
from voxtra.speech.local import local_vad
from voxtra.turns import (
    BargeIn,
    Decision,
    Duck,
    Resume,
    SpeechStarted,
    TurnDetection,
    TurnDropped,
    TurnEnded,
    TurnMachine,
)
from voxtra.turns.echo import EchoGuard


class Listener(Protocol):
    """What is told of the caller."""

    def caller_cut_in(self) -> bool:
        """The caller takes the floor. True when the line is being silenced, which ends a pause of it."""

    def caller_done(self, turn: TurnEnded, sound: list[bytes]) -> None:
        """A turn of the caller has ended, with its sound at the line's rate. Its text is "" where nothing was said."""

    def caller_was_none(self, interrupted: bool) -> None:
        """What began as a turn was none; ``interrupted``: the model was cut off for it."""

    def caller_lost(self, error: Exception) -> None:
        """Nothing is heard any more."""


class Caller:
    """Listens to a line with the turn machine that decides everywhere.

    Args:
        push: takes the sound that the model is to hear.
        whole: whether that is every frame, or the caller's turns alone.
        vad: None = WebRTC's.
        end_of_turn: asked at each pause whether the caller has finished; None = silence tells.
    """

    def __init__(
        self,
        line: Line,
        turns: TurnDetection,
        listener: Listener,
        *,
        push: Callable[[bytes], None],
        whole: bool,
        vad: VAD | None,
        emit: Callable[[VoxtraEvent], None],
        end_of_turn: EndOfTurnModel | None = None,
    ) -> None:
        self._line = line
        self._listener = listener
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._machine = TurnMachine(turns, sound=rules_of(end_of_turn))
        self._turns = Turns(push, whole=whole)
        self._held_back = False  # the model's sound was paused for what may be a turn
        self._ears = Ears(
            line,
            self._machine,
            vad or local_vad(light=True),
            self._turns,
            decide=self._decided,
            partial=lambda transcript: None,
            failed=listener.caller_lost,
            echo=EchoGuard(),
            end_of_turn=None if whole else end_of_turn,  # who hears every frame ends turns itself
        )

    @property
    def speaking(self) -> bool:
        """True while a turn of the caller is under way."""
        return self._machine.speaking

    @property
    def sound(self) -> list[bytes]:
        """What was heard of the turn under way; nothing where only keys are pressed."""
        stream = self._turns.stream
        return list(stream.sound) if stream is not None and stream.speaking else []

    @property
    def deaf(self) -> bool:
        """True while what comes from the line is not the caller speaking to us."""
        return self._ears.deaf

    @deaf.setter
    def deaf(self, deaf: bool) -> None:
        self._ears.deaf = deaf
        if deaf:
            self._act(self._machine.stop())

    def agent_audible(self, audible: bool, *, interruptible: bool) -> None:
        """The model's sound begins or ends."""
        now = self._loop.time() * 1000
        self._act(self._machine.agent_audible(audible, now, interruptible=interruptible))

    def trailing(self, key: str) -> bool:
        """Whether a key means nothing: the ``#`` after keys that were complete without it."""
        return self._ears.trailing(key)

    def key(self, key: str) -> None:
        """The caller pressed a key."""
        self._ears.key(key)

    def give_up_keys(self) -> str:
        """Keys under way that are no turn here."""
        return self._ears.give_up_keys()

    def agent_thinks(self, thinks: bool) -> None:
        """A reply is wanted, and nothing of it is heard yet."""
        self._machine.agent_thinks(thinks)

    def _act(self, decisions: list[Decision]) -> None:
        self._ears.act(decisions, self._loop.time() * 1000)

    def _decided(self, decision: Decision, now: float) -> None:
        match decision:
            case SpeechStarted():
                self._held_back = False
                self._emit(VoxtraEvent(type=EventType.USER_SPEECH_STARTED))
            case Duck():
                self._held_back = True
                self._line.pause()
            case Resume():
                self._line.resume()
            case BargeIn():
                if not self._listener.caller_cut_in():
                    self._line.resume()
            case TurnEnded():
                if decision.text:
                    self._emit(VoxtraEvent(type=EventType.USER_SPEECH_ENDED, data=told_of(decision, now)))
                assert self._turns.stream is not None  # the ears have opened it
                self._listener.caller_done(decision, list(self._turns.stream.sound))
            case TurnDropped(reason=reason, interrupted=interrupted):
                self._emit(VoxtraEvent(type=EventType.USER_SPEECH_ENDED, data={"dropped": reason}))
                if (self._held_back or interrupted) and reason != "stopped":
                    false = {"reason": reason, "stopped": interrupted}
                    self._emit(VoxtraEvent(type=EventType.FALSE_INTERRUPTION, data=false))
                self._listener.caller_was_none(interrupted)
            case _:
                pass  # words decide nothing here, as nobody has them

    async def close(self) -> None:
        """Stop listening. Idempotent."""
        await self._ears.close()


def told_of(turn: TurnEnded, now: float) -> dict[str, Any]:
    """What events tell of a turn; ``now`` in ms."""
    return {
        "started_ms_ago": round(now - turn.started_at),
        "ended_ms_ago": round(now - turn.speech_ended_at),
        "interrupted": turn.interrupted,
        **({"keys": turn.keys} if turn.keys else {}),
    }
