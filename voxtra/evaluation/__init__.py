"""Scenarios: callers as files, played against an app, and judged.

:func:`load_scenarios` reads them, :func:`evaluate` plays them; ``voxtra eval`` does both.
"""

from voxtra.evaluation.evaluate import Outcome, evaluate
from voxtra.evaluation.played import Check, Played, Verdict
from voxtra.evaluation.scenario import Scenario, load_scenarios

__all__ = ["Check", "Outcome", "Played", "Scenario", "Verdict", "evaluate", "load_scenarios"]
