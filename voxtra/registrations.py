"""What a program hangs on its app: handlers, hooks, listeners, middleware."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

from voxtra.agent.agent import Agent
from voxtra.errors import ConfigurationError
from voxtra.events import EventType
from voxtra.exchange import Listeners, Middleware
from voxtra.router import Router, check_async, on_call_is_old

if TYPE_CHECKING:
    from voxtra.session import CallSession

Registered: TypeAlias = "Agent | Callable[[CallSession], Awaitable[Any]]"
"""What an agent's id stands for: an agent, or an async function that is given the call."""
Hook = Callable[[], Any]
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Middleware)


class Registrations:
    """The decorators of :class:`~voxtra.app.VoxtraApp`.

    Attributes:
        router: which handler takes a call.
        middlewares: run around every call's handler, the first one outermost.
        agents: who may be put on a call by id, see :meth:`agent`.
    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self.middlewares: list[Middleware] = []
        self.agents: dict[str, Registered] = {}
        self._startup: list[Hook] = []
        self._shutdown: list[Hook] = []
        self._listeners: Listeners = []

    def route(
        self,
        *args: object,
        extension: str | None = None,
        number: str | None = None,
        name: str = "",
        metadata: Mapping[str, Any] | None = None,
        **unknown: object,
    ) -> Callable[[F], F]:
        """Decorator: the handler of calls to ``extension`` and / or from ``number``; see :class:`Router`."""
        return self.router.route(
            *args, extension=extension, number=number, name=name, metadata=metadata, **unknown
        )

    def default(self, *handlers: Any) -> Callable[[F], F]:
        """Decorator: the handler of calls that nothing else takes."""
        return self.router.default(*handlers)

    default_route = default

    def on_call(self, *args: Any, **options: Any) -> Any:
        """Deprecated: :meth:`route` with options, :meth:`default` without."""
        on_call_is_old()
        if args and callable(args[0]):
            return self.router.default()(args[0])
        return self.router.route(*args, **options) if args or options else self.router.default()

    @overload
    def agent(self, id: str, agent: Agent) -> Agent: ...

    @overload
    def agent(self, id: str) -> Callable[[F], F]: ...

    def agent(self, id: str, agent: Agent | None = None) -> Agent | Callable[[F], F]:
        """Register an agent under the id by which the HTTP API puts it on calls::

            app.agent("billing-bot", Agent(instructions="..."))

            @app.agent("human-queue")
            async def queue(call):
                await call.transfer_to_queue("support")

        Args:
            id: letters, digits, ``_``, ``.`` and ``-``.
            agent: an agent; without one this is a decorator for an async function that takes the call.

        Raises:
            ConfigurationError: the id can't be, or is taken.
        """
        if not isinstance(id, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", id):
            raise ConfigurationError(f"agent({id!r}): letters, digits, '_', '.' and '-', at most 100")
        if id in self.agents:
            raise ConfigurationError(f"agent({id!r}): there is one of this id already")

        def register(function: F) -> F:
            self.agents[id] = _callable("agent", function)
            return function

        if agent is None:
            return register
        if not isinstance(agent, Agent):
            raise ConfigurationError(f"agent({id!r}, {agent!r}): should be an Agent; a function is decorated")
        self.agents[id] = agent
        return agent

    def on_startup(self, hook: F) -> F:
        """Decorator: run once Asterisk is connected, before the first call is taken."""
        self._startup.append(_callable("on_startup", hook))
        return hook

    def on_shutdown(self, hook: F) -> F:
        """Decorator: run when the app stops, after its calls have ended."""
        self._shutdown.append(_callable("on_shutdown", hook))
        return hook

    def on(self, event_type: EventType | str | None = None) -> Callable[[F], F]:
        """Decorator: ``listener(event)`` for the events of all calls; None = of every type.

        A plain function is called on the spot; an async one runs beside the call's handler.
        """
        if callable(event_type):
            raise ConfigurationError("write @app.on() with parentheses, or @app.on(EventType.CALL_ENDED)")
        try:
            wanted = EventType(event_type) if event_type is not None else None
        except ValueError:
            raise ConfigurationError(f"on({event_type!r}): events are {', '.join(EventType)}") from None

        def register(listener: F) -> F:
            self._listeners.append((wanted, _callable("on", listener)))
            return listener

        return register

    def middleware(self, function: M) -> M:
        """Decorator: ``async def around(call, next)`` runs around every handler; ``await next(call)``."""
        self.middlewares.append(check_async("middleware", function, "call, next"))
        return function


def _callable(where: str, function: F) -> F:
    if not callable(function):
        raise ConfigurationError(f"@app.{where}: {function!r} is no function")
    return function
