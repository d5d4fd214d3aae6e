"""Tools of MCP servers (Model Context Protocol), by the official ``mcp`` package."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from voxtra.agent.tools import Tool
from voxtra.errors import CallError, ConfigurationError, MissingExtraError, SessionError

log = logging.getLogger("voxtra.agent")

START_S = 30.0
"""How long a server may take to start and list its tools."""
PING_S = 2.0
"""How long a server may take to say that it is there, after a tool of it failed."""


class MCPTools:
    """The tools of one MCP server; shared by all calls.

    ``Agent(mcp=[MCPTools(command=["uvx", "mcp-server-time"])])``. The server is started, or connected to,
    when it is first needed, and again after it was lost.

    Args:
        command: program and arguments of a server that speaks over stdin and stdout.
        url: of a server that speaks streamable HTTP. Exactly one of the two.
        env: environment variables of the program.
        only: names of the tools to be offered; empty = all.
        timeout_s: how long a call of a tool may take.

    Raises:
        ConfigurationError: neither or both of command and url.
        MissingExtraError: ``voxtra[mcp]`` is not installed.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] = (),
        url: str = "",
        env: Mapping[str, str] | None = None,
        only: Sequence[str] = (),
        timeout_s: float = 30.0,
    ) -> None:
        if bool(command) == bool(url):
            raise ConfigurationError("MCPTools: give command=[...] or url=, one of the two")
        if isinstance(command, str):
            raise ConfigurationError(f"MCPTools(command={command!r}): a list, like {command.split()!r}")
        try:
            import mcp
        except ImportError:
            raise MissingExtraError("the MCP client", "mcp") from None
        self._library: Any = mcp
        self._command = list(command)
        self._url = url
        self._env = dict(env or {})
        self._only = set(only)
        self._timeout_s = timeout_s
        self._name = url or command[0]
        self._keeper: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Any] | None = None
        self._session: Any = None
        self._stop = asyncio.Event()
        self._tools: list[Tool] = []
        self._listed = False  # they are those of the session there is

    async def tools(self) -> list[Tool]:
        """The server's tools; connects when it isn't connected.

        Raises:
            SessionError: the server did not start, or lacks a tool of ``only``.
        """
        if not self._listed:
            await self._start()
        return self._tools

    async def _start(self) -> None:
        if self._ready is None or self._keeper is None or self._keeper.done():
            loop = asyncio.get_running_loop()
            self._ready = ready = loop.create_future()
            self._stop = asyncio.Event()
            # the SDK's contexts have to be left by the task that entered them: so one task keeps them
            self._keeper = asyncio.ensure_future(self._keep(ready))
            late = loop.call_later(START_S, self._late, ready, self._keeper)
            ready.add_done_callback(lambda _: late.cancel())
        # all calls wait for the one start; a call that ends meanwhile leaves it to the others
        listed = await asyncio.shield(self._ready)
        self._tools = [self._tool(each) for each in listed if not self._only or each.name in self._only]
        missing = self._only - {tool.name for tool in self._tools}
        if missing:
            await self.close()
            raise SessionError(f"MCP server {self._name} has no tool {', '.join(sorted(missing))}")
        self._listed = self._session is not None

    def _late(self, ready: asyncio.Future[Any], keeper: asyncio.Task[None]) -> None:
        if not ready.done():
            ready.set_exception(SessionError(f"MCP server {self._name}: not ready within {START_S:g} s"))
            keeper.cancel()

    async def _keep(self, ready: asyncio.Future[Any]) -> None:
        own = None
        try:
            async with self._streams() as (read, write), self._library.ClientSession(read, write) as session:
                await session.initialize()
                listed = (await session.list_tools()).tools
                self._session = own = session
                if not ready.done():
                    ready.set_result(listed)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - whatever is raised there becomes one of ours
            if not ready.done():
                ready.set_exception(SessionError(f"MCP server {self._name}: {_reason(error)}"))
            else:
                log.warning("MCP server %s is lost: %s", self._name, _reason(error))
        finally:
            if self._session is own:  # not another that was started meanwhile
                self._session = None
                self._listed = False
            if not ready.done():
                ready.set_exception(SessionError(f"MCP server {self._name} was closed before it was ready"))

    @contextlib.asynccontextmanager
    async def _streams(self) -> AsyncIterator[tuple[Any, Any]]:
        if self._url:
            from mcp.client.streamable_http import streamable_http_client

            async with streamable_http_client(self._url) as streams:
                yield streams[0], streams[1]
            return
        from mcp.client.stdio import StdioServerParameters, stdio_client

        parameters = StdioServerParameters(
            command=self._command[0], args=self._command[1:], env=self._env or None
        )
        async with stdio_client(parameters) as (read, write):
            yield read, write

    def _tool(self, listed: Any) -> Tool:
        async def run(**arguments: Any) -> str:
            return await self._call(listed.name, arguments)

        return RemoteTool(run, listed, self._timeout_s)

    async def _call(self, name: str, arguments: dict[str, Any]) -> str:
        await self.tools()
        session = self._session
        if session is None:
            raise CallError(f"MCP server {self._name} is lost")
        try:
            result = await session.call_tool(name, arguments)
        except Exception as error:
            if not await self._lives(session) and session is self._session:
                log.warning("MCP server %s is lost: %s", self._name, _reason(error))
                await self.close()  # the next call starts it again; this one may have been carried out
            raise CallError(_reason(error)) from error
        text = "\n".join(part.text for part in result.content if getattr(part, "text", None))
        if getattr(result, "is_error", False) or getattr(result, "isError", False):
            raise CallError(text or "the server reports an error")
        return text or "Done."

    @staticmethod
    async def _lives(session: Any) -> bool:
        try:
            async with asyncio.timeout(PING_S):
                await session.send_ping()
        except Exception:  # noqa: BLE001 - whatever its connection raises: it does not answer
            return False
        return True

    async def close(self) -> None:
        """End the server, or the connection to it. Idempotent."""
        self._stop.set()
        if self._keeper is not None:
            keeper, self._keeper = self._keeper, None
            done, _ = await asyncio.wait({keeper}, timeout=5)
            if not done:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)


class RemoteTool(Tool):
    """A tool whose schema and work are a server's."""

    def __init__(self, run: Any, listed: Any, timeout_s: float) -> None:
        self._schema: dict[str, Any] = getattr(listed, "input_schema", None) or getattr(
            listed, "inputSchema", {}
        )
        super().__init__(
            run, name=listed.name, description=listed.description or listed.name, timeout_s=timeout_s
        )

    def _model(self) -> Any:
        return dict  # the server checks its arguments itself

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the form that chat models take."""
        function = {"name": self.name, "description": self.description, "parameters": self._schema}
        return {"type": "function", "function": function}

    def _values(self, arguments: dict[str, Any], call: object) -> dict[str, Any]:
        return dict(arguments)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return str(error) or type(error).__name__
