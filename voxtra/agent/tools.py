"""Tools: plain typed Python functions that a model may call."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, overload

from pydantic import ConfigDict, ValidationError, create_model

from voxtra.errors import ConfigurationError, VoxtraError

log = logging.getLogger("voxtra.agent")

OnInterrupt: TypeAlias = Literal["finish", "cancel", "if_spoken"]
"""What an interruption of the reply that called a tool means to it: ``finish``: it runs on and its result
is kept; ``cancel``: it is cancelled; ``if_spoken``: it only runs once the reply was heard to the end."""

MAX_RESULT = 20_000
"""Characters of a result that the model is shown."""


@dataclass(slots=True, frozen=True)
class ToolResult:
    """What came of a tool call.

    Attributes:
        text: what the model is told.
        outcome: ``done``, ``error``, ``timeout`` or ``cancelled``.
        value: what the function returned; None unless ``done``.
    """

    text: str
    outcome: Literal["done", "error", "timeout", "cancelled"] = "done"
    value: Any = None


class Tool:
    """A function as the model sees it. Made by :func:`tool`, or by an agent from a plain function.

    Attributes:
        name, description: what the model reads.
        on_interrupt: see :data:`OnInterrupt`.
        terminal: the conversation ends with it (hang up, transfer): it waits until the reply was heard.
        timeout_s: how long it may take.
        filler: what is said when it takes longer than the agent's patience; "" = the agent's own filler.
        destinations: for a tool that transfers: whom it knows, alias → endpoint.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str = "",
        description: str = "",
        on_interrupt: OnInterrupt = "finish",
        terminal: bool = False,
        timeout_s: float = 30.0,
        filler: str = "",
        destinations: Mapping[str, str] | None = None,
    ) -> None:
        self.destinations = dict(destinations or {})
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.description = description or inspect.cleandoc(function.__doc__ or "").partition("\n\n")[0]
        self.on_interrupt = on_interrupt
        self.terminal = terminal
        self.timeout_s = timeout_s
        self.filler = filler
        if on_interrupt not in get_args(OnInterrupt):
            raise ConfigurationError(
                f"tool {self.name}: on_interrupt={on_interrupt!r}: one of {', '.join(get_args(OnInterrupt))}"
            )
        if not self.description:
            raise ConfigurationError(f"tool {self.name} says not what it does: give it a docstring")
        self._wants_call = False
        self._arguments = self._model()

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    def _model(self) -> Any:
        fields: dict[str, Any] = {}
        hints = inspect.get_annotations(self.function, eval_str=False)
        try:
            hints = inspect.get_annotations(self.function, eval_str=True)
        except NameError as error:
            log.debug("tool %s: annotations are taken as text: %s", self.name, error)
        for name, parameter in inspect.signature(self.function).parameters.items():
            if name == "call":
                self._wants_call = True
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise ConfigurationError(f"tool {self.name}: *{name} can't be described to a model")
            if name not in hints:
                raise ConfigurationError(f"tool {self.name}: say of which type {name!r} is, like {name}: str")
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints[name], default)
        try:
            return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)
        except (TypeError, NameError) as error:
            raise ConfigurationError(f"tool {self.name}: {error}") from None

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the form that chat models take (OpenAI function schema)."""
        parameters = self._arguments.model_json_schema()
        parameters.pop("title", None)
        for each in parameters.get("properties", {}).values():
            each.pop("title", None)
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}

    async def run(self, arguments: dict[str, Any], call: object = None) -> ToolResult:
        """Call the function. Never raises but on cancellation: what went wrong is for the model to read.

        Args:
            arguments: as the model gave them; checked against the function's types.
            call: given to a parameter named ``call``.
        """
        try:
            values = self._values(arguments, call)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            return ToolResult(f"Wrong arguments: {where}: {first['msg']}", "error")
        try:
            async with asyncio.timeout(self.timeout_s):
                value = await self._value(values)
        except TimeoutError:
            return ToolResult(f"{self.name} gave no result within {self.timeout_s:g} seconds.", "timeout")
        except Exception as error:
            log.log(
                logging.INFO if isinstance(error, VoxtraError) else logging.ERROR,
                "tool %s failed", self.name, exc_info=not isinstance(error, VoxtraError),
            )  # fmt: skip
            return ToolResult(f"{self.name} failed: {error}", "error")
        return ToolResult(as_text(value), "done", value)

    def _values(self, arguments: dict[str, Any], call: object) -> dict[str, Any]:
        """Checked arguments of the function. Raises pydantic's ValidationError."""
        given = self._arguments(**arguments)
        values = {name: getattr(given, name) for name in type(given).model_fields}
        return values | ({"call": call} if self._wants_call else {})

    async def _value(self, values: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**values)
        # a plain function may block: it must not hold up the calls
        result = await asyncio.to_thread(self.function, **values)
        return await result if inspect.isawaitable(result) else result


def as_text(value: object) -> str:
    """A tool's value as the model reads it."""
    if value is None:
        return "Done."
    if not isinstance(value, str | int | float | list | tuple | dict):
        value = _plain(value)
    if isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, default=_plain, ensure_ascii=False)
        except (TypeError, ValueError):
            text = str(value)
    return text if len(text) <= MAX_RESULT else text[:MAX_RESULT] + " ... (cut)"


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if callable(dump) else str(value)


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(
    *,
    name: str = "",
    description: str = "",
    on_interrupt: OnInterrupt = "finish",
    terminal: bool = False,
    timeout_s: float = 30.0,
    filler: str = "",
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Decorator: make a function a tool, with options of :class:`Tool`.

    ::

        @tool(filler="Let me look that up.")
        async def order_status(number: int) -> str:
            "Where an order is."
            return await shop.status(number)

    Types and defaults become the schema; a parameter named ``call`` is the CallSession.
    """
    if function is not None:
        return Tool(function)
    return lambda wrapped: Tool(wrapped, **options)


ToolLike: TypeAlias = Tool | Callable[..., Any]


def tools_of(given: Sequence[ToolLike]) -> dict[str, Tool]:
    """Tools by name. Raises ConfigurationError when two have the same name."""
    found: dict[str, Tool] = {}
    for each in given:
        made = each if isinstance(each, Tool) else Tool(each)
        if made.name in found:
            raise ConfigurationError(f"two tools are named {made.name!r}")
        found[made.name] = made
    return found


Runner: TypeAlias = Callable[[Tool, dict[str, Any]], Awaitable[ToolResult]]
