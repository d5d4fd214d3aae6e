"""The pages of the documentation: their code blocks, commands, links and the names they claim."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(
    r"(?:<!-- run: (?P<run>[^\n]+?) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_HEAD = """\
from voxtra import CallSession, VoxtraApp
from voxtra.ari import ARIClient
{imports}
async def _fragment({call}app: VoxtraApp, ari: ARIClient) -> None:
{body}
"""
_VOICE_HEAD = """\
from voxtra.voice import AudioBridge, Call, Voice
{imports}
def _fragment(v: Voice, {call}bridge: AudioBridge) -> None:
{body}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        place: page and line.
        kind: its language.
        text: what stands in it.
        run: how it is run for real, by ``<!-- run: live; say: Hello; hangup -->`` before the fence: ``live``
            (an app), ``program`` (a process) or ``test`` (a function ``test_*``); "" when it isn't.
        steps: what the caller does then, ``(("say", "Hello"), ("hangup", ""))``.
    """

    place: str
    kind: str
    text: str
    run: str
    steps: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str:
        """The block as a module: what awaits at the top is put into a handler of its own."""
        voice = self.place.startswith("docs/voice.md") and " = Voice(" not in self.text
        if not (
            self._awaits() or (voice and re.search(r"\bv\.", self.text) and "AsyncVoice" not in self.text)
        ):
            return self.text
        tree = ast.parse("async def f():\n" + textwrap.indent(self.text, " "))
        lines = self.text.splitlines()
        function = tree.body[0]
        assert isinstance(function, ast.AsyncFunctionDef)
        moved = {
            line
            for node in function.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for line in range(node.lineno - 2, (node.end_lineno or node.lineno) - 1)
        }
        imports = "\n".join(lines[line] for line in sorted(moved))
        body = "\n".join(line for number, line in enumerate(lines) if number not in moved)
        call = "" if "call = " in body else "call: CallSession, "
        if voice:
            call = "" if "call = " in body else "call: Call, "
            return _VOICE_HEAD.format(imports=imports, call=call, body=textwrap.indent(body, "    "))
        return _HEAD.format(imports=imports, call=call, body=textwrap.indent(body, "    "))

    def _awaits(self) -> bool:
        try:
            compile(self.text, self.place, "exec")
        except SyntaxError:
            compile(self.text, self.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            return True
        return "call." in self.text and "CallSession" not in self.text


def blocks(kind: str) -> list[Block]:
    """All blocks of a language, in order."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for match in _FENCE.finditer(text):
            if match["kind"] == kind:
                place = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start('text')) + 1}"
                run, *steps = [step.strip() for step in (match["run"] or "").split(";")]
                split = tuple(
                    (name.strip(), value.strip()) for name, _, value in (s.partition(":") for s in steps)
                )
                found.append(Block(place, kind, match["text"], run, split))
    return found
