"""Replies of a speech-to-speech model under way, and words that it was told to say."""

from __future__ import annotations

import asyncio
import itertools

from voxtra.agent.client import AgentClient
from voxtra.agent.mouth import SayResult
from voxtra.agent.realtime_playing import BEFORE, Playing
from voxtra.agent.realtime_reply import Reply, Say
from voxtra.agent.realtime_tools import ToolRuns
from voxtra.events import AgentResponseEvent
from voxtra.speech.base import ReplyAudio, ReplyAudioEnded, ReplyEnded, ReplyText, ReplyToolCall
from voxtra.types import EndReason


class Replies:
    """The replies of one conversation: what comes of each goes to the line, the tools and the history.

    Attributes:
        live: those under way, by name.
        says: what the model was told to say and was not heard yet, by tag.
    """

    def __init__(self, agent: AgentClient, playing: Playing, tools: ToolRuns) -> None:
        self._agent = agent
        self._playing = playing
        self._tools = tools
        self._tags = itertools.count(1)
        self.live: dict[str, Reply] = {}
        self.says: dict[str, Say] = {}

    @property
    def interruptible(self) -> bool:
        """Whether the caller may cut in on all of them."""
        return all(reply.interruptible for reply in self.live.values())

    # ---- words it is told to say

    def say(self, text: str, *, interruptible: bool) -> tuple[str, Say]:
        """Words that a reply is to say; its request is to carry the tag."""
        tag = f"say{next(self._tags)}"
        self.says[tag] = say = Say(text, interruptible, asyncio.get_running_loop().create_future())
        return tag, say

    async def said(self, tag: str) -> SayResult:
        """Wait until they were."""
        try:
            return await self.says[tag].done
        finally:
            self.says.pop(tag, None)

    @property
    def unsaid(self) -> list[tuple[str, Say]]:
        """Those that no reply has said yet."""
        return [(tag, say) for tag, say in self.says.items() if not say.ended and not say.done.done()]

    def settle(self) -> None:
        """Tell whoever waits for words that were heard by now."""
        for say in list(self.says.values()):
            if say.ended and not self._playing.of(say.reply):
                say.settle("finished")

    def settle_all(self, reason: EndReason) -> None:
        """Nothing more will be heard."""
        for say in self.says.values():
            say.settle(reason)

    # ---- what comes

    def start(self, name: str, tag: str) -> Reply:
        """A reply begins."""
        say = self.says.get(tag)
        if say is not None:
            say.reply = name
        self.live[name] = reply = Reply(name, say=say)
        return reply

    def part(self, event: ReplyAudio | ReplyText | ReplyAudioEnded | ReplyToolCall, rate: int) -> bool:
        """More of a reply; of one that is over it is passed by: False."""
        reply = self.live.get(event.reply)
        if reply is None:
            return False
        match event:
            case ReplyAudio(reply=name, item=item, pcm=pcm):
                self._agent.times.llm_first()
                self._playing.audio(name, item, pcm, rate, interruptible=reply.interruptible)
            case ReplyText(reply=name, item=item, text=text):
                reply.text += text
                self._playing.text(name, item, text, rate, interruptible=reply.interruptible)
            case ReplyAudioEnded(item=item):
                self._playing.end(item)
            case ReplyToolCall(call=call):
                self._tools.start(call, reply)
        for spoken in self._playing.of(event.reply):
            reply.message = spoken.message
            if reply.say is not None and spoken.message not in reply.say.words:
                reply.say.words.append(spoken.message)
        return True

    def end(self, event: ReplyEnded) -> tuple[Reply, str]:
        """A reply has ended. Returns it, and why it is of no use; "" when it is."""
        reply = self.live.pop(event.reply, None) or Reply(say=self.says.get(event.tag))
        self._close(event.reply, reply)
        empty = event.reason == "finished" and not (reply.message or reply.tools or reply.cut)
        if event.reason == "failed" or (empty and reply.say is None):
            return reply, event.detail or "there was nothing in it"
        return reply, ""

    def _close(self, name: str, reply: Reply) -> None:
        reply.ended = True
        self._playing.end_reply(name)
        if reply.say is not None:
            reply.say.ended = True
        if reply.tools:
            self._tools.note(reply)

    def cut(self) -> None:
        """The caller cuts in on all that is not heard yet."""
        for reply in [*self.live.values(), *self._tools.of.values()]:
            if not reply.ended or self._playing.of(reply.name):
                reply.was_cut.set()

    def lose(self) -> list[Reply]:
        """The connection is gone: what has come is heard to its end. Returns those that had begun."""
        lost = list(self.live.values())
        for reply in lost:
            self._close(reply.name, reply)
        self.live.clear()
        mark = self._playing.reconnected()
        for say in self.says.values():
            say.reply = _marked(say.reply, mark)
        for reply in {id(each): each for each in [*lost, *self._tools.of.values()]}.values():
            reply.name = _marked(reply.name, mark)
        return lost

    def close(self) -> None:
        """Cancel the tools of replies that have not ended; those of others have an owner."""
        for reply in self.live.values():
            for _, task in reply.tools:
                task.cancel()


def _marked(name: str, mark: str) -> str:
    return mark + name if name and not name.startswith(BEFORE) else name


def response_event(reply: Reply, event: ReplyEnded) -> AgentResponseEvent:
    """What is told of a complete reply."""
    calls = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call, _ in reply.tools]
    usage = {"input_tokens": event.usage.input_tokens, "output_tokens": event.usage.output_tokens}
    return AgentResponseEvent(text=reply.text.strip(), tool_calls=calls, data=usage)
