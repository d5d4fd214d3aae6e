from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prompts() -> Path:
    """Asterisk's own prompts: a human voice with known words."""
    folder = Path(__file__).parents[2] / ".asterisk/root/usr/share/asterisk/sounds/en"
    if not (folder / "agent-alreadyon.wav").is_file():
        pytest.skip("Asterisk's prompts are not here: run make asterisk")
    return folder


@pytest.fixture
async def llm(request, server):
    """The language model that the test's module makes (``made``), with its own deadlines."""
    model = request.module.made(server)
    yield model
    await model.close()


@pytest.fixture
async def hasty(request, server):
    """The same, that does not wait long for an answer to begin."""
    model = request.module.made(server, first_timeout_s=0.3)
    yield model
    await model.close()


@pytest.fixture
async def impatient(request, server):
    """The same, that does not wait long for an answer to go on."""
    model = request.module.made(server, idle_timeout_s=0.3)
    yield model
    await model.close()
