"""The parts of a call's page that only its record has: tools, recordings, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

_FIGURES = (
    ("turns_total", "Turns of the caller"),
    ("interruptions", "Interruptions"),
    ("false_interruptions", "of them for nothing"),
    ("backchannels", "Sounds that only made it pause"),
    ("input_tokens", "Tokens read"),
    ("output_tokens", "Tokens written"),
    ("characters", "Characters heard"),
    ("tool_calls", "Tool calls"),
)
_MEDIA = (("transport", "Transport"), ("codec", "Codec"), ("lost", "Frames lost"), ("late", "Frames late"))
_LINKED = ("http", "https", "file")


def tools(record: Mapping[str, Any]) -> str:
    """Tools that were run; "" when there were none."""
    rows = (
        (_clock(tool["at_ms"]), str(tool["name"]), str(tool.get("outcome") or ""), _took(tool.get("ms")))
        for tool in record.get("tools", ())
    )
    return _table("Tools", ("at", "tool", "outcome", "took"), rows)


def recordings(record: Mapping[str, Any]) -> str:
    """Recordings of the call, and where they are; "" when there were none."""
    rows = []
    for each in record.get("recordings", ()):
        seconds = each.get("duration_seconds")
        length = "" if seconds is None else _clock(seconds * 1000)
        where = str(each.get("error") or each.get("uri") or "on its way")
        rows.append((_clock(each["started_ms"]), f"{each['name']}.{each['format']}", length, where))
    return _table("Recordings", ("from", "name", "length", "where"), rows)


def figures(record: Mapping[str, Any]) -> str:
    """The call's figures, those that are not 0."""
    metrics = record.get("metrics") or {}
    media = metrics.get("media") or {}
    found = [(label, metrics[name]) for name, label in _FIGURES if metrics.get(name)]
    found += [(label, media[name]) for name, label in _MEDIA if media.get(name)]
    found += [(f"Errors: {kind}", number) for kind, number in (metrics.get("errors") or {}).items()]
    return _table("Figures", (), [(label, str(value)) for label, value in found])


def _table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = "".join(f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>" for row in rows)
    if not lines:
        return ""
    names = "".join(f"<th>{escape(each)}</th>" for each in head)
    over = f"<thead><tr>{names}</tr></thead>" if names else ""
    return f"<section><h2>{escape(title)}</h2><table>{over}<tbody>{lines}</tbody></table></section>"


def _cell(text: str) -> str:
    shown = escape(text)
    return f'<a href="{shown}">{shown}</a>' if urlsplit(text).scheme in _LINKED and "://" in text else shown


def _clock(ms: float) -> str:
    minutes, seconds = divmod(round(ms / 100) / 10, 60)
    return f"{int(minutes)}:{seconds:04.1f}"


def _took(ms: float | None) -> str:
    return "" if ms is None else f"{ms:.0f} ms"
