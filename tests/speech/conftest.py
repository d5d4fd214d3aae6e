from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prompts() -> Path:
    """Asterisk's own prompts: a human voice with known words."""
    folder = Path(__file__).parents[2] / ".asterisk/root/usr/share/asterisk/sounds/en"
    if not (folder / "agent-alreadyon.wav").is_file():
        pytest.skip("Asterisk's prompts are not here: run make asterisk")
    return folder
