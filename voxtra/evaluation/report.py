"""Outcomes as a table of text, as JSON, and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from voxtra.evaluation.evaluate import Outcome
from voxtra.metrics.call import OWNERS


def figures(outcome: Outcome) -> list[str]:
    """The few figures a line has room for."""
    metrics = outcome.played.metrics
    if not metrics:
        return []
    found = [f"{metrics['duration_s']:.1f} s", _counted(metrics["turns_total"], "turn")]
    wait = outcome.played.max_wait_ms
    if wait is not None:
        found.append(f"wait {wait:.0f} ms")
    if metrics["interruptions"]:
        found.append(f"cut {metrics['interruptions']}")
    return found


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def as_lines(outcome: Outcome) -> Iterator[str]:
    """One line when all is well; what is wrong and the conversation when it isn't."""
    name = outcome.scenario.name
    yield f"  {'pass' if outcome.passed else 'FAIL'}  {name:<44}  {'  '.join(figures(outcome))}".rstrip()
    if outcome.passed:
        return
    for check in outcome.checks:
        if not check.holds:
            yield f"        {check.what}: {check.seen}"
    for line in outcome.played.lines:
        cut = f" -- {line.cut}" if line.cut else ""
        yield f"        {line.start_s:8.2f}  {line.speaker}: {line.text}{cut}"
    if outcome.played.understood:
        yield f"        understood: {outcome.played.understood}"


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many passed."""
    failed = sum(not outcome.passed for outcome in outcomes)
    took = sum(outcome.took_s for outcome in outcomes)
    which = "scenario" if len(outcomes) == 1 else "scenarios"
    return f"{len(outcomes)} {which}, {len(outcomes) - failed} passed, {failed} failed, in {took:.1f} s"


def as_json(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All there is."""
    return {"ok": all(o.passed for o in outcomes), "scenarios": [o.to_dict() for o in outcomes]}


@cache
def _style() -> str:
    return (files("voxtra.evaluation") / "report.css").read_text("utf-8")


def as_page(outcomes: Sequence[Outcome]) -> str:
    """A page of HTML that needs nothing but itself and runs no script."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    longest = max((o.played.max_wait_ms or 0.0 for o in outcomes), default=0.0) or 1.0
    ordered = sorted(outcomes, key=lambda outcome: outcome.passed)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Scenarios</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>Scenarios</h1>\n<p class="note">{escape(summary(outcomes))}</p>\n'
        + "\n".join(_section(outcome, longest) for outcome in ordered)
        + f"\n{_legend()}\n</main>\n</body>\n</html>\n"
    )


def _section(outcome: Outcome, longest: float) -> str:
    word = "pass" if outcome.passed else "fail"
    said = " ".join(filter(None, (outcome.scenario.about, str(outcome.scenario.line))))
    about = f'<p class="note">{escape(said)}</p>' if said else ""
    return (
        f"<details{'' if outcome.passed else ' open'}><summary><span class='{word}'>{word}</span>"
        f"<b>{escape(outcome.scenario.name)}</b>"
        f"<small>{escape(' · '.join(figures(outcome)))}</small></summary>"
        f'<div class="body">{about}<ul>{"".join(_checks(outcome))}</ul>'
        f'<ul class="talk">{"".join(_talk(outcome))}</ul>{_understood(outcome)}'
        f"{''.join(_waits(outcome, longest))}</div></details>"
    )


def _checks(outcome: Outcome) -> Iterator[str]:
    for check in outcome.checks:
        sign, word = ("✓", "pass") if check.holds else ("✗", "fail")
        seen = f": {check.seen}" if not check.holds and check.seen else ""
        yield f'<li><span class="{word}">{sign}</span> {escape(check.what + seen)}</li>'


def _talk(outcome: Outcome) -> Iterator[str]:
    for line in outcome.played.lines:
        cut = f' <small class="fail">{escape(line.cut)}</small>' if line.cut else ""
        yield (
            f'<li><span class="note">{line.start_s:.2f} s</span><span class="{escape(line.speaker)}">'
            f"{escape(line.speaker)}</span><span>{escape(line.text)}{cut}</span></li>"
        )


def _understood(outcome: Outcome) -> str:
    turns = outcome.played.understood
    if not turns:
        return ""
    told = " · ".join(turns)
    return f'<p class="note">understood: {escape(told)}</p>'


def _waits(outcome: Outcome, longest: float) -> Iterator[str]:
    for turn in outcome.played.metrics.get("turns", ()):
        wait = turn["wait"]
        if wait:
            parts = "".join(
                f'<i style="width:{wait[owner] / longest * 85:.2f}%;background:var(--{owner})" '
                f'title="{owner} {wait[owner]:.0f} ms"></i>'
                for owner in OWNERS
                if wait.get(owner)
            )
            total = f"{wait['total']:.0f} ms"
            yield f'<div class="bar" role="img" aria-label="{total}">{parts}<small>{total}</small></div>'


def _legend() -> str:
    names = "".join(f'<span style="--tone:var(--{owner})">{owner}</span>' for owner in OWNERS)
    return f'<div class="legend">{names}</div>'
