"""What was said on a fake call, and when."""

from __future__ import annotations

from dataclasses import dataclass

from voxtra.events import EventType, VoxtraEvent
from voxtra.testing.fake_playback import Prompt

KEYS_GAP_S = 5.0
"""Keys pressed within this are one entry."""


@dataclass
class Said:
    """One utterance.

    Attributes:
        speaker: ``caller`` (the person of the test) or ``agent`` (the app).
        text: the words; of the agent those that were heard. Keys, or a prompt's media URI.
        start, end: virtual seconds since the call began to ring.
        reason: ``finished``, ``interrupted``, ``hangup``, ``failed``, ``stopped``; "" while it goes on.
        kind: ``speech``, ``keys``, ``prompt``.
    """

    speaker: str
    text: str
    start: float
    end: float | None = None
    reason: str = ""
    kind: str = "speech"

    def __str__(self) -> str:
        shown = {"keys": f"[{self.text}]", "prompt": f"<{self.text}>"}.get(self.kind, self.text)
        cut = f" -- {self.reason or 'goes on'}" if self.reason != "finished" else ""
        return f"{self.speaker}: {shown}{cut}"


class Story:
    """One call's utterances, as they begin.

    Args:
        began: when the call began, on the loop's clock.
    """

    def __init__(self, began: float) -> None:
        self.said: list[Said] = []
        self._began = began
        self._prompts: list[tuple[Prompt, Said]] = []
        self._agent: Said | None = None

    def at(self, when: float) -> float:
        """Seconds since the call began."""
        return round(when - self._began, 3)

    def _add(self, said: Said) -> Said:
        self.said.append(said)
        return said

    def caller(self, text: str, when: float) -> Said:
        """The person of the test begins to speak."""
        return self._add(Said("caller", text, self.at(when)))

    def done(self, said: Said, when: float, reason: str) -> None:
        """It is said."""
        said.end, said.reason = self.at(when), reason

    def key(self, key: str, start: float, end: float) -> None:
        """A key was pressed."""
        last = self.said[-1] if self.said else None
        if last is None or last.kind != "keys" or self.at(start) - (last.end or 0.0) > KEYS_GAP_S:
            last = self._add(Said("caller", "", self.at(start), kind="keys", reason="finished"))
        last.text += key
        last.end = self.at(end)

    def prompt(self, prompt: Prompt) -> None:
        """A prompt begins, or has ended."""
        said = next((said for known, said in self._prompts if known is prompt), None)
        if said is None:
            said = self._add(Said("agent", prompt.media, self.at(prompt.start), kind="prompt"))
            self._prompts.append((prompt, said))
        if prompt.end is not None:
            said.end, said.reason = self.at(prompt.end), prompt.reason

    def take(self, event: VoxtraEvent, when: float) -> None:
        """An event of the app's side."""
        if event.type is EventType.AGENT_SPEECH_STARTED:
            self._agent = self._add(Said("agent", str(event.data.get("text", "")), self.at(when)))
        elif event.type is EventType.AGENT_SPEECH_ENDED and self._agent is not None:
            data, said, self._agent = event.data, self._agent, None
            said.reason = str(data["reason"])
            said.text = str(data["text"] if said.reason == "finished" else data["heard"])
            said.end = self.at(when)

    def told(self) -> str:
        """A line for each utterance."""
        lines = [f"  {s.start:7.2f}  {s}" for s in sorted(self.said, key=lambda s: s.start)]
        return "\n".join(lines) or "  (nobody has said anything)"
