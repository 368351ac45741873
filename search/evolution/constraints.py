"""How large programs of a search may be: what is larger is not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from programs import zoo
from programs.errors import InputError
from programs.layout import Layout
from programs.liveness import live_statements, states_per_weight
from programs.program import Program

from search.settings.settings import Settings, Strategy
from search.settings.tasks import TaskSeeds


class Constraints(NamedTuple):
    """The most states and live statements of a program, None for any number; `layouts` are those of the models."""

    layouts: Sequence[Layout] = ()
    states: float | None = None
    live_statements: int | None = None

    def broken_by(self, program: Program) -> str | None:
        """Return the reason not to train a program; the same words for all that a constraint forbids."""
        if self.states is not None and states_per_weight(program, self.layouts) > self.states:
            return f"more states than strategy.max_states: {self.states:g}"
        if self.live_statements is not None and len(live_statements(program)) > self.live_statements:
            return f"more live statements than strategy.max_live_statements: {self.live_statements}"
        return None


def constraints_of(strategy: Strategy, tasks: Sequence[TaskSeeds]) -> Constraints:
    """Return the constraints of a search on these tasks, which are loaded."""
    layouts = [on.task.load()[1].layout for on in tasks]
    return Constraints(layouts, strategy.max_states, strategy.max_live_statements)


def check_starts(settings: Settings) -> None:
    """Refuse a search whose start programs are larger than its programs may be.

    Raises:
        InputError: names the start, and what forbids it.
    """
    strategy = settings.strategy
    if strategy.kind == "random" or (strategy.max_states is None and strategy.max_live_statements is None):
        return
    constraints = constraints_of(strategy, settings.task_seeds)
    for name in strategy.start:
        program = zoo.load(name)
        if (reason := constraints.broken_by(program)) is not None:
            raise InputError(
                f"strategy.start: '{name}' has {reason} (it keeps {states_per_weight(program, constraints.layouts):.3g}"
                f" for each weight, and {len(live_statements(program))} of its statements are live)"
            )
