"""What the documentation tells people to write, type and follow is so."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer
from docs_pages import PAGES, ROOT, Block, blocks

from voxtra import CallSession, EventType, VoxtraApp
from voxtra.cli.root import cli
from voxtra.config import ENVIRONMENT, VoxtraConfig
from voxtra.testing import PhoneCall

ALSO = {"VOXTRA_RETURNED", "VOXTRA_CONFIG", "VOXTRA_LOG_LEVEL", "VOXTRA_ASTERISK"}
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ON_INSTANCES = {"id", "caller_id", "called_number", "direction", "metadata", "app_name", "agent"}
ON_INSTANCES |= {"_event_queue", "_dtmf_queue", "_default_recording_sink"}


def _id(block: Block) -> str:
    return block.place


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLUTCHCALL_CREDENTIALS", "key")


@pytest.mark.parametrize("block", [b for b in blocks("python") if b.run != "program"], ids=_id)
def test_python_is_a_module_that_loads(block: Block) -> None:
    module = types.ModuleType("snippet")
    exec(compile(block.module, block.place, "exec"), module.__dict__)
    app = getattr(module, "app", None)
    assert app is None or isinstance(app, VoxtraApp)


def test_python_names_only_what_there_is(tmp_path: Path) -> None:
    names = {}
    for number, block in enumerate(blocks("python")):
        name = f"snippet_{number}"
        (tmp_path / f"{name}.py").write_text(block.module)
        names[name] = block.place
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, *map(str, sorted(tmp_path.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = re.sub(r"\S*?(snippet_\d+)\.py", lambda found: f"[{names[found[1]]}]", done.stdout)
    assert done.returncode == 0, said + done.stderr


@pytest.mark.parametrize("block", blocks("yaml"), ids=_id)
def test_yaml_is_settings(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "voxtra.yaml"
    file.write_text(block.text)
    wanted = re.findall(r"\$\{(\w+)", block.text)
    VoxtraConfig.load(file=file, env=dict.fromkeys(wanted, "value"))


def _commands() -> list[tuple[str, list[str]]]:
    typed = [(b.place, line) for b in (*blocks("sh"), *blocks("console")) for line in b.text.splitlines()]
    inline = [(page.name, text) for page in PAGES for text in INLINE.findall(page.read_text("utf-8"))]
    return [
        (place, shlex.split(line, comments=True))
        for place, line in typed + inline
        if line.startswith(("voxtra ", "make "))
    ]


def test_commands_and_their_options_exist() -> None:
    found = typer.main.get_command(cli)
    options = {"--help", "--version", "--install-completion", "--show-completion"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for place, (program, name, *rest) in _commands():
        if program == "make":
            assert name in targets, f"{place}: make {name}"
        elif name.startswith("-"):
            assert name in options, f"{place}: voxtra {name}"
        elif name.islower():
            command = found.commands.get(name)  # type: ignore[attr-defined]
            assert command is not None, f"{place}: voxtra {name}"
            known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
            for word in rest:
                assert not word.startswith("-") or word in known | {"--help"}, (
                    f"{place}: voxtra {name} {word}"
                )


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if not path.startswith("http"):
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            assert not anchor or anchor in _anchors(there), target
    for path in re.findall(r"`((?:tests|examples|voxtra|docs|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_text_exist(page: Path) -> None:
    for text in INLINE.findall(page.read_text("utf-8")):
        for variable in re.findall(r"VOXTRA_[A-Z_]+\b", text):
            assert variable in {*ENVIRONMENT, *ALSO}, variable
        for name in re.findall(r"(?<![\w/.])call\.([a-z_]+)", text):
            there = name in ON_INSTANCES or hasattr(CallSession, name) or hasattr(PhoneCall, name)
            assert there or f"call.{name}" in set(EventType) or name in ("wav", "json"), text
        for name in re.findall(r"(?<![\w/.])app\.([a-z_]+)", text):
            assert hasattr(VoxtraApp, name) or name in ("py", "router", "settings", "middlewares"), text
        if dotted := re.fullmatch(r"voxtra((?:\.\w+)+)", text):
            assert _imports(f"voxtra{dotted[1]}"), text


def _imports(name: str) -> bool:
    if name in ("voxtra.yaml",):
        return True
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return hasattr(importlib.import_module(module), attribute)
    return True


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    missing = [page.name for page in PAGES if page.parent.name == "docs" and f"({page.name})" not in index]
    assert missing == ["README.md"]


def test_the_table_of_settings_is_fresh() -> None:
    made = subprocess.run(
        [sys.executable, "-c", "import make_settings as m; print(m.page() == m.PAGE.read_text('utf-8'))"],
        cwd=ROOT / "docs",
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout == "True\n", "run: python docs/make_settings.py"


@pytest.mark.parametrize("heading", ["Queues", "Answering machines"])
def test_the_dialplan_of_the_page_is_the_one_we_run(heading: str) -> None:
    page = (ROOT / "docs" / "asterisk.md").read_text("utf-8")
    said = re.search(rf"^## {heading}\n.*?```ini\n(.*?)```", page, re.DOTALL | re.MULTILINE)
    assert said
    assert said[1] in (ROOT / "asterisk" / "config" / "extensions.conf").read_text("utf-8")
