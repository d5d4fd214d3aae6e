"""Whether what became of a scenario is what was expected."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from voxtra.evaluation.played import Check, Played
from voxtra.evaluation.scenario import Expect, ExpectedTool, Range


def checks_of(expect: Expect, played: Played) -> list[Check]:
    """Everything that was expected, and that the caller's script and the app went through."""
    checks = [Check("the call goes as the caller's steps say", not played.failure, played.failure)]
    checks.append(Check("nothing fails in the app", not played.errors, "; ".join(played.errors)))
    checks += _words(expect, played)
    if expect.tools is not None:
        checks.append(_tools(expect.tools, played.tool_calls))
    checks += _end(expect, played)
    checks += _figures(expect, played)
    checks += [Check(f"judged: {v.statement}", v.holds, v.why) for v in played.verdicts]
    return checks


def _words(expect: Expect, played: Played) -> Iterator[Check]:
    for pattern in expect.agent_said:
        yield Check(f"the agent says {pattern!r}", _found(pattern, played.heard), f"it said {played.heard!r}")
    for pattern in expect.agent_did_not_say:
        found = re.search(pattern, played.heard, re.IGNORECASE)
        yield Check(f"the agent does not say {pattern!r}", found is None, f"it said {found and found[0]!r}")
    for pattern in expect.understood:
        there = any(_found(pattern, turn) for turn in played.understood)
        yield Check(f"a turn is understood as {pattern!r}", there, f"turns were {played.understood}")


def _found(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def _tools(expected: tuple[ExpectedTool, ...], calls: list[dict[str, Any]]) -> Check:
    fits = len(expected) == len(calls) and all(map(_fits, expected, calls))
    names = ", ".join(_told(tool.name, tool.arguments) for tool in expected) or "none"
    seen = ", ".join(_told(call["name"], call["arguments"]) for call in calls) or "none"
    return Check(f"tools called: {names}", fits, f"called: {seen}")


def _told(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _fits(expected: ExpectedTool, call: dict[str, Any]) -> bool:
    given = call["arguments"]
    return expected.name == call["name"] and all(
        name in given and _is(value, given[name]) for name, value in expected.arguments.items()
    )


def _is(expected: object, seen: object) -> bool:
    if isinstance(expected, str) and len(expected) > 2 and expected[0] == expected[-1] == "/":
        return re.search(expected[1:-1], str(seen), re.IGNORECASE) is not None
    return expected == seen


def _end(expect: Expect, played: Played) -> Iterator[Check]:
    for name, wanted, seen in (
        ("the call's state", expect.state, played.state),
        ("the call is ended by", expect.ended_by, played.ended_by),
        ("keys", expect.digits, played.digits),
    ):
        if wanted is not None:
            yield Check(f"{name}: {wanted}", wanted == seen, f"it was {seen!r}")
    for name, value in expect.metadata.items():
        there = played.metadata.get(name)
        yield Check(f"metadata {name}: {value!r}", _is(value, there), f"it was {there!r}")


def _figures(expect: Expect, played: Played) -> Iterator[Check]:
    counts: tuple[tuple[str, Range | None, str], ...] = (
        ("turns", expect.turns, "turns_total"),
        ("interruptions", expect.interruptions, "interruptions"),
        ("false interruptions", expect.false_interruptions, "false_interruptions"),
    )
    for name, wanted, key in counts:
        if wanted is not None:
            seen = played.metrics.get(key)
            yield Check(f"{name}: {wanted}", seen in wanted, f"there were {seen}")
    if expect.max_wait_ms is not None:
        wait = played.max_wait_ms
        seen_text = "nobody was answered" if wait is None else f"the longest was {wait:.0f} ms"
        yield Check(
            f"waits of {expect.max_wait_ms:g} ms at most",
            wait is not None and wait <= expect.max_wait_ms,
            seen_text,
        )
    if expect.max_duration_s is not None:
        lasted = played.metrics.get("duration_s", 0.0)
        yield Check(
            f"a call of {expect.max_duration_s:g} s at most",
            lasted <= expect.max_duration_s,
            f"it lasted {lasted:.1f} s",
        )
