"""What is kept of a reply of a speech-to-speech model, and of the words it was told to say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from voxtra.agent.mouth import SayResult
from voxtra.speech.base import ToolCall
from voxtra.types import EndReason, Message

SAY = "Say exactly the following words, in their language, and nothing else: {text}"
GO_ON = "You were interrupted by a noise, nobody spoke. Go on where you stopped."
AGAIN = "The connection was lost for a moment. Say so in a few words and go on with the conversation."


@dataclass(slots=True)
class Say:
    """Words that the model was told to say.

    Attributes:
        reply: the reply that says them; "" while there is none.
        ended: True when no more of it will come.
        words: the history's messages of it.
    """

    text: str
    interruptible: bool
    done: asyncio.Future[SayResult]
    reply: str = ""
    ended: bool = False
    words: list[Message] = field(default_factory=list)

    def settle(self, reason: EndReason) -> None:
        """How it ended. Later calls change nothing."""
        if not self.done.done():
            heard = " ".join(str(message["content"]).strip() for message in self.words if message["content"])
            self.done.set_result(SayResult(reason, heard, self.text))


@dataclass(slots=True)
class Reply:
    """A reply under way.

    Attributes:
        name: the provider's; "" when it never began.
        tools: the calls it asked for; they run already.
        say: what it was told to say, if anything.
        ended: True when no more of it will come.
        was_cut: set when the caller cut in.
        message: the history's message of its newest utterance.
    """

    name: str = ""
    tools: list[tuple[ToolCall, asyncio.Task[str | None]]] = field(default_factory=list)
    text: str = ""
    say: Say | None = None
    ended: bool = False
    was_cut: asyncio.Event = field(default_factory=asyncio.Event)
    message: Message | None = None

    @property
    def cut(self) -> bool:
        """True when the caller cut in."""
        return self.was_cut.is_set()

    @property
    def interruptible(self) -> bool:
        """Whether the caller may cut in."""
        return self.say is None or self.say.interruptible
