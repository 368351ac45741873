"""The command `optsearch verify`."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from programs import zoo
from programs.program import Program, parse

from search.commands.options import RESULTS, ConfigOption, StoreOption, numeric
from search.commands.progress import counting_trainings
from search.commands.terminal import console
from search.evidence.false_merges import SIGMAS, SUSPECT_SEEDS, Verification, sample_pairs, verify
from search.results.results import open_results
from search.settings import limits
from search.settings.meaning import settings_as_trained
from search.settings.settings import Settings
from search.store import BaselineRow, Store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService


def command(
    search: Annotated[str, typer.Option("--search", help="The search whose merged programs are examined.")],
    pairs: Annotated[int, typer.Option(**numeric(limits.PAIRS), help="Number of pairs.")] = 200,
    config: ConfigOption = None,
    store: StoreOption = RESULTS,
) -> None:
    """Train programs that share a fingerprint but not their dataflow, and say how far apart they are."""
    with open_results(store) as results:
        results.require(search)
        results.store.require_writable()
        show_verification(results.store, search, pairs, config)


def show_verification(store: Store, search: str, number: int, config: Path | None = None) -> Verification:
    """Sample and train pairs of a search, and print the result.

    Args:
        store: where the search is.
        search: its name.
        number: of pairs.
        config: its YAML file, if it has user-defined tasks.
    """
    found = store.find_search(search)
    assert found is not None
    settings = settings_as_trained(search, found.settings, config, "verify it where they are what they were")
    pairs = sample_pairs(store, found.id, number)
    service = TrainingService(store, InlineEvaluator(), settings.evaluator.batch, settings.dedup)
    with counting_trainings(service):
        result = verify(pairs, _start(store.baselines(found.id), settings), settings, service)
    _show(result, settings.tasks[0].name)
    return result


def _start(baselines: Mapping[str, BaselineRow], settings: Settings) -> Program:
    """Return the first start program of a search, as tuned where it is a baseline."""
    name = settings.strategy.start[0]
    return parse(baselines[name].genome) if name in baselines else zoo.load(name)


def _show(result: Verification, task: str) -> None:
    differences = sorted(result.differences)
    console.print(f"{result.pairs} pairs that share a key but not their dataflow, both trained on {task}")
    if differences:
        equal = sum(d == 0 for d in differences)
        console.print(
            f"equal to the last bit: {equal}; difference of fitness: median {statistics.median(differences):.2g},"
            f" 99 % below {differences[int(0.99 * (len(differences) - 1))]:.2g}, largest {differences[-1]:.2g}"
        )
    console.print(
        f"suspects (over {SIGMAS:g} standard deviations of seeds apart, {result.threshold:.2g}, or only one trains):"
        f" {result.suspects}; apart beyond their own noise on {SUSPECT_SEEDS} more seeds, which is a false merge:"
        f" {result.false_merges} of {result.pairs}, {result.false_merges / result.pairs:.2%}"
    )
