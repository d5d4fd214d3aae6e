"""What is known of a call at one moment, and the requests about it: what both faces of the client share."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from voxtra.voice.arguments import Agent, agent_of, made
from voxtra.voice.errors import VoiceError, bad_argument
from voxtra.voice.http import Http
from voxtra.wire import Attach, CallRow, CallStatus, Detach, Get, Hangup, Originate, Transfer


class Snapshot:
    """A call as it was when it was asked about. ``refresh()`` asks again."""

    _row: CallRow
    _started_at: str

    @property
    def sid(self) -> str:
        """What addresses the call and its sound, whatever happens to it."""
        return self._row.sid

    @property
    def status(self) -> CallStatus:
        """``dialing``, ``ringing``, ``in_progress``, ``completed``, ``failed`` or ``no_answer``."""
        return self._row.status

    @property
    def to(self) -> str:
        """Number called, E.164."""
        return self._row.to

    @property
    def from_(self) -> str:
        """Caller id, E.164."""
        return self._row.from_

    @property
    def started_at(self) -> str:
        """ISO 8601, UTC, as the engine wrote it."""
        return self._started_at

    @property
    def startedAt(self) -> str:
        """The same as :attr:`started_at`."""
        return self._started_at

    @property
    def trunk_id(self) -> str | None:
        """SIP trunk."""
        return self._row.trunk_id

    @property
    def trunkId(self) -> str | None:
        """The same as :attr:`trunk_id`."""
        return self._row.trunk_id

    @property
    def agent(self) -> str | None:
        """Id of the agent on it; ``inline`` for one described in place; None for none."""
        return self._row.agent

    def _know(self, data: Any) -> None:
        """Take the engine's row; fields of newer engines are passed over.

        Raises:
            VoiceError: BAD_REPLY.
        """
        try:
            known = {field.alias for field in CallRow.model_fields.values()}
            self._row = CallRow.model_validate(
                {key: value for key, value in dict(data).items() if key in known}
            )
        except (ValidationError, TypeError, ValueError) as error:
            raise VoiceError(f"a call that can't be read: {error}", code="BAD_REPLY") from None
        self._started_at = str(data["startedAt"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sid} {self.status} {self.from_} -> {self.to}>"


async def originate(http: Http, key: str, agent: Agent | None, **given: Any) -> Any:
    """The row of a new call. The key makes it one call, however often it had to be asked for."""
    who = None if agent is None else agent_of(agent)
    request = made(Originate, org_id=http.org_id, agent=who, **given)
    return await http.call("voice.calls.originate", request, again="safe", idempotency_key=key)


async def get(http: Http, sid: str) -> Any:
    """The row of a call."""
    return await http.call("voice.calls.get", made(Get, org_id=http.org_id, sid=sid), again="safe")


async def transfer(http: Http, sid: str, to: str | None, agent: Agent | None) -> None:
    """Send a call on, to a number or an agent."""
    if (to is None) == (agent is None):
        raise bad_argument("transfer(): give exactly one of to= (a number) and agent=")
    who = None if agent is None else agent_of(agent)
    await http.call("voice.calls.transfer", made(Transfer, org_id=http.org_id, sid=sid, to=to, agent=who))


async def hangup(http: Http, sid: str) -> None:
    """End a call; one that has ended already is as good."""
    try:
        await http.call("voice.calls.hangup", made(Hangup, org_id=http.org_id, sid=sid), again="safe")
    except VoiceError as error:
        if error.code not in ("NOT_FOUND", "GONE"):
            raise


async def attach_agent(http: Http, sid: str, agent: Agent) -> None:
    """Put an agent on a call."""
    request = made(Attach, org_id=http.org_id, sid=sid, agent=agent_of(agent))
    await http.call("voice.agents.attach", request)


async def detach_agent(http: Http, sid: str) -> None:
    """Take the agent off a call."""
    await http.call("voice.agents.detach", made(Detach, org_id=http.org_id, sid=sid), again="safe")
