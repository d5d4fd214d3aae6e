"""Scenario files: who calls, what they do, and what is expected of the app."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from voxtra.errors import ConfigurationError
from voxtra.evaluation.steps import Step, read_step
from voxtra.evaluation.surroundings import LineSpec
from voxtra.speech.base import ToolCall, Usage

SUFFIXES = (".yaml", ".yml")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def _pattern(given: object) -> str:
    if not isinstance(given, str) or not given:
        raise ValueError("should be text, a regular expression; in quotes when it looks like a number")
    try:
        re.compile(given)
    except re.error as error:
        raise ValueError(f"no regular expression: {error}") from None
    return given


def _step(given: object) -> Step:
    try:
        return read_step(given)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


def _several(given: object) -> object:
    return [given] if isinstance(given, str | dict) else given


def _range(given: object) -> object:
    return {"min": given, "max": given} if isinstance(given, int) and not isinstance(given, bool) else given


Pattern = Annotated[str, BeforeValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_several)]


class Range(_Strict):
    """A count: a number in YAML, or ``{min: 1, max: 3}``."""

    min: int = Field(0, ge=0)
    max: int | None = Field(None, ge=0)

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.min <= number and (self.max is None or number <= self.max)

    def __str__(self) -> str:
        if self.min == self.max:
            return str(self.min)
        return f"at least {self.min}" if self.max is None else f"{self.min} to {self.max}"


Count = Annotated[Range, BeforeValidator(_range)]


class ExpectedTool(_Strict):
    """A tool call: its name, and those of its arguments that matter. ``/.../`` is a regular expression."""

    name: str
    arguments: dict[str, Any] = {}


def _tools(given: object) -> object:
    if isinstance(given, list):
        return [{"name": each} if isinstance(each, str) else each for each in given]
    return given


class Expect(_Strict):
    """What is expected. What is not named is not looked at.

    Attributes:
        agent_said: regular expressions, each found in what the caller heard of the agent.
        agent_did_not_say: none of these is.
        understood: each found in one turn of the caller, as the app understood it.
        tools: exactly these calls, in this order.
        state: of the call at the end, ``completed`` mostly.
        ended_by: ``caller`` or ``app``.
        turns: how many of the caller the app took.
        max_wait_ms: longest wait from the caller's last sound to the agent's first.
        interruptions: how often the caller stopped the agent.
        false_interruptions: those of them that no words came of.
        digits: keys that reached the app.
        max_duration_s: longest call.
        metadata: what ``call.metadata`` holds at the end, these at least.
    """

    agent_said: Patterns = ()
    agent_did_not_say: Patterns = ()
    understood: Patterns = ()
    tools: Annotated[tuple[ExpectedTool, ...] | None, BeforeValidator(_tools)] = None
    state: Literal["completed", "failed"] | None = None
    ended_by: Literal["caller", "app"] | None = None
    turns: Count | None = None
    max_wait_ms: float | None = Field(default=None, gt=0)
    interruptions: Count | None = None
    false_interruptions: Count | None = None
    digits: str | None = None
    max_duration_s: float | None = Field(default=None, gt=0)
    metadata: dict[str, Any] = {}


class Persona(_Strict):
    """A caller played by a language model.

    Attributes:
        who: ``an impatient father of two``.
        goal: what they want of the call, and when they are content.
        max_turns: after so many turns they hang up.
    """

    who: str = Field(min_length=1)
    goal: str = Field(min_length=1)
    max_turns: int = Field(12, ge=1, le=100)


class ScriptedReply(_Strict):
    """A reply of the scripted model: a text in YAML, or words, a tool call, or a failure."""

    say: str = ""
    tool: str = ""
    arguments: dict[str, Any] = {}
    fails: str = ""


def _reply(given: object) -> object:
    return {"say": given} if isinstance(given, str) else given


class Scenario(_Strict):
    """A scenario.

    Attributes:
        name: for reports.
        about: what it is for.
        app: ``FILE.py:ATTRIBUTE`` (from the scenario's folder, or from here) or ``MODULE:ATTRIBUTE``.
        number, caller_id: what is dialled, and by whom.
        caller: what the caller does.
        persona: or who a language model plays.
        llm: replies of the app's model, one for each request; None: its own model answers.
        prompts: lengths of prompts, s.
        line: what the caller's line is like: echo, voices in the background.
        endpoints: what becomes of calls that the app places, ``{PJSIP/anna: busy}``.
        expect: what must be so.
        judge: statements about the conversation that a language model finds true.
        file: where it stands.
    """

    name: str = Field(min_length=1)
    about: str = ""
    app: str = ""
    number: str = "100"
    caller_id: str = "4711"
    caller: tuple[Annotated[Step, BeforeValidator(_step)], ...] = ()
    persona: Persona | None = None
    llm: tuple[Annotated[ScriptedReply, BeforeValidator(_reply)], ...] | None = None
    prompts: dict[str, float | None] = {}
    line: LineSpec = LineSpec()
    endpoints: dict[str, str] = {}
    expect: Expect = Expect()
    judge: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    file: Path | None = None

    @model_validator(mode="after")
    def _one_caller(self) -> Scenario:
        if bool(self.caller) == (self.persona is not None):
            raise ValueError("give either  caller:  (steps)  or  persona:  (played by a model)")
        return self

    @property
    def wants_model(self) -> bool:
        """Whether a language model plays a part beside the app's own."""
        return self.persona is not None or bool(self.judge)

    @property
    def replies(self) -> list[list[str | ToolCall | Usage | Exception]] | None:
        """``llm`` as :class:`~voxtra.testing.ScriptedLLM` takes it."""
        if self.llm is None:
            return None
        return [_parts(reply, number) for number, reply in enumerate(self.llm, 1)]


def _parts(reply: ScriptedReply, number: int) -> list[str | ToolCall | Usage | Exception]:
    from voxtra.errors import LLMError

    parts: list[str | ToolCall | Usage | Exception] = []
    if reply.say:
        parts.append(reply.say)
    if reply.tool:
        parts.append(ToolCall(f"scripted-{number}", reply.tool, dict(reply.arguments)))
    if reply.fails:
        parts.append(LLMError(reply.fails))
    return parts


def load_scenarios(paths: Iterable[str | Path]) -> list[Scenario]:
    """Scenarios of files, and of all YAML files in folders; a file may hold several, parted by ``---``.

    Raises:
        ConfigurationError: there is none, or one can't be: names file and key, and the mend.
    """
    files = [file for path in paths for file in _files(Path(path))]
    found = [scenario for file in files for scenario in _read(file)]
    if not found:
        raise ConfigurationError("no scenario: name a .yaml file, or a folder of them")
    return found


def _files(path: Path) -> Sequence[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if not files:
            raise ConfigurationError(f"{path}: no .yaml file in this folder")
        return files
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file or folder")
    return [path]


def _read(file: Path) -> list[Scenario]:
    try:
        documents = list(yaml.safe_load_all(file.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigurationError(f"{file}: {' '.join(str(error).split())}") from None
    return [_scenario(file, document) for document in documents if document is not None]


def _scenario(file: Path, given: object) -> Scenario:
    if not isinstance(given, dict):
        raise ConfigurationError(f"{file}: a scenario is a mapping, like  name: ...")
    given = {"name": file.stem.replace("_", " "), **given}
    where = f"{file}: {given['name']}" if given["name"] != file.stem.replace("_", " ") else str(file)
    try:
        return Scenario.model_validate({**given, "file": file})
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_complaint(error)}") from None


_INSIDE: dict[str, type[BaseModel]] = {
    "expect": Expect, "persona": Persona, "llm": ScriptedReply, "tools": ExpectedTool,
    "line": LineSpec,
}  # fmt: skip


def _complaint(error: ValidationError) -> str:
    """What is wrong first, in one line."""
    first = error.errors()[0]
    parts = [part for part in first["loc"] if not str(part).startswith("function-")]
    path = "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")
    if first["type"] == "extra_forbidden":
        owner = next((_INSIDE[str(p)] for p in reversed(parts[:-1]) if str(p) in _INSIDE), Scenario)
        known = [name for name in owner.model_fields if name != "file"]
        near = difflib.get_close_matches(str(parts[-1]), known, n=1)
        return f"{path} is no key: " + (
            f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        )
    said = first["msg"].removeprefix("Value error, ")
    return f"{path}: {said}" if path else said
