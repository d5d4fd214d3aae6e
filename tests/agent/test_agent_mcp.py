"""Tools of a real MCP server, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
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


async def test_a_server_that_dies_is_started_again(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n{SERVER}")
    shop = MCPTools(command=[sys.executable, str(program)])
    price = (await shop.tools())[0]
    assert (await price.run({"item": "pears"})).outcome == "done"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    await asyncio.sleep(0.2)
    assert (await price.run({"item": "pears"})).outcome == "error"
    assert (await price.run({"item": "pears"})).text == "1 pears: 3 pounds"
    await shop.close()


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
    for _ in range(2):
        with pytest.raises(SessionError, match="no tool magic"):
            await shop.tools()


async def test_a_call_that_ends_while_the_server_starts_leaves_no_second_one(tmp_path: Path) -> None:
    program = tmp_path / "shop.py"
    program.write_text(f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n{SERVER}")
    before = asyncio.all_tasks()
    shop = MCPTools(command=[sys.executable, str(program)])
    first = asyncio.ensure_future(shop.tools())
    await asyncio.sleep(0.2)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert len(await shop.tools()) == 2
    await shop.close()
    assert (tmp_path / "starts").read_text() == "x"
    assert asyncio.all_tasks() == before


async def test_all_calls_wait_for_the_one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtra.agent.mcp.START_S", 1.0)
    before = asyncio.all_tasks()
    hangs = MCPTools(command=[sys.executable, "-c", "import time; time.sleep(60)"])
    now = asyncio.get_running_loop().time
    began = now()
    results = await asyncio.gather(*(hangs.tools() for _ in range(4)), return_exceptions=True)
    assert now() - began < 3.9  # and not one after the other
    assert [str(each).partition(": ")[2] for each in results] == ["not ready within 1 s"] * 4
    await hangs.close()
    assert asyncio.all_tasks() == before


async def test_a_servers_tool_with_a_name_of_ones_own(shop: MCPTools) -> None:
    def price(item: str) -> str:
        """Ours."""
        return "ours"

    agent = Agent(tools=[price], mcp=[shop])
    with pytest.raises(SessionError, match="two tools are named 'price'"):
        await agent.load_tools()
    assert (await agent.by_name["price"].run({"item": "pears"})).text == "ours"
