"""The command `optsearch verify`."""

from __future__ import annotations

import statistics
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from programs import zoo
from programs.errors import InputError
from programs.program import Program, parse

from search.commands.options import RESULTS, StoreOption
from search.commands.progress import counting_trainings
from search.commands.terminal import console
from search.evidence.false_merges import SIGMAS, SUSPECT_SEEDS, Verification, sample_pairs, verify
from search.results.lookup import require_search
from search.settings.settings import Settings
from search.settings.settings_file import load_settings, stored_settings
from search.store import Store, open_store
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService


def command(
    search: Annotated[str, typer.Option("--search", help="The search whose merged programs are examined.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of pairs.")] = 200,
    config: Annotated[
        Path | None, typer.Option(help="Its YAML file: needed only where that names functions of your own.")
    ] = None,
    store: StoreOption = RESULTS,
) -> None:
    """Train programs that share a fingerprint but not their dataflow, and say how far apart they are."""
    settings = load_settings(config) if config else None
    with closing(open_store(store)) as database:
        require_search(database, search)
        show_verification(database, search, pairs, settings)


def show_verification(store: Store, search: str, number: int, settings: Settings | None = None) -> Verification:
    """Sample pairs, train them, and print the result; with the search's stored settings unless some are given."""
    found = store.find_search(search)
    assert found is not None
    search_id, data = found
    if settings is not None and data["tasks"] != settings.model_dump(mode="json")["tasks"]:
        raise InputError(
            f"--config: its tasks are not those of search '{search}'; give the config that search was run with"
        )
    settings = settings or stored_settings(data, search)
    pairs = sample_pairs(store, search_id, number)
    service = TrainingService(store, InlineEvaluator(), settings.evaluator.batch, settings.dedup)
    with counting_trainings(service):
        result = verify(pairs, _start(store, search_id, settings), settings, service)
    apart = sorted(result.differences)
    console.print(
        f"{result.pairs} pairs that share a key but not their dataflow, both trained on {settings.tasks[0].name}"
    )
    if apart:
        equal = sum(d == 0 for d in apart)
        console.print(
            f"equal to the last bit: {equal}; difference of fitness: median {statistics.median(apart):.2g},"
            f" 99 % below {apart[int(0.99 * (len(apart) - 1))]:.2g}, largest {apart[-1]:.2g}"
        )
    console.print(
        f"suspects (over {SIGMAS:g} standard deviations of seeds apart, {result.threshold:.2g}, or only one trains):"
        f" {result.suspects}; apart beyond their own noise on {SUSPECT_SEEDS} more seeds, which is a false merge:"
        f" {result.false_merges} of {result.pairs}, {result.false_merges / result.pairs:.2%}"
    )
    return result


def _start(store: Store, search_id: int, settings: Settings) -> Program:
    name = settings.strategy.start
    baselines = store.baselines(search_id)
    return parse(baselines[name].genome) if name in baselines else zoo.load(name)
