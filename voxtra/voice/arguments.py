"""Arguments made into the wire's words, or one clear error."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError

from voxtra.voice.errors import bad_argument
from voxtra.wire import AgentId, AgentSpec, AudioFormat, CascadeTurns, TurnSettings, Wire

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W", bound=Wire)
Agent = str | Mapping[str, Any] | AgentSpec
"""An agent: the id of a registered one, or what it is."""
Turns = Mapping[str, Any] | TurnSettings | CascadeTurns
_AGENT_ID: TypeAdapter[str] = TypeAdapter(AgentId)


def checked(method: Callable[P, R]) -> Callable[P, R]:
    """Unknown, missing and extra arguments are a VoiceError that names the nearest known one."""
    signature = inspect.signature(method)
    known = [name for name in signature.parameters if name != "self"]
    name = method.__qualname__.removesuffix(".__init__")

    @functools.wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            unknown = next((word for word in kwargs if word not in known), "")
            near = difflib.get_close_matches(unknown, known, 1, 0.5) if unknown else []
            what = f"there is no argument {unknown!r}" if unknown else str(error)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise bad_argument(f"{name}(): {what}; {hint}", unknown) from None
        return method(*args, **kwargs)

    return wrapper


def made(kind: type[W], **fields: Any) -> W:
    """The wire's model of some arguments, by their Python names.

    Raises:
        VoiceError: BAD_ARGUMENT, naming the field, its value and what would be right.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise bad_argument(*_told(kind, error)) from None


def agent_of(agent: Agent) -> str | AgentSpec:
    """The id, or the whole description with defaults filled in; both spellings of its keys are taken.

    Raises:
        VoiceError: BAD_ARGUMENT: neither, or with keys or values that can't be.
    """
    if isinstance(agent, AgentSpec):
        return agent
    try:
        if isinstance(agent, str):
            return _AGENT_ID.validate_python(agent)
        if isinstance(agent, Mapping):
            return AgentSpec.model_validate(dict(agent))
    except ValidationError as error:
        if isinstance(agent, str):
            raise bad_argument(
                f"agent = {agent!r}: should be the id of an agent: letters, digits and . _ -", "agent"
            ) from None
        message, field = _told(AgentSpec, error)
        raise bad_argument(f"agent: {message}", f"agent.{field}") from None
    raise bad_argument(f"agent = {agent!r}: should be an agent's id, a dict or an AgentSpec", "agent")


def turns_of(turns: Turns, before: TurnSettings | CascadeTurns) -> TurnSettings | CascadeTurns:
    """Turn settings; a dict changes those ``before``, a model stands for itself.

    Raises:
        VoiceError: BAD_ARGUMENT: keys or values that can't be.
    """
    if isinstance(turns, TurnSettings | CascadeTurns):
        return turns
    if not isinstance(turns, Mapping):
        raise bad_argument(
            f"turn_detection = {turns!r}: should be a dict or a TurnDetection", "turn_detection"
        )
    given = agent_of({"turn_detection": turns})
    assert isinstance(given, AgentSpec)
    changed = given.turn_detection
    if type(changed) is not type(before):
        return changed
    named = {name: getattr(changed, name) for name in changed.model_fields_set}
    return changed.model_copy(update={**before.model_dump(), **named})


def format_of(codec: str, sample_rate: int, channels: int, frame_ms: int) -> AudioFormat:
    """How frames are coded. 48000 Hz with a law of G.711 means its 8000 Hz."""
    return made(
        AudioFormat,
        codec=codec, sample_rate=sample_rate, channels=channels, frame_ms=frame_ms,
    )  # fmt: skip


def _told(kind: type[Wire], error: ValidationError) -> tuple[str, str]:
    """One message of a ValidationError, and the field it is about."""
    errors = error.errors(include_url=False)
    branch = "CascadeTurns" if any(_is_cascade(each["input"]) for each in errors) else "TurnSettings"
    best = next((each for each in errors if _wanted(each["loc"], branch)), errors[0])
    path = [str(part) for part in best["loc"] if str(part) not in ("CascadeTurns", "TurnSettings")]
    if not path:  # of the whole: AudioFormat's rate of a law
        return str(best["msg"]).removeprefix("Value error, "), ""
    field = ".".join(_python_name(kind, name) for name in path)
    if best["type"] == "extra_forbidden":
        fields = {**AgentSpec.model_fields, **TurnSettings.model_fields, **CascadeTurns.model_fields}
        names = [*fields, *(str(each.alias) for each in fields.values())]
        near = difflib.get_close_matches(path[-1], names, 1, 0.5)
        return f"{field}: there is no such setting" + (f"; did you mean {near[0]!r}?" if near else ""), field
    said = str(best["msg"]).removeprefix("Value error, ")
    return f"{field} = {_short(best['input'])}: {said[:1].lower()}{said[1:]}", field


def _wanted(place: tuple[int | str, ...], branch: str) -> bool:
    other = "TurnSettings" if branch == "CascadeTurns" else "CascadeTurns"
    return other not in place


def _is_cascade(given: object) -> bool:
    return isinstance(given, dict) and "type" in given


def _python_name(kind: type[Wire], name: str) -> str:
    return next((mine for mine, field in kind.model_fields.items() if field.alias == name), name)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
