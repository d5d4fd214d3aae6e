"""``voxtra eval``: scenarios played against an app, and judged."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from voxtra.cli import options
from voxtra.cli.complain import EXIT_FAILED, EXIT_OK
from voxtra.cli.target import load_app
from voxtra.errors import ConfigurationError

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.config import LLMConfig
    from voxtra.evaluation import Outcome, Scenario
    from voxtra.evaluation.live import LivePlayer
    from voxtra.speech.base import LLM

_PAGE = "index.html"


def command(
    scenarios: Annotated[
        list[Path], typer.Argument(metavar="SCENARIOS...", help="YAML files, or folders of them.")
    ],
    app: Annotated[
        str | None,
        typer.Option(
            "--app", metavar="APP", help="The app of scenarios that name none, as MODULE:ATTRIBUTE."
        ),
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            "--llm",
            metavar="PROVIDER[:MODEL]",
            help="The model that plays personas and judges [default: the settings' llm].",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Real calls: a private Asterisk, synthesised speech, real time.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="DIR", help=f"Write a page, DIR/{_PAGE}.", show_default=False),
    ] = None,
    debug: options.DebugOption = False,
) -> int:
    """Play callers of scenario files against an app, in text and in no time, and check what became of it.

    Exit code 0 when every scenario passes, 1 when one fails, 2 when a file or an app can't be.

    \b
    Examples:
      voxtra eval examples/scenarios
      voxtra eval tests/calls --app app:app --html build/eval
      voxtra eval examples/scenarios/live --live
      voxtra eval angry_customer.yaml --llm openai:gpt-5-mini
    """
    from voxtra.evaluation import evaluate, load_scenarios
    from voxtra.evaluation.play import play_text
    from voxtra.evaluation.report import as_json as told
    from voxtra.evaluation.report import as_lines, as_page, summary
    from voxtra.recording.timeline import save_text

    if debug:
        logging.basicConfig(level=logging.DEBUG)
    else:
        logging.getLogger("voxtra").addHandler(logging.NullHandler())  # the report says it all
    found = load_scenarios(scenarios)

    def show(outcome: Outcome) -> None:
        if not as_json:
            for line in as_lines(outcome):
                typer.echo(line)

    with contextlib.ExitStack() as stack:
        play = stack.enter_context(_live_player()) if live else play_text
        outcomes = evaluate(found, _Apps(app), make_llm=_model(found, llm), play=play, done=show)
    if html is not None:
        save_text(html / _PAGE, as_page(outcomes))
    if as_json:
        typer.echo(json.dumps(told(outcomes), indent=2, ensure_ascii=False, default=str))
    else:
        typer.echo(f"\n{summary(outcomes)}")
        if html is not None:
            typer.echo(f"{html / _PAGE} has all of it")
    return EXIT_OK if all(outcome.passed for outcome in outcomes) else EXIT_FAILED


def _live_player() -> LivePlayer:
    from voxtra.evaluation.live import LivePlayer

    return LivePlayer()


class _Apps:
    """The apps that scenarios call, each loaded once."""

    def __init__(self, default: str | None) -> None:
        self._default = default
        self._loaded: dict[str, VoxtraApp] = {}

    def __call__(self, scenario: Scenario) -> VoxtraApp:
        target = _place(scenario) or self._default
        if target is None:
            raise ConfigurationError(f"{scenario.file}: no app: write  app: app.py:app  or give --app")
        if target not in self._loaded:
            self._loaded[target] = load_app(target)
        return self._loaded[target]


def _place(scenario: Scenario) -> str:
    """The app a scenario names; a file is looked for beside the scenario, then here."""
    path, colon, attribute = scenario.app.rpartition(":")
    if colon and path.endswith(".py") and scenario.file is not None:
        beside = scenario.file.parent / path
        if beside.is_file():
            return f"{beside}:{attribute}"
    return scenario.app


def _model(scenarios: list[Scenario], named: str | None) -> Callable[[], LLM] | None:
    """What makes the model for personas and judges; None when no scenario wants one."""
    if not any(scenario.wants_model for scenario in scenarios):
        return None
    from voxtra.config import LLMConfig
    from voxtra.speech.base import LLM
    from voxtra.speech.local import load_as

    config: LLMConfig | None
    if named is not None:
        provider, _, model = named.partition(":")
        if not provider:
            raise ConfigurationError(
                f"--llm {named!r}: write PROVIDER or PROVIDER:MODEL, as in openai:gpt-5-mini"
            )
        config = LLMConfig(provider=provider, model=model or None)
    else:
        config = options.load_settings(None, {}).llm
    if config is None:
        return None
    return lambda: load_as(LLM, config)
