"""What a speech-to-speech model is told of the caller and asked to answer; what has no connection yet waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeAlias

from voxtra.agent.client import AgentClient
from voxtra.agent.realtime_ears import CallerWords
from voxtra.agent.realtime_link import Link
from voxtra.agent.realtime_reply import AGAIN, Reply
from voxtra.events import EventType, UserTranscriptEvent, VoxtraEvent
from voxtra.turns.decisions import keyed
from voxtra.types import Message

AGAIN_S = 0.3
"""Wait before a reply that failed is asked for again, s."""

Unanswered: TypeAlias = tuple[list[bytes], Message]
"""A turn of the caller that was not answered: its sound at the line's rate, and its place in the history."""


class Asking:
    """The caller's side of one conversation with a model.

    Args:
        agent: whose history it is.
        words: writes down what the caller said.
        thinks: called when a reply is asked for.
        cutting: whether it is not known yet how much was heard of what was cut off: the model is told that first.

    Attributes:
        asked: True while a reply is wanted of which nothing is known yet.
        owed: True while one is to be asked for later: there is no connection, or the caller speaks.
        unanswered: the caller's last turn, while the model has not begun to answer it.
    """

    def __init__(
        self,
        link: Link,
        agent: AgentClient,
        words: CallerWords,
        *,
        emit: Callable[[VoxtraEvent], None],
        thinks: Callable[[], None],
        cutting: Callable[[], bool],
        unanswered: Unanswered | None,
    ) -> None:
        self.asked = False
        self.owed = False
        self.unanswered = unanswered
        self._link = link
        self._agent = agent
        self._words = words
        self._emit = emit
        self._thinks = thinks
        self._cutting = cutting
        self._held: list[tuple[str, str]] = []  # asked for during a cut
        self._untold: list[str] = []  # came while there was no connection

    def ask(self, instructions: str = "", tag: str = "") -> None:
        """Ask for a reply, now or when there is a connection."""
        if self._link.stream is None:
            self.owed = True
            return
        self.owed = False
        self.asked = True
        self._thinks()
        if not tag:
            self._emit(VoxtraEvent(type=EventType.AGENT_THINKING))
            self._agent.times.llm_started()
        if self._cutting():
            self._held.append((instructions, tag))
        else:
            self._link.stream.respond(instructions, tag=tag)

    def pay(self) -> None:
        """Ask for what is owed."""
        if self.owed:
            self.ask()

    def cut_over(self) -> None:
        """The model knows what was heard."""
        held, self._held = self._held, []
        for instructions, tag in held:
            if self._link.stream is not None:
                self._link.stream.respond(instructions, tag=tag)

    async def again(self, caller_speaks: Callable[[], bool]) -> None:
        """Ask once more for a reply that failed, after a moment; not while the caller speaks."""
        self.asked = True
        await asyncio.sleep(AGAIN_S)
        if caller_speaks():
            self.asked, self.owed = False, True
        else:
            self.ask()

    def commit(self, sound: list[bytes], keys: str = "") -> None:
        """A turn of the caller, whose sound the model was sent, with the keys pressed beside it, is to be answered."""
        self.unanswered = (sound, self._words.begin())
        self._commit(self.unanswered, keys)

    def _commit(self, turn: Unanswered, keys: str = "") -> None:
        if self._link.stream is not None:
            self._words.sent(turn[1])
            self._link.stream.commit()
        self.note(keys)
        if self._link.stream is not None:
            self.ask()

    def note(self, keys: str) -> None:
        """The model gets to know which keys were pressed; "" for none."""
        if not keys:
            return
        text = keyed(keys)
        self._agent.history.append({"role": "user", "content": text})
        self._emit(UserTranscriptEvent(text=text, data={"keys": keys}))
        if self._link.stream is not None:
            self._link.stream.add_text(text)
        else:
            self._untold.append(text)

    def lost(self, replies: Sequence[Reply], *, says: bool) -> None:
        """The connection is lost, with ``replies`` under way; ``says``: it was told words to say, and will be again."""
        waiting = self.asked and self.unanswered is None and not says
        self.owed = self.owed or waiting or any(not reply.cut for reply in replies)
        self.asked = False
        self._held.clear()  # owed, or told to be said again

    def history(self) -> list[Message]:
        """What the next connection is opened with: an unanswered turn is sent as it was spoken."""
        self._untold.clear()  # they are in there
        unanswered = self.unanswered
        return [each for each in self._agent.history if unanswered is None or each is not unanswered[1]]

    def connected(self, *, again: bool) -> None:
        """There is a connection, opened with :meth:`history`: tell it what came since, and ask for what is owed.

        Args:
            again: whether there was one before.
        """
        assert self._link.stream is not None
        for text in self._untold:
            self._link.stream.add_text(text)
        self._untold.clear()
        self._words.reconnected()
        if self.unanswered is not None:  # it may have ended while it was connected
            for pcm in self.unanswered[0]:
                self._link.push(pcm)
            self._commit(self.unanswered)
        elif self.owed:
            self.ask(AGAIN if again else "")

    def close(self) -> None:
        """There is no other connection: turns whose words nobody will know leave the history, but for an unanswered
        one, which whoever goes on is sent."""
        self._words.close(self.unanswered[1] if self.unanswered is not None else None)
