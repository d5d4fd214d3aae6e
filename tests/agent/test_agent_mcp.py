"""Tools of a real MCP server, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from voxtra.agent.agent import Agent
from voxtra.agent.mcp import MCPTools
from voxtra.errors import ConfigurationError, SessionError

SERVER = '''
from mcp.server import MCPServer

server = MCPServer("shop")

@server.tool()
def price(item: str, count: int = 1) -> str:
    """What items cost."""
    if item == "moon":
        raise ValueError("not for sale")
    return f"{count} {item}: {count * 3} pounds"

@server.tool()
def secret() -> str:
    """Not for everybody."""
    return "secret"

server.run("stdio")
'''


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[MCPTools]:
    program = tmp_path / "shop.py"
    program.write_text(SERVER)
    tools = MCPTools(command=[sys.executable, str(program)], only=["price"])
    yield tools
    await tools.close()


async def test_a_servers_tools_are_an_agents(shop: MCPTools) -> None:
    agent = Agent(mcp=[shop])
    await agent.load_tools()
    assert list(agent.by_name) == ["price"]
    schema = agent.by_name["price"].schema["function"]
    assert schema["description"] == "What items cost."
    assert schema["parameters"]["required"] == ["item"]
    price = agent.by_name["price"]
    assert (await price.run({"item": "pears", "count": 2})).text == "2 pears: 6 pounds"
    wrong = await price.run({"item": "moon"})
    assert (wrong.outcome, "Error executing" in wrong.text) == ("error", True)


async def test_a_server_that_is_lost_is_started_again(shop: MCPTools) -> None:
    price = (await shop.tools())[0]
    await shop.close()
    assert (await price.run({"item": "pears"})).text == "1 pears: 3 pounds"


async def test_what_can_not_be() -> None:
    for wrong in ({}, {"command": ["a"], "url": "http://x"}, {"command": "python server.py"}):
        with pytest.raises(ConfigurationError, match="MCPTools"):
            MCPTools(**wrong)  # type: ignore[arg-type]
    for command in (["/no/such/program"], [sys.executable, "-c", "pass"]):
        tools = MCPTools(command=command)
        with pytest.raises(SessionError, match="MCP server"):
            await tools.tools()
        await tools.close()


async def test_a_tool_that_is_not_there(shop: MCPTools) -> None:
    shop._only = {"magic"}
    with pytest.raises(SessionError, match="no tool magic"):
        await shop.tools()
