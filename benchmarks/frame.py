"""CPU of one duplex 20 ms frame through each Line, against a bare echo of the same packets."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, median, progress

TITLE = "CPU of a duplex 20 ms frame through each Line, with the light VAD, against a bare echo"
GOAL_US = 60.0
FLOORS = (
    ("echo-udp", "bare UDP echo, 172 B"),
    ("echo-websocket", "bare TCP echo, 164 B"),
    ("echo-audiosocket", "bare TCP echo, 323 B"),
)
LINES = (
    ("websocket", "ulaw", "echo-websocket"),
    ("rtp", "ulaw", "echo-udp"),
    ("audiosocket", "slin", "echo-audiosocket"),
    ("websocket-turns", "ulaw", "echo-websocket"),
    ("websocket-silero", "ulaw", "echo-websocket"),
)
DOES = {"websocket-turns": "VAD + turn logic + play", "websocket-silero": "Silero VAD + turn logic + play"}


@dataclass(slots=True)
class Cost:
    """What one kind costs, µs of CPU a frame: the middle, the least and the most of its slices."""

    us: float
    least: float
    most: float
    profile: list[dict[str, object]]


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Measure all kinds one after another, each in processes of its own."""
    lines, slices, seconds = (10, 2, 0.7) if quick else (50, 5, 2.0)
    figures: list[Figure] = []
    floors: dict[str, float] = {}
    for loop in ("asyncio", "uvloop"):
        for kind, name in FLOORS if loop == "uvloop" else FLOORS[:1]:
            progress(f"frame: {name} on {loop}, {lines} sockets")
            cost = await _cost(kind, loop, lines, slices, seconds)
            if loop == "uvloop":
                floors[kind] = cost.least
            figures.append(_figure(f"{name}, {loop}", cost, f"the floor; {cost.least:.1f}–{cost.most:.1f}"))
    for kind, codec, floor in LINES:
        progress(f"frame: {kind} lines on uvloop, {lines} of them")
        goal = None if kind in DOES else GOAL_US
        cost = await _cost(kind, "uvloop", lines, slices, seconds, goal=goal, profile=profile)
        note = f"{cost.least / floors[floor]:.1f} × its bare echo; {cost.least:.1f}–{cost.most:.1f}"
        does = DOES.get(kind, "VAD + play")
        figure = _figure(f"{kind.partition('-')[0]} line, {codec}, {does}, uvloop", cost, note)
        figure.goal = goal
        if kind in DOES:
            figure.note += "; both sides speak all the time, which costs most"
        if kind == "websocket-turns":
            figure.headline = "CPU of a frame both ways, VAD and turn logic"
        figure.details |= {"ratio": cost.least / floors[floor], "lines": lines}
        figure.profile = cost.profile
        figures.append(figure)
    return figures


def _figure(name: str, cost: Cost, note: str) -> Figure:
    details = {"least": cost.least, "most": cost.most}
    return Figure(name, cost.us, "µs CPU a frame", note=note, details=details)


async def _cost(
    kind: str,
    loop: str,
    lines: int,
    slices: int,
    seconds: float,
    *,
    goal: float | None = None,
    profile: bool = False,
) -> Cost:
    async with Child("benchmarks.lines", kind, str(lines), loop) as side:
        await side.ask("measure", seconds=0.5)  # the first frames pay for imports and caches
        measured = [await side.ask("measure", seconds=seconds) for _ in range(slices)]
        for slice_ in measured:
            _check(kind, slice_, lines * seconds * 50)
        costs = [slice_["cpu"] / slice_["frames"] * 1e6 for slice_ in measured]
        found = []
        if profile or (goal is not None and median(costs) > goal):
            found = (await side.ask("profile", seconds=max(1.0, seconds)))["profile"]
    return Cost(median(costs), min(costs), max(costs), found)


def _check(kind: str, measured: dict[str, float], expected: float) -> None:
    """A figure is worth something only when all frames went both ways."""
    for what in ("frames", "returned"):
        if not 0.9 * expected <= measured[what] <= 1.1 * expected:
            raise BenchmarkError(
                f"{kind}: {measured[what]:.0f} frames {what} where {expected:.0f} were due: "
                "the machine was too busy, or the line does not carry them"
            )
    # Silero knows a buzz from a voice; what it costs is the same for both.
    if (
        not kind.startswith("echo")
        and kind != "websocket-silero"
        and measured["voiced"] < 0.5 * measured["frames"]
    ):
        raise BenchmarkError(
            f"{kind}: the VAD took {measured['voiced']:.0f} of {measured['frames']:.0f} for voice"
        )
