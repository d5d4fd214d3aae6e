"""What a program hangs on its app: handlers, hooks, listeners, middleware."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from voxtra.errors import ConfigurationError
from voxtra.events import EventType
from voxtra.exchange import Listeners, Middleware
from voxtra.router import Router, on_call_is_old

Hook = Callable[[], Any]
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Middleware)


class Registrations:
    """The decorators of :class:`~voxtra.app.VoxtraApp`.

    Attributes:
        router: which handler takes a call.
        middlewares: run around every call's handler, the first one outermost.
    """

    def __init__(self, router: Router) -> None:
        self.router = router
        self.middlewares: list[Middleware] = []
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
        self.middlewares.append(_callable("middleware", function))
        return function


def _callable(where: str, function: F) -> F:
    if not callable(function):
        raise ConfigurationError(f"@app.{where}: {function!r} is no function")
    return function
