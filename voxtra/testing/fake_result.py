"""What became of a fake call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from voxtra.calls.leg import LegEnd
from voxtra.events import AgentResponseEvent, DTMFEvent, VoxtraEvent
from voxtra.recording import RecordingMetadata
from voxtra.session import CallSession
from voxtra.testing.fake_call import FakeCall
from voxtra.testing.fake_errors import FakeCallError
from voxtra.testing.fake_playback import Prompt
from voxtra.testing.fake_story import Said
from voxtra.types import CallState, Message


@dataclass
class CallResult:
    """What became of a call.

    Attributes:
        transcript: what was said by both sides, keys and prompts included, in order of its beginning.
        events: every event of the session.
        errors: what failed in the app (empty unless ``run_call(check=False)``).
        recordings: recordings that were finished; the files themselves are gone.
        call: the caller's end.
        session: the app's.
    """

    call: FakeCall
    session: CallSession | None
    transcript: list[Said] = field(default_factory=list)
    events: list[VoxtraEvent] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    recordings: list[RecordingMetadata] = field(default_factory=list)

    def _session(self) -> CallSession:
        if self.session is None:
            raise FakeCallError("the app took no call, so there is no session")
        return self.session

    @property
    def lines(self) -> list[str]:
        """The transcript as text: ``"agent: Welcome!"``, ``"caller: [1]"``, ``"agent: <sound:beep>"``."""
        return [str(said) for said in self.transcript]

    @property
    def state(self) -> CallState:
        """``CallState.COMPLETED``, mostly."""
        return self._session().state

    @property
    def end(self) -> LegEnd:
        """How it ended, from the app's side: ``reason`` (``hangup``, ``local``, ``left``), ``cause``."""
        end = self._session().end
        if end is None:
            raise FakeCallError("the app's call has not ended")
        return end

    @property
    def duration(self) -> float:
        """Virtual seconds from the answer to the end."""
        return round(self._session().duration, 3)

    @property
    def metadata(self) -> dict[str, Any]:
        """``call.metadata`` at the end."""
        return self._session().metadata

    @property
    def history(self) -> list[Message]:
        """The conversation as the model knows it: only what was heard."""
        return self._session().agent.history

    @property
    def tool_calls(self) -> list[dict[str, Any]]:
        """Every tool call of the model: ``{"id", "name", "arguments"}``."""
        return [
            call
            for event in self.events
            if isinstance(event, AgentResponseEvent)
            for call in event.tool_calls
        ]

    @property
    def digits(self) -> str:
        """The keys that reached the app."""
        return "".join(event.digit for event in self.events if isinstance(event, DTMFEvent))

    @property
    def prompts(self) -> list[Prompt]:
        """Prompts that the caller heard."""
        return self.call.prompts
