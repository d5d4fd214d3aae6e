"""OpenAI's Realtime protocol for one conversation. Sans-I/O: events and wishes go in, messages come out.

https://developers.openai.com/api/reference/resources/realtime: client and server events, GA form. The names
of the beta (``response.audio.delta``), which servers of others still use, are understood too.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
import logging
import warnings
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from voxtra.errors import LLMError
from voxtra.speech.base import (
    CallerSpeech,
    CallerText,
    CallerTurn,
    ReplyAudio,
    ReplyAudioEnded,
    ReplyEnded,
    ReplyStarted,
    ReplyText,
    ReplyToolCall,
    SpeechEvent,
    StreamProblem,
    ToolCall,
    Usage,
)
from voxtra.speech.messages import function_of, words
from voxtra.types import Message

with warnings.catch_warnings():
    # Deprecated in the standard library since 3.11; from 3.13 the audioop-lts package gives the same module.
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

log = logging.getLogger("voxtra.speech")

MAX_ASKED = 8
"""Replies that may wait for the one under way; the oldest request goes."""
MAX_ITEMS = 64
"""Utterances whose length is remembered for ``truncate``."""
HARMLESS = (
    "response_cancel_not_active",  # it had just ended
    "already shorter than",  # the caller heard all of it
    "Only model output audio messages can be truncated",  # there was no sound of it yet
    "item_truncate_invalid_item_id",
    "item_delete_invalid_item_id",
)
"""Complaints about what we asked for a moment too late: nothing is lost by it."""


@dataclass(slots=True, frozen=True)
class Format:
    """How sound is written: PCM at ``rate`` on our side."""

    kind: Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
    rate: int

    @property
    def described(self) -> dict[str, Any]:
        """As the session's settings say it."""
        return {"type": self.kind} | ({"rate": self.rate} if self.kind == "audio/pcm" else {})

    def encode(self, pcm: bytes) -> str:
        """PCM as text."""
        if self.kind == "audio/pcmu":
            pcm = audioop.lin2ulaw(pcm, 2)
        elif self.kind == "audio/pcma":
            pcm = audioop.lin2alaw(pcm, 2)
        return base64.b64encode(pcm).decode("ascii")

    def decode(self, text: str) -> bytes:
        """Text as PCM. Raises ValueError when it is none."""
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as problem:
            raise ValueError(str(problem)) from None
        if self.kind == "audio/pcmu":
            return audioop.ulaw2lin(data, 2)
        if self.kind == "audio/pcma":
            return audioop.alaw2lin(data, 2)
        if len(data) & 1:
            raise ValueError("half a sample")
        return data


PCM24 = Format("audio/pcm", 24_000)
ULAW = Format("audio/pcmu", 8_000)
ALAW = Format("audio/pcma", 8_000)


@dataclass(slots=True)
class _Ask:
    """A reply that is wanted."""

    instructions: str
    tag: str
    number: str = ""
    cancelled: bool = False


class RealtimeProtocol:
    """One conversation.

    Args:
        name: the provider's, for messages.
        sound: how sound is written.
        begins: whether the server also begins replies of itself.

    Attributes:
        out: messages to be sent, oldest first; whoever sends them takes them out.
        ready: True once the session's settings are in force.
        owing: ``"first"`` while the server owes a reply of which nothing came, ``"more"`` while it owes the
            rest of one, ``""`` while it owes nothing.
    """

    def __init__(self, name: str, sound: Format, *, begins: bool = False) -> None:
        self.out: deque[dict[str, Any]] = deque()
        self.ready = False
        self._name = name
        self._sound = sound
        self._begins = begins
        self._instructions = ""
        self._numbers = itertools.count(1)
        self._active = ""
        self._tag = ""
        self._begun = False
        self._asking: _Ask | None = None
        self._asked: deque[_Ask] = deque(maxlen=MAX_ASKED)
        self._cancelled: deque[str] = deque(maxlen=MAX_ITEMS)
        self._lengths: OrderedDict[str, int] = OrderedDict()  # bytes of PCM by utterance
        self._words: OrderedDict[str, str] = OrderedDict()  # of the caller's turns, as they come

    @property
    def owing(self) -> Literal["", "first", "more"]:
        """What the server owes."""
        if self._active:
            return "more" if self._begun else "first"
        return "first" if self._asking is not None else ""

    # ---- what we want

    def begin(self, session: Mapping[str, Any], history: Sequence[Message]) -> None:
        """The session's settings, and what was said before."""
        self._instructions = str(session.get("instructions") or "")
        self.out.append({"type": "session.update", "session": dict(session)})
        for item in items_of(history):
            self.out.append({"type": "conversation.item.create", "item": item})

    def audio(self, pcm: bytes) -> dict[str, Any]:
        """The message that carries the caller's sound."""
        return {"type": "input_audio_buffer.append", "audio": self._sound.encode(pcm)}

    def commit(self) -> None:
        """What was sent is a turn."""
        self.out.append({"type": "input_audio_buffer.commit"})

    def clear(self) -> None:
        """What was sent is none."""
        self.out.append({"type": "input_audio_buffer.clear"})

    def respond(self, instructions: str = "", tag: str = "") -> None:
        """A reply, when there is none under way; else afterwards."""
        ask = _Ask(instructions, tag)
        if ask not in self._asked:
            self._asked.append(ask)
        self._ask()

    def _ask(self) -> None:
        if self._active or self._asking is not None or not self._asked:
            return
        self._asking = ask = self._asked.popleft()
        ask.number = str(next(self._numbers))
        response: dict[str, Any] = {
            "metadata": {"ask": ask.number}
        }  # comes back, so that it is known as ours
        if ask.instructions:  # they stand in place of the session's: so those are said again
            response["instructions"] = f"{self._instructions}\n\n{ask.instructions}".strip()
        self.out.append({"type": "response.create", "event_id": f"ask_{ask.number}", "response": response})

    def tool_result(self, tool_id: str, content: str) -> None:
        """What a tool call came to."""
        item = {"type": "function_call_output", "call_id": tool_id, "output": content}
        self.out.append({"type": "conversation.item.create", "item": item})

    def text(self, text: str) -> None:
        """A message of the caller that was not spoken."""
        for item in items_of([{"role": "user", "content": text}]):
            self.out.append({"type": "conversation.item.create", "item": item})

    def cancel(self) -> None:
        """No more of the reply under way, nor of one that was asked for."""
        self._asked.clear()
        if self._active:
            self._cancelled.append(self._active)
            self.out.append({"type": "response.cancel", "response_id": self._active})
        elif self._asking is not None:  # its name is not known yet
            self._asking.cancelled = True
            self.out.append({"type": "response.cancel"})

    def truncate(self, item: str, heard_ms: int) -> None:
        """Only ``heard_ms`` of an utterance were heard. More than came of it is refused: so never more."""
        length = self._lengths.get(item)
        if heard_ms <= 0:  # refused as a length: it is taken out altogether
            self.out.append({"type": "conversation.item.delete", "item_id": item})
        elif length is not None:
            whole_ms = length * 500 // self._sound.rate
            self.out.append(
                {
                    "type": "conversation.item.truncate",
                    "item_id": item,
                    "content_index": 0,
                    "audio_end_ms": min(heard_ms, whole_ms),
                }
            )

    # ---- what the server says

    def receive(self, data: str | bytes) -> list[SpeechEvent]:
        """A message of the server.

        Raises:
            LLMError: it is none, or says that there can be no conversation.
        """
        try:
            event = json.loads(data)
            return self._receive(event["type"], event)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            shown = data[:120] if isinstance(data, str) else data[:120].decode("utf-8", "replace")
            raise LLMError(f"{self._name} sent what is no event: {shown}") from problem

    def _receive(self, kind: str, event: Mapping[str, Any]) -> list[SpeechEvent]:
        match kind.replace("output_audio", "audio"):
            case "session.updated":
                self.ready = True
            case "response.created":
                return self._created(event["response"])
            case "response.audio.delta":
                return self._audio(event["response_id"], event["item_id"], event["delta"])
            case "response.audio_transcript.delta":
                return self._of(event, ReplyText(event["response_id"], event["item_id"], str(event["delta"])))
            case "response.audio.done":
                return self._of(event, ReplyAudioEnded(event["response_id"], event["item_id"]))
            case "response.output_item.done":
                return self._item(event["response_id"], event["item"])
            case "response.done":
                return self._done(event["response"])
            case "input_audio_buffer.speech_started" | "input_audio_buffer.speech_stopped":
                return [CallerSpeech(kind.endswith("started"))]
            case "input_audio_buffer.committed":
                return [CallerTurn(str(event["item_id"]))]
            case "error":
                return self._error(event["error"])
            case _ if kind.startswith("conversation.item.input_audio_transcription."):
                return self._caller(kind.rpartition(".")[2], str(event["item_id"]), event)
        return []

    def _created(self, response: Mapping[str, Any]) -> list[SpeechEvent]:
        self._active = str(response["id"])
        self._begun = False
        self._tag = ""
        told = (response.get("metadata") or {}).get("ask")
        ask = self._asking
        if ask is not None and (told == ask.number or (told is None and not self._begins)):
            self._asking = None
            self._tag = ask.tag
            if ask.cancelled:
                self._cancelled.append(self._active)
                return []
        return [ReplyStarted(self._active, self._tag)]

    def _of(self, event: Mapping[str, Any], said: SpeechEvent) -> list[SpeechEvent]:
        self._begun = True
        return [] if event["response_id"] in self._cancelled else [said]

    def _audio(self, reply: str, item: str, delta: str) -> list[SpeechEvent]:
        self._begun = True
        pcm = self._sound.decode(delta)
        self._lengths[item] = self._lengths.get(item, 0) + len(pcm)
        if len(self._lengths) > MAX_ITEMS:
            self._lengths.popitem(last=False)
        return [] if reply in self._cancelled else [ReplyAudio(reply, item, pcm)]

    def _item(self, reply: str, item: Mapping[str, Any]) -> list[SpeechEvent]:
        if item["type"] != "function_call" or reply in self._cancelled or item.get("status") == "incomplete":
            return []
        self._begun = True
        call_id, name = str(item["call_id"]), str(item["name"])
        try:
            arguments = json.loads(item.get("arguments") or "{}")
        except ValueError:
            arguments = None
        if not isinstance(arguments, dict):  # models do that now and then; told so, they mend it
            self.tool_result(call_id, "The arguments are no JSON object.")
            self.respond()
            return [StreamProblem(f"the tool {name!r} was called with arguments that are no JSON object")]
        return [ReplyToolCall(reply, ToolCall(call_id, name, arguments))]

    def _done(self, response: Mapping[str, Any]) -> list[SpeechEvent]:
        reply = str(response["id"])
        used = response.get("usage") or {}
        usage = Usage(int(used.get("input_tokens") or 0), int(used.get("output_tokens") or 0))
        details = response.get("status_details") or {}
        error = details.get("error") or {}
        detail = str(error.get("message") or error.get("code") or details.get("reason") or "")
        status = response.get("status")
        reason: Literal["finished", "cancelled", "failed"] = "finished"
        if reply in self._cancelled or status == "cancelled":
            reason = "cancelled"
        elif status == "failed" or (status == "incomplete" and details.get("reason") == "content_filter"):
            reason = "failed"
        tag = self._tag if reply == self._active else ""
        if reply == self._active:
            self._active = ""
        self._ask()
        return [ReplyEnded(reply, reason, usage, detail, tag)]

    def _caller(self, what: str, item: str, event: Mapping[str, Any]) -> list[SpeechEvent]:
        if what == "delta":
            self._words[item] = self._words.get(item, "") + str(event.get("delta") or "")
            if len(self._words) > MAX_ITEMS:
                self._words.popitem(last=False)
            return [CallerText(item, self._words[item], False)]
        if what not in ("completed", "failed"):
            return []
        self._words.pop(item, None)
        text = str(event.get("transcript") or "").strip() if what == "completed" else ""
        return [CallerText(item, text, True)]

    def _error(self, error: Mapping[str, Any]) -> list[SpeechEvent]:
        code, message = str(error.get("code") or ""), str(error.get("message") or error)
        if any(known in (code, message) or known in message for known in HARMLESS):
            log.debug("%s: %s", self._name, message)
            return []
        if code == "conversation_already_has_active_response" and self._asking is not None:
            # the server began one of its own at the same time: ours comes after it
            ask, self._asking = self._asking, None
            if not ask.cancelled and len(self._asked) < MAX_ASKED:
                self._asked.appendleft(_Ask(ask.instructions, ask.tag))
            self._ask()
            return []
        if code == "input_audio_buffer_commit_empty":
            return [CallerTurn("")]
        said = f"{code}: {message}" if code and code not in message else message
        if not self.ready or code == "session_expired":
            raise LLMError(f"{self._name}: {said}"[:500])
        if self._asking is not None and error.get("event_id") == f"ask_{self._asking.number}":
            tag, self._asking = self._asking.tag, None
            self._ask()
            return [ReplyEnded("", "failed", detail=said, tag=tag)]
        return [StreamProblem(said)]


def items_of(history: Sequence[Message]) -> list[dict[str, Any]]:
    """A conversation in chat form as items of this one."""
    items: list[dict[str, Any]] = []
    open_calls: set[str] = set()
    for message in history:
        role, text = message.get("role"), words(message.get("content"))
        if role == "tool":
            if message.get("tool_call_id") in open_calls:
                call_id = message["tool_call_id"]
                items.append({"type": "function_call_output", "call_id": call_id, "output": text})
            continue
        if text.strip():
            kind = "output_text" if role == "assistant" else "input_text"
            items.append({"type": "message", "role": role, "content": [{"type": kind, "text": text}]})
        for call in message.get("tool_calls") or ():
            function = function_of(call)
            open_calls.add(call["id"])
            items.append(
                {
                    "type": "function_call",
                    "call_id": call["id"],
                    "name": function["name"],
                    "arguments": function.get("arguments") or "{}",
                }
            )
    return items
