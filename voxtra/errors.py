"""The error tree. Every exception that leaves voxtra is one of these.

VoxtraError
├── ConfigurationError            a setting, an option or a file is wrong; names it and the mend
│   ├── MissingExtraError         an optional part is not installed; names the command
│   └── ProvisioningError         Asterisk configuration could not be written or loaded
├── CallError                     an operation on a call failed
│   ├── CallEndedError            ... because the call is over
│   ├── OriginateError            ... because a call placed was not answered
│   └── PlaybackError             ... because Asterisk could not play a medium
├── RouteNotFoundError            no route, rule or default takes the call
├── SessionError                  a session is used in a way it can't be
├── PipelineError                 the speech pipeline failed
│   └── PipelineNotConfiguredError  (also a RuntimeError) stt, llm or tts is not set
├── TelephonyError
│   ├── TelephonyConnectionError  Asterisk can't be reached
│   │   ├── AuthenticationError   ... because it refuses the user or password
│   │   └── NotConnectedError     (also a RuntimeError) ... because the app is not started
│   ├── EventOverflowError        events came faster than a stream of them was read
│   └── ARIError                  Asterisk refused a request: method, path, status, its words
│       ├── ARINotFoundError      404: channel, bridge, playback ... is gone or never was
│       ├── ARIConflictError      409: it exists already, or its state forbids this
│       ├── ARIInvalidError       400, 422: a parameter is wrong
│       ├── ARINotInStasisError   409, 412, 422: the channel is not in a Stasis application
│       ├── ARIForbiddenError     403: the ARI user is read-only
│       ├── ARIServerError        5xx
│       ├── ARITimeoutError       no response before the request's deadline
│       └── ARIConnectionLostError  the connection broke while the request was under way
├── MediaError
│   ├── CodecError                sound in a form that can't be read or written
│   ├── AudioSocketError          the AudioSocket protocol was broken
│   ├── LineClosedError           the line to Asterisk is closed
│   ├── SpoolError                what was to be kept safe could not be (disk full)
│   └── StorageError              a recording could not be stored where it belongs
├── TokenError                    a token of the audio bridge is not good
├── RelayError                    the audio bridge could not be set up
├── VoiceError                    voxtra.voice: what was asked of an engine elsewhere could not be had
└── ProviderError                 a speech provider failed
    ├── STTError
    ├── TTSError
    ├── LLMError
    └── VADError
"""

from __future__ import annotations


class VoxtraError(Exception):
    """Base of every error voxtra raises."""


class ConfigurationError(VoxtraError):
    """A setting, option or file is wrong. The message names it, its value and what would be right."""


class MissingExtraError(ConfigurationError):
    """An optional part is not installed.

    Args:
        what: what was asked for, e.g. ``"local speech"``.
        extra: the extra that brings it, e.g. ``"local"``.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} is not installed: run  pip install 'voxtra[{extra}]'")


class ProvisioningError(ConfigurationError):
    """Asterisk configuration could not be written or loaded."""


class CallError(VoxtraError):
    """An operation on a call failed."""


class CallEndedError(CallError):
    """The call is over, so the operation can't be done.

    ``reason`` says how the call ended (``"hangup"``, ``"failed"`` ...).
    """

    def __init__(self, message: str, *, reason: str = "hangup") -> None:
        self.reason = reason
        super().__init__(message)


class OriginateError(CallError):
    """A call placed was not answered.

    Attributes:
        outcome: ``busy``, ``no_answer``, ``rejected`` or ``failed``.
        cause: Q.850 cause, 0 when unknown.
    """

    def __init__(self, message: str, *, outcome: str, cause: int = 0) -> None:
        self.outcome = outcome
        self.cause = cause
        super().__init__(message)

    @classmethod
    def of(cls, endpoint: str, cause: int, text: str) -> OriginateError:
        """The error for a Q.850 cause as Asterisk reports it (SIP 486 is 17, 603 is 21, 480 is 19)."""
        outcome = {17: "busy", 18: "no_answer", 19: "no_answer", 21: "rejected", 16: "no_answer"}.get(
            cause, "failed"
        )
        said = f" ({text})" if text else ""
        return cls(f"call to {endpoint}: {outcome.replace('_', ' ')}{said}", outcome=outcome, cause=cause)


class PlaybackError(CallError):
    """Asterisk could not play a medium (no such file, unknown scheme, not answering)."""


class RouteNotFoundError(VoxtraError):
    """No route, dispatch rule or default handler takes this call."""


class SessionError(VoxtraError):
    """A session is used in a way it can't be."""


class PipelineError(VoxtraError):
    """The speech pipeline of a call failed."""


class PipelineNotConfiguredError(PipelineError, RuntimeError):
    """A verb needs ``stt``, ``llm`` or ``tts``, and the app has none."""

    def __init__(self, needs: str = "") -> None:
        hint = f": pass {needs}= to VoxtraApp" if needs else ""
        super().__init__(f"AI pipeline not configured{hint}")


class TelephonyError(VoxtraError):
    """Something between voxtra and Asterisk failed."""


class TelephonyConnectionError(TelephonyError):
    """Asterisk can't be reached."""


class AuthenticationError(TelephonyConnectionError):
    """Asterisk refuses the ARI user or password."""


class NotConnectedError(TelephonyConnectionError, RuntimeError):
    """The app is not connected to Asterisk (not started, or the connection is down)."""


class EventOverflowError(TelephonyError):
    """Events came faster than a stream of them was read; that stream is closed, no other is touched."""


class ARIError(TelephonyError):
    """Asterisk refused an ARI request, or didn't answer it.

    Attributes:
        method: HTTP method, ``"POST"``.
        path: path below ``/ari``, ``"/channels/1234/answer"``.
        status: HTTP status; 0 when there was no response.
        detail: Asterisk's own words, ``""`` when it said nothing.
    """

    def __init__(self, method: str, path: str, status: int = 0, detail: str = "") -> None:
        self.method = method
        self.path = path
        self.status = status
        self.detail = detail
        said = f"{status} {detail}".strip() if status else detail or "no response"
        super().__init__(f"ARI {method} {path}: {said}")


class ARINotFoundError(ARIError):
    """404: the channel, bridge, playback or recording is gone, or never was."""


class ARIConflictError(ARIError):
    """409: it exists already, or the state it is in forbids this."""


class ARIInvalidError(ARIError):
    """400 or 422: a parameter is wrong."""


class ARINotInStasisError(ARIError):
    """The channel is not in a Stasis application, so ARI can't act on it."""


class ARIForbiddenError(ARIError):
    """403: this ARI user may not do that (``read_only = yes`` in ari.conf)."""


class ARIServerError(ARIError):
    """5xx: Asterisk failed (an unknown endpoint in originate is a 500)."""


class ARITimeoutError(ARIError):
    """No response before the request's deadline. Whether it was carried out is unknown."""


class ARIConnectionLostError(ARIError):
    """The connection broke while the request was under way, or is down."""


class MediaError(VoxtraError):
    """Something between voxtra and the sound of a call failed."""


class CodecError(MediaError):
    """Sound in a form that can't be read or written."""


class AudioSocketError(MediaError):
    """The peer broke the AudioSocket protocol."""


class LineClosedError(MediaError):
    """The line to Asterisk is closed."""


class SpoolError(MediaError):
    """A spool could not keep safe what it was given: it is full, its disk is, or it can't be written."""


class StorageError(MediaError):
    """A sink could not store a recording, or tell of it. What it was given is where it was.

    Attributes:
        final: whether trying again is of no use.
        retry_after_s: how long the other side asks to be left alone, None when it doesn't.
    """

    def __init__(self, message: str, *, final: bool = False, retry_after_s: float | None = None) -> None:
        self.final = final
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TokenError(VoxtraError):
    """A token of the audio bridge is no token, not this relay's, or no longer good."""


class RelayError(VoxtraError):
    """The audio bridge could not be set up. The message names the address and what to do."""


class ProviderError(VoxtraError):
    """A speech provider failed. The message names the provider and what it said."""


class STTError(ProviderError):
    """Speech to text failed."""


class TTSError(ProviderError):
    """Text to speech failed."""


class LLMError(ProviderError):
    """The language model failed."""


class VADError(ProviderError):
    """Voice activity detection failed."""
