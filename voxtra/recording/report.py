"""A call as one page to look at and listen to: HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias
from urllib.parse import quote

from voxtra.errors import CodecError
from voxtra.recording import report_record
from voxtra.recording.peaks import Outline, outline, svg_path

MAX_EMBEDDED_BYTES = 10_000_000
"""A longer recording is not put into the page: it is played from beside it."""
PARTS = ("endpointing", "stt", "llm", "tts", "framework", "wire")
"""What a reply's wait consists of, in order."""
_MEANING = {
    "endpointing": "silence waited for, to be sure the caller has finished",
    "stt": "recognising what was said",
    "llm": "the language model",
    "tts": "speech synthesis, to its first sound",
    "framework": "everything else",
    "wire": "from the line to the first packet on the caller's wire",
}
Heard: TypeAlias = Sequence[tuple[float, Outline]]
"""Recordings to draw: where each begins, ms, and its outline."""
_LANE = 64
_NAMES = {"caller": "Caller", "agent": "Agent"}
_FACTS = (("caller_id", "From"), ("called_number", "To"), ("direction", "Direction"), ("started", "Started"))


def render_report(
    timeline: Mapping[str, Any],
    wav_path: str | PathLike[str] | None = None,
    *,
    shapes: Sequence[tuple[float, Outline]] = (),
) -> str:
    """The page of a call.

    Args:
        timeline: as :meth:`Timeline.to_dict` or :meth:`CallRecord.document` gives it.
        wav_path: the stereo recording; embedded when under 10 MB, else looked for beside the page under the
            same file name. None: a page without sound.
        shapes: recordings that are drawn and not played: where on the axis each begins, ms, and its outline.

    Raises:
        CodecError: the recording can't be read, or is no stereo WAV.
    """
    turns = list(timeline.get("turns", ()))
    heard = [*shapes, *((0.0, each) for each in _look(turns, wav_path))]
    ends = (start + each.duration_ms for start, each in heard)
    length = max([1.0, *ends, *(float(turn["end_ms"]) for turn in turns)])
    call = timeline.get("call") or {}
    title = f"Call {call['id']}" if call.get("id") else "Call"
    body = (
        _head(title, call, turns, length),
        _waves(timeline, turns, heard, length),
        _player(wav_path),
        _conversation(turns),
        _latencies(turns),
        report_record.tools(timeline),
        report_record.recordings(timeline),
        report_record.figures(timeline),
        _happenings(timeline),
    )
    return _page(title, "\n".join(part for part in body if part))


def _look(turns: list[dict[str, Any]], wav_path: str | PathLike[str] | None) -> list[Outline]:
    if wav_path is None:
        return []
    # 16 points a second look good up to four minutes; more than 4,000 nobody can see.
    last = max((float(turn["end_ms"]) for turn in turns), default=0.0)
    return [outline(wav_path, int(min(4000, max(800, last / 60))))]


@cache
def _asset(name: str) -> str:
    return (files("voxtra.recording") / name).read_text("utf-8")


def _page(title: str, body: str) -> str:
    script = _asset("report.js")
    # Nothing a caller said can become a script: only this one, by its hash, may run.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "media-src data: blob: file: 'self'; img-src data:"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_asset('report.css')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _clock(ms: float, *, tenths: bool = False) -> str:
    """0:07, 1:02:07; with ``tenths`` 0:07.3."""
    total = round(ms / 100) if tenths else int(ms / 1000) * 10
    minutes, rest = divmod(total, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest / 10:04.1f}" if tenths else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def _head(title: str, call: Mapping[str, Any], turns: list[dict[str, Any]], length: float) -> str:
    facts = [(label, str(call[key])) for key, label in _FACTS if call.get(key)]
    facts.append(("Length", _clock(length)))
    facts.append(("Turns", str(len(turns))))
    if cut := sum(bool(turn.get("interrupted")) for turn in turns if turn["speaker"] == "agent"):
        facts.append(("Interrupted", str(cut)))
    waits = [turn["latency"]["total"] for turn in turns if (turn.get("latency") or {}).get("total")]
    if waits:
        facts.append(("Median wait", f"{median(waits):.0f} ms"))
    if call.get("ended_by"):
        facts.append(("Ended by", str(call["ended_by"])))
    if call.get("cause"):
        facts.append(("Cause", str(call["cause"])))
    if call.get("outcome"):
        facts.append(("Outcome", str(call["outcome"]).replace("_", " ")))
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<header><h1>{escape(title)}</h1><dl class="facts">{items}</dl></header>'


# -- what is drawn


def _waves(timeline: Mapping[str, Any], turns: list[dict[str, Any]], heard: Heard, length: float) -> str:
    lanes = "".join(
        f'<div class="lane {speaker}">{_spans(turns, speaker, length)}{_shapes(heard, number, length)}</div>'
        for number, speaker in enumerate(_NAMES)
    )
    wide = min(12_000, round(length / 1000 * 9))
    over = "".join((*_marks(timeline, turns, length), *_ticks(length)))
    return (
        '<section class="waves" aria-label="Waveforms"><div class="names"><span class="caller">Caller</span>'
        '<span class="agent">Agent</span></div><div class="scroll" tabindex="0">'
        f'<div class="axis" data-length="{length:.0f}" style="min-width:{wide}px">'
        f'{lanes}{over}<div class="cursor"></div>'
        f"</div></div>{_key(over)}</section>"
    )


def _key(marks: str) -> str:
    """What the marks mean, for those that are there."""
    words = [("mark cut", "× the caller broke in"), ("mark digit", "keys the caller pressed")]
    said = [text for kind, text in words if f'class="{kind}' in marks]
    return f'<p class="note key">{" · ".join(said)}</p>' if said else ""


def _percent(ms: float, length: float) -> str:
    return f"{max(0.0, min(100.0, ms / length * 100)):.3f}%"


def _spans(turns: list[dict[str, Any]], speaker: str, length: float) -> str:
    return "".join(
        f'<i class="span" style="left:{_percent(turn["start_ms"], length)};'
        f'width:{_percent(turn["end_ms"] - turn["start_ms"], length)}"></i>'
        for turn in turns
        if turn["speaker"] == speaker
    )


def _shapes(heard: Heard, lane: int, length: float) -> str:
    return "".join(_shape(start, each, lane, length) for start, each in heard)


def _shape(start_ms: float, heard: Outline, lane: int, length: float) -> str:
    peaks, levels = heard.peaks[lane], heard.levels[lane]
    place = f"left:{_percent(start_ms, length)};width:{_percent(heard.duration_ms, length)}"
    return (
        f'<svg viewBox="0 0 {len(peaks)} {_LANE}" preserveAspectRatio="none" aria-hidden="true" '
        f'style="{place}"><path class="peak" d="{svg_path(peaks, _LANE)}"/>'
        f'<path class="level" d="{svg_path(levels, _LANE)}"/></svg>'
    )


def _marks(timeline: Mapping[str, Any], turns: list[dict[str, Any]], length: float) -> Iterator[str]:
    for turn in turns:
        if turn["speaker"] == "agent" and turn.get("interrupted"):
            yield _mark("cut", "×", turn["end_ms"], length, "the caller broke in")
    for at_ms, keys in _keys(timeline, length / 40):
        yield _mark("digit", keys, at_ms, length, f"keys {keys}")


def _keys(timeline: Mapping[str, Any], within_ms: float) -> list[tuple[float, str]]:
    """The keys pressed; those that follow each other ``within_ms`` as one, at the time of the first."""
    found: list[tuple[float, str]] = []
    last = 0.0
    for digit in timeline.get("digits", ()):
        at_ms, key = float(digit["at_ms"]), str(digit["digit"])
        if found and at_ms - last <= within_ms:
            found[-1] = (found[-1][0], found[-1][1] + key)
        else:
            found.append((at_ms, key))
        last = at_ms
    return found


def _mark(kind: str, text: str, at_ms: float, length: float, says: str) -> str:
    # Near the right edge a mark's words stand on its left.
    side = " left" if at_ms > length * 0.9 else ""
    tip = f"{says} at {_clock(at_ms, tenths=True)}"
    return (
        f'<div class="mark {kind}{side}" style="left:{_percent(at_ms, length)}" title="{escape(tip)}">'
        f"<b>{escape(text)}</b></div>"
    )


def _ticks(length: float) -> Iterator[str]:
    step = next(
        (step for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600) if length / 1000 / step <= 12), 1800
    )
    # In a page that scrolls there is room for more.
    step = min(step, 10) if length > 120_000 else step
    for second in range(0, int(length / 1000) + 1, step):
        left = _percent(second * 1000, length)
        yield f'<span class="tick" style="left:{left}">{_clock(second * 1000)}</span>'


def _player(wav_path: str | PathLike[str] | None) -> str:
    if wav_path is None:
        return ""
    path = Path(wav_path)
    note = ""
    try:
        size = path.stat().st_size
        if size < MAX_EMBEDDED_BYTES:
            source = "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()
        else:
            source = quote(path.name)
            note = (
                f'<p class="note">The recording is {size / 1e6:.0f} MB, too long to be part of this page. '
                f"It is played from <code>{escape(path.name)}</code> in the same folder.</p>"
            )
    except OSError as error:
        raise CodecError(f"can't read the recording {path}: {error.strerror or error}") from error
    return f'<audio controls preload="metadata" src="{escape(source)}"></audio>{note}'


# -- what is read


def _conversation(turns: list[dict[str, Any]]) -> str:
    if not turns:
        return '<section><h2>Conversation</h2><p class="note">Nothing was said.</p></section>'
    return f'<section><h2>Conversation</h2><ol class="turns">{"".join(map(_turn, turns))}</ol></section>'


def _turn(turn: Mapping[str, Any]) -> str:
    speaker = turn["speaker"] if turn["speaker"] in _NAMES else "caller"
    words = escape(str(turn["text"]))
    if rest := unheard(str(turn["text"]), str(turn.get("planned") or "")):
        words += f' <del title="not heard by the caller">{escape(rest)}</del>'
    notes = '<span class="cut">interrupted</span>' if turn.get("interrupted") else ""
    if (total := (turn.get("latency") or {}).get("total")) is not None:
        notes += (
            f'<span class="wait" title="end of the caller\'s speech to first sound">{total:.0f} ms</span>'
        )
    return (
        f'<li class="{speaker}" data-start="{turn["start_ms"]:.0f}" data-end="{turn["end_ms"]:.0f}">'
        f'<button type="button" title="Play from here">{_clock(turn["start_ms"], tenths=True)}</button>'
        f"<div><h3>{_NAMES[speaker]}{notes}</h3><p>{words}</p></div></li>"
    )


def unheard(text: str, planned: str) -> str:
    """The words of ``planned`` that come after those of ``text``; ``""`` when there are none."""
    said, meant = text.split(), planned.split()
    same = 0
    for one, other in zip(said, meant, strict=False):
        if one.strip(".,;:!?…—-").casefold() != other.strip(".,;:!?…—-").casefold():
            break
        same += 1
    return " ".join(meant[same:])


def _latencies(turns: list[dict[str, Any]]) -> str:
    replies = [
        turn for turn in turns if turn["speaker"] == "agent" and (turn.get("latency") or {}).get("total")
    ]
    if not replies:
        return ""
    longest = max(max(turn["latency"]["total"], _sum(turn["latency"])) for turn in replies)
    rows = "".join(_bar(turn, longest) for turn in replies)
    there = [part for part in PARTS if any(part in turn["latency"] for turn in replies)]
    legend = "".join(f'<span title="{_MEANING[part]}"><i class="{part}"></i>{part}</span>' for part in there)
    return (
        "<section><h2>Wait before each reply</h2>"
        "<p class=\"note\">From the end of the caller's speech to the agent's first sound, in ms.</p>"
        f'<div class="legend">{legend}</div><ol class="bars">{rows}</ol></section>'
    )


def _bar(turn: Mapping[str, Any], longest: float) -> str:
    latency = turn["latency"]
    parts = ""
    for part in PARTS:
        ms = float(latency.get(part, 0.0))
        if ms <= 0:
            continue
        label = f"{ms:.0f}" if ms / longest > 0.055 else ""
        parts += (
            f'<i class="{part}" style="width:{_percent(ms, longest)}" title="{part} {ms:.0f} ms">{label}</i>'
        )
    return (
        f'<li data-start="{turn["start_ms"]:.0f}"><button type="button" title="Play from here">'
        f'{_clock(turn["start_ms"], tenths=True)}</button><div class="bar">{parts}</div>'
        f"<output>{latency['total']:.0f} ms</output></li>"
    )


def _sum(latency: Mapping[str, float]) -> float:
    return sum(float(latency.get(part, 0.0)) for part in PARTS)


def _happenings(timeline: Mapping[str, Any]) -> str:
    found = [(at_ms, f"keys {keys}", "") for at_ms, keys in _keys(timeline, 3000)]
    for event in timeline.get("events", ()):
        data = ", ".join(f"{key} {value}" for key, value in (event.get("data") or {}).items())
        found.append((event["at_ms"], str(event["type"]), data))
    if not found:
        return ""
    found.sort(key=lambda entry: entry[0])
    rows = "".join(
        f'<li data-start="{at:.0f}"><button type="button" title="Play from here">{_clock(at, tenths=True)}'
        f"</button><span>{escape(what)}</span> <small>{escape(data)}</small></li>"
        for at, what, data in found
    )
    return f'<section><h2>Keys and events</h2><ol class="events">{rows}</ol></section>'
