"""The ClutchCall wire: rows, procedures, the agent spec, events and sound frames. Client and engine both read it here.

Field names are snake_case in Python and camelCase on the wire; both are accepted. Unknown fields are refused.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

CallStatus: TypeAlias = Literal["dialing", "ringing", "in_progress", "completed", "failed", "no_answer"]
ENDED: Final = frozenset({"completed", "failed", "no_answer"})
"""The statuses that a call does not leave again."""

Codec: TypeAlias = Literal["opus", "pcm16", "g711_ulaw", "g711_alaw"]
PCM_RATES: Final = (8000, 16000, 24000, 48000)
"""Sample rates of ``pcm16`` and ``opus``, Hz; both laws of G.711 are 8000."""
FRAME_MS: Final = (10, 20, 40, 60)

RING_S: Final = (5, 120)
"""What ``ring_timeout_sec`` is clamped to, s."""

Track: TypeAlias = Literal["uplink", "downlink"]
Role: TypeAlias = Literal["server", "caller"]
"""Who attaches: a ``server`` hears the uplink and speaks on the downlink, a ``caller`` the other way round."""


class Wire(BaseModel):
    """What goes over the wire."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """JSON values under their camelCase names."""
        return self.model_dump(mode="json", by_alias=True)


# ---- agents


class TurnSettings(Wire):
    """When the caller's turn starts and ends, and when speech over the agent counts. All in ms."""

    response_min_speech_ms: int = Field(default=600, ge=0, le=10_000)
    """Speech shorter than this is a backchannel and never commits a turn."""
    commit_min_interval_ms: int = Field(default=1500, ge=0, le=30_000)
    """Minimum gap between two committed turns."""
    cancel_min_interval_ms: int = Field(default=400, ge=0, le=30_000)
    """Minimum gap between two barge-ins."""
    barge_confirm_ms: int = Field(default=300, ge=0, le=5_000)
    """Speech over the agent must last this long before the agent is cancelled; 0 = first frame."""
    tts_guard_ms: int = Field(default=200, ge=0, le=5_000)
    """The bar for speech is raised while the agent is heard and for this long after."""
    silence_threshold_ms: int = Field(default=500, ge=100, le=10_000)
    """Silence after speech that ends the turn."""
    min_speech_ms: int = Field(default=300, ge=0, le=5_000)
    """Candidate utterances shorter than this are noise."""
    prefix_padding_ms: int = Field(default=200, ge=0, le=2_000)
    """Sound kept from before the first speech frame, so that first syllables aren't clipped."""


class CascadeTurns(Wire):
    """The other shape of ``turn_detection``: three settings, and which detector. What is left out is as in
    :class:`TurnSettings`."""

    type: Literal["silero", "server_vad"]
    silence_threshold_ms: int | None = Field(default=None, ge=100, le=10_000)
    min_speech_ms: int | None = Field(default=None, ge=0, le=5_000)
    prefix_padding_ms: int | None = Field(default=None, ge=0, le=2_000)


class AgentSpec(Wire):
    """An agent described in place, instead of by the id of a registered one.

    Attributes:
        mode: a speech-to-speech model where the app has one, else its STT, LLM and TTS.
        model_codec: what the model is fed and gives.
        input_rate_hz, output_rate_hz: the model's rates; the phone's are converted.
        model: name of the model; None = the app's.
        instructions: system prompt; "" = the app's.
        voice: voice of the model or TTS; None = its own.
        greeting: said first; "" waits for the caller.
    """

    mode: Literal["speech_to_speech"] = "speech_to_speech"
    model_codec: Literal["pcm16", "opus", "g711_ulaw", "g711_alaw"] = "pcm16"
    input_rate_hz: Literal[8000, 16000, 24000, 48000] = 16000
    output_rate_hz: Literal[8000, 16000, 24000, 48000] = 24000
    turn_detection: CascadeTurns | TurnSettings = TurnSettings()
    model: str | None = Field(default=None, max_length=200)
    instructions: str = Field(default="", max_length=100_000)
    voice: str | None = Field(default=None, max_length=200)
    greeting: str = Field(default="", max_length=2_000)


AgentId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
AgentRef: TypeAlias = AgentId | AgentSpec
"""An agent: its id, or what it is."""

# ---- calls

Sid: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
OrgId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
TrunkId: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


def _e164(number: str) -> str:
    digits = number[1:]
    if not (
        number[:1] == "+"
        and digits.isascii()
        and digits.isdigit()
        and digits[:1] != "0"
        and 7 <= len(digits) <= 15
    ):
        raise ValueError("should be an E.164 number, like +15551234567")
    return number


E164: TypeAlias = Annotated[
    str,
    AfterValidator(_e164),
    Field(json_schema_extra={"pattern": r"^\+[1-9][0-9]{6,14}$", "examples": ["+15551234567"]}),
]
"""A telephone number as ITU-T E.164 has it: ``+`` and 7 to 15 digits."""


class CallRow(Wire):
    """A call as the control plane tells it.

    Attributes:
        sid: what addresses the call and its sound, whatever happens to it.
        started_at: ISO 8601, UTC.
        agent: id of the agent on it; ``inline`` for one described in place.
    """

    sid: str
    status: CallStatus
    to: str
    from_: str = Field(alias="from")
    started_at: datetime
    trunk_id: str | None = None
    agent: str | None = None


class Originate(Wire):
    """Input of ``voice.calls.originate``."""

    org_id: OrgId
    to: E164
    from_: E164 = Field(alias="from")
    trunk_id: TrunkId
    agent: AgentRef | None = None
    ring_timeout_sec: float = Field(default=30, strict=True, allow_inf_nan=False)
    """Whole seconds or not; clamped to 5..120."""


class Get(Wire):
    """Input of ``voice.calls.get``."""

    org_id: OrgId
    sid: Sid


class Hangup(Get):
    """Input of ``voice.calls.hangup``."""


class Transfer(Get):
    """Input of ``voice.calls.transfer``: exactly one of ``to`` and ``agent``."""

    to: E164 | None = None
    agent: AgentRef | None = None

    @model_validator(mode="after")
    def _one(self) -> Transfer:
        if (self.to is None) == (self.agent is None):
            raise ValueError("give exactly one of to and agent")
        return self


class Attach(Get):
    """Input of ``voice.agents.attach``."""

    agent: AgentRef


class Detach(Get):
    """Input of ``voice.agents.detach`` (ours): the call goes on with no agent."""


class BridgeToken(Get):
    """Input of ``voice.audioBridge.token`` (ours): what lets somebody at one call's sound."""

    role: Role = "server"


class BridgeGrant(Wire):
    """What ``voice.audioBridge.token`` gives.

    Attributes:
        token: a JWT (EdDSA), passed as ``?tok=``; for this call alone.
        expires_at: ISO 8601, UTC.
        quic: ``https://host:port`` of the relay, None where it has no UDP.
        websocket: ``wss://host:port`` (or ``ws://``) of the same relay.
        fingerprints: SHA-256 of the relay's certificate in hex, when it is self-signed; else empty.
    """

    token: str
    expires_at: datetime
    quic: str | None
    websocket: str | None
    fingerprints: tuple[str, ...] = ()


class Procedure(NamedTuple):
    """One procedure of the wire: how it is called and what it wants."""

    kind: Literal["query", "mutation"]
    input: type[Get] | type[Originate]


PROCEDURES: Final[dict[str, Procedure]] = {
    "voice.calls.originate": Procedure("mutation", Originate),
    "voice.calls.get": Procedure("query", Get),
    "voice.calls.transfer": Procedure("mutation", Transfer),
    "voice.calls.hangup": Procedure("mutation", Hangup),
    "voice.agents.attach": Procedure("mutation", Attach),
    "voice.agents.detach": Procedure("mutation", Detach),
    "voice.audioBridge.token": Procedure("mutation", BridgeToken),
}
"""All procedures, at ``/api/trpc/<name>`` and ``/trpc/<name>``. A mutation is a POST with a JSON body, a query a
GET with ``?input=<json>``. Success is ``{"result": {"data": ...}}``, failure ``{"error": {"message", "code", "data"}}``
with ``data`` = ``{"httpStatus", "path", "field"?}``."""

ErrorCode: TypeAlias = Literal[
    "BAD_REQUEST", "UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "METHOD_NOT_SUPPORTED", "CONFLICT", "GONE",
    "PAYLOAD_TOO_LARGE", "UNPROCESSABLE",
    "TOO_MANY_REQUESTS", "INTERNAL_SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT",
]  # fmt: skip
HTTP_STATUS: Final[dict[ErrorCode, int]] = {
    "BAD_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_SUPPORTED": 405,
    "CONFLICT": 409,
    "GONE": 410,
    "PAYLOAD_TOO_LARGE": 413,
    "UNPROCESSABLE": 422,
    "TOO_MANY_REQUESTS": 429,
    "INTERNAL_SERVER_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
    "TIMEOUT": 504,
}

# ---- events of a call

EventName: TypeAlias = Literal["status", "turn_committed", "barge_in_confirmed", "backchannel_dropped"]


class CallEvent(Wire):
    """One server-sent event of ``GET /v1/calls/{sid}/events``: ``event:`` is ``name``, ``id:`` is ``seq``.

    Attributes:
        seq: counts up by one per call, from 1; ``Last-Event-ID`` resumes after it.
        at: ISO 8601, UTC.
        data: for ``status`` ``{"status", "cause"?, "outcome"?}``; for the others what the turn detector knew
            (``text``, ``speech_ms``...), where it knew.
    """

    name: EventName
    sid: str
    seq: int
    at: datetime
    data: dict[str, Any] = {}


# ---- sound


class AudioFormat(Wire):
    """How frames of a track are coded; the JSON of the track ``info``.

    Raises:
        pydantic.ValidationError: a law of G.711 at another rate than 8000 Hz.
    """

    codec: Codec = "opus"
    sample_rate: Literal[8000, 16000, 24000, 48000] = 48000
    channels: Literal[1] = 1
    frame_ms: Literal[10, 20, 40, 60] = 20

    @model_validator(mode="before")
    @classmethod
    def _rate_of_law(cls, given: Any) -> Any:
        if isinstance(given, dict) and str(given.get("codec", "")).startswith("g711"):
            rate = given.get("sample_rate", given.get("sampleRate"))
            if rate in (None, 48000):  # the documents' default of sample_rate fits Opus only
                given = {k: v for k, v in given.items() if k not in ("sample_rate", "sampleRate")}
                return {**given, "sample_rate": 8000}
            if rate != 8000:
                raise ValueError(f"sample_rate = {rate}: {given['codec']} has 8000 Hz")
        return given

    @property
    def samples(self) -> int:
        """Samples of a frame."""
        return self.sample_rate * self.frame_ms // 1000

    def info(self) -> dict[str, Any]:
        """What the track ``info`` holds."""
        return {"capability": f"voice/{self.codec}", **self.to_wire()}


class SoundFrame(NamedTuple):
    """One codec frame and its time in µs on the media clock."""

    timestamp_us: int
    payload: bytes


MAX_FRAME_BYTES: Final = 8_192
"""No frame is longer: 60 ms of ``pcm16`` at 48 kHz are 5,760 B."""


def pack(frame: SoundFrame) -> bytes:
    """A frame as an object of a track, or a binary message: 8 bytes of µs, big-endian, then the payload."""
    return frame.timestamp_us.to_bytes(8, "big") + frame.payload


def unpack(message: bytes) -> SoundFrame:
    """What :func:`pack` made. Raises ValueError for a message too short or too long."""
    if not 8 < len(message) <= 8 + MAX_FRAME_BYTES:
        raise ValueError(
            f"a frame of {len(message)} B: it has 8 B of time and 1 to {MAX_FRAME_BYTES} B of sound"
        )
    return SoundFrame(int.from_bytes(message[:8], "big"), message[8:])


def track_path(sid: str, track: Track) -> str:
    """Path of a call's broadcast; its sound is the track ``audio``."""
    return f"voice/{sid}/{track}"
