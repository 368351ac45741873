"""What is asked: where a population stands, and what programs consist of, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from programs.function_words import kind_of_result, kinds_of_arguments, meaning, written
from programs.layout import Layout
from programs.liveness import states_per_weight
from programs.program import RETURN, SIGNATURE, parse

from search.evolution.history import Known
from search.evolution.islands import Record
from search.settings.baselines import is_program
from search.settings.settings import Settings
from search.settings.tasks import TaskSeeds
from search.store import BaselineRow, ProposalRow

FORM = (
    f"'{SIGNATURE}', then one assignment in each line, then '{RETURN}'. An assignment has one function or operator on"
    " its right, of variables and numbers: a = interp(g, m, 0.9), b = a * lr. w are the weights, g the gradient, m and"
    " v two states that begin at 0 and are kept from step to step, lr the scheduled learning rate between 0 and 1; the"
    " weights become w - update."
)


class Questions:
    """Makes the questions of a search.

    Args:
        settings: of the search.
        tasks: those that it trains on.
        layouts: of their models.
        baselines: as tuned on them.
    """

    def __init__(
        self, settings: Settings, tasks: Sequence[TaskSeeds], layouts: Sequence[Layout],
        baselines: Iterable[BaselineRow],
    ) -> None:  # fmt: skip
        strategy = settings.strategy
        self._layouts = layouts
        self._same = {
            "tasks": [{"name": on.task.name, "steps": on.task.steps} for on in tasks],
            "baselines": [
                {"name": row.name, "fitness": row.fitness, "text": _text(row)}
                for row in sorted(baselines, key=lambda row: row.name)
            ],
            "language": {
                "form": FORM,
                "functions": [
                    {"function": written(op), "arguments": kinds_of_arguments(op), "result": kind_of_result(op),
                     "meaning": meaning(op)}
                    for op in settings.functions
                ],
            },
            "limits": {
                "texts": strategy.proposals.most if strategy.proposals is not None else 0,
                "max_statements": strategy.max_statements,
                "max_states": strategy.max_states,
                "max_live_statements": strategy.max_live_statements,
            },
        }  # fmt: skip

    def about(self, population: int, births: int, known: Known, refused: Iterable[ProposalRow]) -> dict[str, Any]:
        """Return the question about a population.

        Args:
            population: its number.
            births: those drawn so far, of all populations.
            known: what is known of it.
            refused: texts of the last answer about it that were not used.
        """
        return {
            "births": births,
            "population": population,
            "best": [self._described(record) for record in known.best],
            "failed": [{"text": failure.text, "reason": failure.reason} for failure in known.failed],
            "refused": [{"text": row.text, "reason": row.problem} for row in refused],
            **self._same,
        }

    def _described(self, record: Record) -> dict[str, Any]:
        program = record.genome.program
        return {
            "text": program.as_function(),
            "fitness": record.estimate.fitness,
            "standard_error": record.estimate.standard_error,
            "states": states_per_weight(program, self._layouts),
            "statements": len(program),
        }


def _text(row: BaselineRow) -> str | None:
    return parse(row.genome).as_function() if is_program(row.name) else None
