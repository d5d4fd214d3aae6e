"""Which handler takes a call: routes in the order registered, dispatch rules, the default."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from voxtra.errors import ConfigurationError, RouteNotFoundError

if TYPE_CHECKING:
    from voxtra.session import CallSession

Handler: TypeAlias = Callable[["CallSession"], Awaitable[None]]
H = TypeVar("H", bound=Callable[..., Awaitable[Any]])
F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = ("extension", "number", "name", "metadata")


class DispatchRule(ABC):
    """A rule that decides by code. Subclass it, or write an async function with the same arguments.

    Attributes:
        handler: what takes the calls that match; ``add_dispatch_rule(rule, handler)`` may name another.
        metadata: merged into ``call.metadata``.
    """

    handler: Handler | None = None
    metadata: Mapping[str, Any] = {}

    @abstractmethod
    def matches(self, *, extension: str, number: str, **info: Any) -> bool | Awaitable[bool]:
        """Whether this call is for the rule (may be async).

        Args:
            extension: what was dialled.
            number: the caller's number.
            info: what else is known of the call: ``channel`` (its name), ``args`` (of ``Stasis()``). A
                rule that does not name it is not given it.
        """


RuleFunction: TypeAlias = Callable[..., Awaitable["bool | Handler | None"]]


@dataclass(slots=True, frozen=True)
class Route:
    """A handler, and the calls it takes.

    Attributes:
        extension: dialled extension; one that ends in ``*`` matches by its beginning; None = any.
        number: caller's number, likewise.
        metadata: merged into ``call.metadata``.
    """

    handler: Handler
    extension: str | None = None
    number: str | None = None
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def matches(self, extension: str, number: str) -> bool:
        """Whether the call is for this route."""
        return _fits(self.extension, extension) and (self.number == "*" or _fits(self.number, number))


@dataclass(slots=True, frozen=True)
class Resolution:
    """The handler found for a call, and the metadata that comes with it."""

    handler: Handler
    metadata: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""


_CLASSES = {"X": "[0-9]", "Z": "[1-9]", "N": "[2-9]", ".": ".+", "!": ".*"}
_PATTERN = re.compile(r"\[[0-9A-Za-z*#-]+\]|[0-9XZNxzn*#+A-Da-d]|[.!]$")


def _fits(pattern: str | None, value: str) -> bool:
    if pattern is None or pattern == value:
        return True
    if pattern.startswith("_"):
        return re.fullmatch(_regex(pattern), value) is not None
    return len(pattern) > 1 and pattern.endswith("*") and value.startswith(pattern[:-1])


@functools.lru_cache(maxsize=1024)
def _regex(pattern: str) -> str:
    """An Asterisk pattern (``_2XX``, ``_0[2-9].``) as a regular expression. Raises ConfigurationError."""
    rest, parts = pattern[1:], []
    while rest:
        found = _PATTERN.match(rest)
        if found is None:
            raise ConfigurationError(
                f"pattern {pattern!r}: {rest[0]!r} can't be in it; X is 0-9, Z 1-9, N 2-9, [1-5] a set, "
                "and at the end . is one or more, ! any"
            )
        part = found[0]
        parts.append(part if part[0] == "[" else _CLASSES.get(part.upper(), re.escape(part)))
        rest = rest[len(part) :]
    if not parts:
        raise ConfigurationError("pattern '_' matches nothing: write it out, like '_2XX'")
    try:
        re.compile("".join(parts))
    except re.error as error:
        raise ConfigurationError(f"pattern {pattern!r}: {error.msg}") from None
    return "".join(parts)


class Router:
    """Routes, rules and a default::

    router = Router()

    @router.route(extension="100")
    async def sales(call): ...

    @router.default()
    async def anything_else(call): ...
    """

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._rules: list[tuple[DispatchRule | RuleFunction, Handler | None]] = []
        self._default: Resolution | None = None

    def route(
        self,
        *args: object,
        extension: str | None = None,
        number: str | None = None,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
        **unknown: object,
    ) -> Callable[[H], H]:
        """Register a handler for calls to ``extension`` and / or from ``number``.

        A trailing ``*`` matches by beginning (``number="+4420*"``; ``number="*"`` is any, but ``extension="*"``
        the key of that name); a leading ``_`` makes it a pattern as in a dialplan (``extension="_2XX"``).
        Neither given: every call.

        Raises:
            ConfigurationError: an option is unknown or of the wrong type.
        """
        if args or unknown:
            raise ConfigurationError(_unknown_option(args, unknown))
        for option, value in (("extension", extension), ("number", number), ("name", name)):
            if value is not None and not isinstance(value, str):
                raise ConfigurationError(f"route({option}={value!r}): write it as text, {option}='{value}'")
        if extension == "" or number == "":
            raise ConfigurationError("route(): extension and number may not be empty; leave out what is any")
        for pattern in (extension, number):
            if pattern is not None and pattern.startswith("_"):
                _regex(pattern)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise ConfigurationError(f"route(metadata={metadata!r}): a dict is wanted")

        def register(handler: H) -> H:
            _check_handler(handler, "route")
            self.routes.append(
                Route(handler, extension, number, name or _name(handler), dict(metadata or {}))
            )
            return handler

        return register

    def default(self, *handlers: Any) -> Callable[[H], H]:
        """Register the handler for calls that nothing else takes.

        Raises:
            ConfigurationError: there is one already, or this is no handler.
        """
        if handlers:
            raise ConfigurationError("write @default() with parentheses")

        def register(handler: H) -> H:
            _check_handler(handler, "default")
            if self._default is not None:
                raise ConfigurationError(f"there is a default handler already: {self._default.name}")
            self._default = Resolution(handler, {}, _name(handler))
            return handler

        return register

    default_route = default

    def add_dispatch_rule(
        self, rule: DispatchRule | type[DispatchRule] | RuleFunction, handler: Handler | None = None
    ) -> None:
        """Ask ``rule`` about calls that no route takes; rules are asked in the order added.

        Args:
            rule: a DispatchRule or its class, or an async function ``(*, extension, number, **info)`` that
                tells whether it matches, or gives the handler itself.
            handler: takes the calls that match; a DispatchRule may bring its own.

        Raises:
            ConfigurationError: it is neither, or a DispatchRule has no handler.
        """
        if isinstance(rule, type):
            rule = _made(rule)
        handler = handler or (rule.handler if isinstance(rule, DispatchRule) else None)
        if not isinstance(rule, DispatchRule) and not inspect.iscoroutinefunction(rule):
            raise ConfigurationError(f"{rule!r} is neither a DispatchRule nor an async function")
        if handler is not None:
            _check_handler(handler, "add_dispatch_rule")
        elif isinstance(rule, DispatchRule):
            raise ConfigurationError(f"the rule {rule!r} has no handler: add_dispatch_rule(rule, handler)")
        self._rules.append((rule, handler))

    def include(self, other: Router) -> None:
        """Take over another router's routes and rules, behind one's own; and its default, if one has none.

        They are copied: what is registered there later is not seen.
        """
        if not isinstance(other, Router):
            raise ConfigurationError(f"include({other!r}): a Router is wanted")
        if other is self:
            raise ConfigurationError("a router can't include itself")
        self.routes += other.routes
        self._rules += other._rules
        self._default = self._default or other._default

    async def resolve(
        self, *, extension: str, number: str, call_info: Mapping[str, Any] | None = None
    ) -> Resolution:
        """The handler for a call.

        Raises:
            RouteNotFoundError: nothing takes it.
        """
        for route in self.routes:
            if route.matches(extension, number):
                return Resolution(route.handler, route.metadata, route.name)
        for rule, handler in self._rules:
            matches = rule.matches if isinstance(rule, DispatchRule) else rule
            found: object = matches(**_wanted(matches, extension, number, call_info or {}))
            if inspect.isawaitable(found):
                found = await found
            taker: Handler | None = found if callable(found) else handler
            if found and taker is not None:
                metadata = rule.metadata if isinstance(rule, DispatchRule) else {}
                return Resolution(taker, metadata, _name(taker))
        if self._default is not None:
            return self._default
        raise RouteNotFoundError(f"nothing takes calls to {extension!r} from {number!r}: add a @default()")

    def __bool__(self) -> bool:
        """True when any call could be taken."""
        return bool(self.routes or self._rules or self._default)


def on_call_is_old() -> None:
    """Tell users of ``on_call`` what to write."""
    warnings.warn("on_call is deprecated: write @app.route(...) or @app.default()", DeprecationWarning, 3)


def check_async(where: str, function: F, takes: str) -> F:
    """``function``, when it is an async one of so many arguments.

    Raises:
        ConfigurationError: it is not.
    """
    name, count = _name(function), len(takes.split(", "))
    if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an instance with an async __call__ will do
    ):
        raise ConfigurationError(f"@{where}: {name} must be  async def {name}({takes})")
    try:
        inspect.signature(function).bind(*(None,) * count)
    except TypeError:
        many = "one argument, the call" if count == 1 else f"two arguments, {takes}"
        raise ConfigurationError(f"@{where}: {name} must take {many}") from None
    return function


def _check_handler(handler: Handler, where: str) -> None:
    check_async(where, handler, "call")


def _made(rule: type[DispatchRule]) -> DispatchRule:
    try:
        if issubclass(rule, DispatchRule):
            return rule()
    except TypeError as error:
        raise ConfigurationError(f"add_dispatch_rule({rule.__name__}): it can't be made: {error}") from None
    raise ConfigurationError(f"add_dispatch_rule({rule.__name__}): it is no DispatchRule")


def _wanted(
    matches: Callable[..., object], extension: str, number: str, info: Mapping[str, Any]
) -> dict[str, Any]:
    """Those of the arguments that a rule takes: one that asks for extension and number gets no more."""
    given = {**info, "call_info": info, "extension": extension, "number": number}
    takes = inspect.signature(matches).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
        return {name: value for name, value in given.items() if name != "call_info" or name in takes}
    return {name: value for name, value in given.items() if name in takes}


def _name(handler: object) -> str:
    return getattr(handler, "__name__", type(handler).__name__)


def _unknown_option(args: tuple[object, ...], unknown: Mapping[str, object]) -> str:
    if args and callable(args[0]):
        return f"write @route(...) with parentheses above {_name(args[0])}"
    if args:
        return f"route({args[0]!r}): say what it is, route(extension={str(args[0])!r})"
    option = next(iter(unknown))
    near = difflib.get_close_matches(option, _OPTIONS, n=1)
    mend = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_OPTIONS)}"
    return f"route() has no option {option!r}: {mend}"
