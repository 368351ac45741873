"""The command `optsearch select`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from programs.errors import InputError
from programs.program import parse

from search.commands.options import SetOption, allow_user_modules
from search.commands.progress import counting_trainings
from search.commands.terminal import console, show_table
from search.evidence.funnel import Entrant, OnTask, Result, run_stage
from search.settings.funnel import Funnel, Stage
from search.settings.settings_file import SettingsFile, stored_settings
from search.store import NoiseRow, SelectionRow, Store
from search.store.encoding import clean_number
from search.store.proofs import set_noise
from search.training.service import TrainingService
from search.training.session import interrupt, on_signals, opened
from search.training.statistics import Difference
from search.training.tuning import measure_noise


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of a funnel, such as configs/funnels/quickstart.yaml.")],
    set_: SetOption = None,
    until: Annotated[int | None, typer.Option(metavar="STAGE", help="End after this stage; they count from 1.")] = None,
) -> None:
    """Take a search's best through a funnel: larger tasks, equal tuning, fresh seeds, against tuned baselines."""
    allow_user_modules()
    select(config, set_ or [], until)


def select(config: Path, overrides: list[str], until: int | None = None) -> list[int]:
    """Run a funnel, or go on with it, and print what came of every stage; the IDs of the programs that passed all.

    Args:
        config: settings of the funnel.
        overrides: of settings.
        until: the last stage to run, from 1; all without it.

    Raises:
        InputError: the settings make no sense, or there is no such search.
        StoreError: the store can no longer be written.
    """
    file = SettingsFile(config, overrides)
    funnel = file.read(Funnel)
    last = len(funnel.stages)
    if until is not None and not 1 <= until <= last:
        raise InputError(f"{config}: no stage {until}; its stages are 1 to {last}")
    for stage in funnel.stages:
        for choice in stage.tasks:
            choice.task.load()
    with opened(funnel.store, funnel.evaluator) as (store, evaluator), on_signals(interrupt):
        found = store.find_search(funnel.search)
        if found is None:
            names = ", ".join(row["name"] for row in store.rows("SELECT name FROM search ORDER BY id")) or "none yet"
            raise InputError(f"{config}: search: no search '{funnel.search}' in {store.location}; there are: {names}")
        dedup = stored_settings(found[1], funnel.search).dedup
        service = TrainingService(store, evaluator, funnel.evaluator.batch, dedup)
        with counting_trainings(service):
            entrants = _run_stages(funnel, until, store, service)
        console.print(f"{service.trained} trainings in this run; all results are in v_funnel of {store.location}")
    stages = "all stages" if until in (None, last) else f"stages 1 to {until} of {last}"
    if entrants:
        console.print(f"passed {stages}: {', '.join(entrant.name for entrant in entrants)}")
    else:
        console.print(f"no program is ahead of the best baseline through {stages}")
    return [entrant.program_id for entrant in entrants]


def _run_stages(funnel: Funnel, until: int | None, store: Store, service: TrainingService) -> list[Entrant]:
    """Run the stages one after another; return the programs that passed all of them, best first."""
    entrants, examined = _entrants(store, funnel)
    for place, stage in enumerate(funnel.stages[:until], start=1):
        if not entrants:
            break
        results = run_stage(
            place, stage, entrants, funnel.baselines, service, examined, lambda text: console.print(text)
        )
        store.set_selection(funnel.name, funnel.search, place, _rows(results, len(funnel.stages)))
        set_noise(store, _noise(stage, results, service))
        _show(place, results)
        passed = [result.program_id for result in results if result.passed]
        entrants = [entrant for entrant in entrants if entrant.program_id in passed]
        entrants.sort(key=lambda entrant: passed.index(entrant.program_id))
    return entrants


def _entrants(store: Store, funnel: Funnel) -> tuple[list[Entrant], int]:
    """Return the best distinct programs of the search, and how many programs it has compared."""
    query = "SELECT id, genome, fitness, rounds, variance FROM v_leaderboard WHERE search = :search"
    rows = store.rows(query, search=funnel.search)
    if not rows:
        raise InputError(f"search '{funnel.search}' has no program that trained well; `optsearch failures` says why")
    best = by_lower_bound(rows)[: funnel.enter]
    entrants = [Entrant(row["id"], parse(row["genome"], f"program {row['id']} in {store.location}")) for row in best]
    return entrants, len(rows)


def by_lower_bound(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows by fitness less its standard error, highest first: the best of many programs trained once is lucky.

    The variance of a round is the median over the programs that have several rounds, since some variances are extreme;
    where there is none, fitness decides.
    """
    known = [row["variance"] for row in rows if row["variance"] is not None]
    variance = median(known) if known else 0.0
    return sorted(rows, key=lambda row: row["fitness"] - math.sqrt(variance / row["rounds"]), reverse=True)


def _noise(stage: Stage, results: Sequence[Result], service: TrainingService) -> list[NoiseRow]:
    """Measure the noise of the stage's tasks with AdamW as tuned there, or else with the first baseline."""
    measured = next((result for result in results if result.name == "adamw"), results[0])
    programs = [on.tuned.program for on in measured.tasks]
    return [measure_noise(program, choice.task, service) for choice, program in zip(stage.tasks, programs, strict=True)]


def _rows(results: Sequence[Result], stages: int) -> list[SelectionRow]:
    return [
        _row(result, on, ahead, stages)
        for result in results
        for on, ahead in zip(result.tasks, result.ahead, strict=True)
    ]


def _row(result: Result, on: OnTask, ahead: Difference | None, stages: int) -> SelectionRow:
    fingerprint, tuned, fresh = on
    return SelectionRow(
        result.name, result.program_id, fresh.task, fingerprint, tuned.trials, tuned.best.learning_rate,
        tuned.best.weight_decay, str(tuned.program), len(fresh.by_seed) + len(fresh.failures),
        clean_number(fresh.mean), clean_number(fresh.standard_error), result.baseline,
        None if ahead is None else ahead.mean, None if ahead is None else clean_number(ahead.standard_error),
        result.z, result.p, int(result.passed), stages,
    )  # fmt: skip


def _show(stage: int, results: Sequence[Result]) -> None:
    rows = []
    for result in results:
        is_program = result.program_id is not None
        z = "-" if result.z is None else f"{result.z:.1f}"
        p = "-" if result.p is None else f"{result.p:.2g}"
        for on, ahead in zip(result.tasks, result.ahead, strict=True):
            lead = ["-", "-"] if ahead is None else [f"{ahead.mean:+.4f}", f"{ahead.standard_error:.4f}"]
            against = result.baseline if is_program else "-"
            passes = "yes" if result.passed else ""
            rows.append([result.name, on.fresh.task, f"{on.fresh.mean:.4f}", against, *lead, z, p, passes])
    show_table(
        f"stage {stage}: tuned, then trained on fresh seeds; ahead of the baseline that is hardest to beat",
        ["competitor", "task", "fitness", "hardest", "ahead", "+-", "z", "p", "on"],
        rows,
        left=["competitor", "task", "hardest"],
    )
