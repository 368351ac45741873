"""The command `optsearch select`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from programs.errors import InputError
from programs.program import parse

from search.commands.chosen_settings import settings_file
from search.commands.options import ConfigOption, NameOption, SetOption, allow_user_modules, numeric
from search.commands.progress import counting_trainings
from search.commands.terminal import console, show_table
from search.evidence.funnel import Entrant, StageOnTask, StageResult, run_stage
from search.results.results import Results, open_results
from search.settings import limits
from search.settings.baselines import adamw_among
from search.settings.funnel import Funnel, Stage
from search.settings.meaning import VERSIONS, meaning_of_tasks, refuse_changes, settings_as_trained
from search.settings.settings import Dedup
from search.settings.settings_file import stored_dedup
from search.settings.tasks import load_tasks
from search.store import NoiseRow, SelectionRow, Store
from search.store.encoding import clean_number
from search.store.proofs import set_noise
from search.training.service import TrainingService
from search.training.session import interrupt, on_signals, opened
from search.training.statistics import Difference
from search.training.tuning import measure_noise

TUNING_SEEDS = 3  # of stages that leave their tasks to the search


def command(
    config: Annotated[Path, typer.Argument(help="YAML file of a funnel, such as configs/funnels/quickstart.yaml.")],
    set_: SetOption = None,
    name: NameOption = None,
    until: Annotated[
        int | None,
        typer.Option(**numeric(limits.STAGE, metavar="STAGE"), help="End after this stage; they count from 1."),
    ] = None,
    of_search: ConfigOption = None,
) -> None:
    """Take a search's best through a funnel: larger tasks, equal tuning, fresh seeds, against tuned baselines."""
    allow_user_modules()
    select(config, set_ or [], until, name, of_search)


def select(
    config: Path,
    overrides: list[str],
    until: int | None = None,
    name: str | None = None,
    of_search: Path | None = None,
) -> list[int]:
    """Run a funnel, or go on with it, print the results of every stage, and return the IDs of what passed all.

    Args:
        config: settings of the funnel.
        overrides: of settings.
        until: the last stage to run, from 1; all without it.
        name: of the funnel, instead of the one in its settings.
        of_search: the YAML file of the search, if stages leave their tasks to it and these are user-defined.

    Raises:
        InputError: the settings make no sense, or there is no such search.
        StoreError: the store can no longer be written.
    """
    file = settings_file(config, overrides, name)
    _give_tasks_of_search(file.data, of_search)
    funnel = file.read(Funnel)
    last = len(funnel.stages)
    if until is not None and not 1 <= until <= last:
        raise InputError(f"{config}: no stage {until}; its stages are 1 to {last}")
    for stage in funnel.stages:
        load_tasks(stage.tasks)
    with opened(funnel.store, funnel.evaluator, create=False) as (store, evaluator), on_signals(interrupt):
        service = TrainingService(store, evaluator, funnel.evaluator.batch, _dedup(store, funnel, config))
        with counting_trainings(service):
            passed = _run_stages(funnel, funnel.stages[:until], store, service)
        console.print(f"{service.trained} trainings in this run; all results are in v_funnel of {store.location}")
    stages = "all stages" if until in (None, last) else f"stages 1 to {until} of {last}"
    levels = ", ".join(f"{stage.level:g}" for stage in funnel.stages[:until])
    if passed:
        console.print(f"passed {stages} (level {levels}): {', '.join(entrant.name for entrant in passed)}")
    else:
        console.print(f"no program is ahead of the best baseline through {stages} (level {levels})")
    return [entrant.program_id for entrant in passed]


def _give_tasks_of_search(data: dict[str, Any], config: Path | None) -> None:
    """Give the stages of a funnel that have no tasks those of its search.

    Raises:
        InputError: there is no such search, or its tasks are user-defined and there is no config.
    """
    stages, search = data.get("stages"), data.get("search")
    left = [one for one in stages if isinstance(one, dict) and "tasks" not in one] if isinstance(stages, list) else []
    if not left or not isinstance(search, str):
        return
    with open_results(str(data.get("store", Funnel.model_fields["store"].default))) as results:
        stored = results.search(search).settings
    settings = settings_as_trained(search, stored, config, "name the tasks of the stages")
    for stage in left:
        stage["tasks"] = [one.model_dump(exclude={"seeds"}) | {"seeds": TUNING_SEEDS} for one in settings.tasks]


def _dedup(store: Store, funnel: Funnel, config: Path) -> Dedup:
    """Return which programs the search of a funnel takes to be the same.

    Raises:
        InputError: there is no such search.
    """
    found = store.find_search(funnel.search)
    if found is None:
        names = ", ".join(one.search for one in Results(store).searches()) or "none yet"
        raise InputError(f"{config}: search: no search '{funnel.search}' in {store.location}; there are: {names}")
    return stored_dedup(found.settings, funnel.search)


def _begin(store: Store, funnel: Funnel) -> None:
    """Keep what a funnel is, unless it was begun before.

    Raises:
        InputError: it was begun with other settings, or with tasks that were others.
    """
    settings = funnel.model_dump(mode="json", exclude={"store", "evaluator"})
    tasks = {
        f"stage {number}: {choice.name}": choice.task
        for number, stage in enumerate(funnel.stages, start=1)
        for choice in stage.tasks
    }
    settings |= {VERSIONS: meaning_of_tasks(tasks)}
    kept = store.begin_funnel(funnel.name, settings)
    what = f"{store.location}: funnel '{funnel.name}'"
    refuse_changes(what, kept, settings, "set them back, or begin a new funnel with --name")


def _run_stages(funnel: Funnel, stages: Sequence[Stage], store: Store, service: TrainingService) -> list[Entrant]:
    """Run stages one after another, keep and print their results, and return what has passed all of them."""
    entrants, examined = _entrants(Results(store), funnel)
    _begin(store, funnel)
    for number, stage in enumerate(stages, start=1):
        if not entrants:
            break
        found = run_stage(
            number, stage, entrants, funnel.baselines, service, examined, lambda text: console.print(text)
        )
        store.set_selection(_rows(found, funnel, number))
        set_noise(store, _noise(stage, found, service))
        _show(number, found)
        programs = {entrant.program_id: entrant for entrant in entrants}
        entrants = [programs[one.program_id] for one in found if one.passed and one.program_id is not None]
    return entrants


def _entrants(results: Results, funnel: Funnel) -> tuple[list[Entrant], int]:
    """Return the best distinct programs of the search, and how many it has compared."""
    rows = results.leaderboard(funnel.search, None, pareto=False)
    if not rows:
        raise InputError(f"search '{funnel.search}' has no program that trained well; `optsearch failures` says why")
    best = rows[: funnel.enter]  # by fitness less its standard error
    return [Entrant(row.id, parse(row.genome, f"program {row.id} in {results.location}")) for row in best], len(rows)


def _noise(stage: Stage, results: Sequence[StageResult], service: TrainingService) -> list[NoiseRow]:
    """Return the noise of the stage's tasks, measured with AdamW as tuned there, or else with the first baseline."""
    measured = adamw_among({result.name: result for result in results}) or results[0]
    programs = [on.tuned.program for on in measured.tasks]
    return [measure_noise(program, choice.task, service) for choice, program in zip(stage.tasks, programs, strict=True)]


def _rows(results: Sequence[StageResult], funnel: Funnel, stage: int) -> list[SelectionRow]:
    return [
        _row(result, on, ahead, funnel, stage)
        for result in results
        for on, ahead in zip(result.tasks, result.ahead, strict=True)
    ]


def _row(result: StageResult, on: StageOnTask, ahead: Difference | None, funnel: Funnel, stage: int) -> SelectionRow:
    fingerprint, tuned, fresh = on
    return SelectionRow(
        funnel=funnel.name,
        search=funnel.search,
        stage=stage,
        stages=len(funnel.stages),
        task=fresh.task,
        task_fingerprint=fingerprint,
        competitor=result.name,
        program_id=result.program_id,
        passed=result.passed,
        z=result.z,
        p=result.p,
        ahead=None if ahead is None else ahead.mean,
        ahead_error=None if ahead is None else clean_number(ahead.standard_error),
        baseline=result.baseline,
        fitness=clean_number(fresh.mean),
        standard_error=clean_number(fresh.standard_error),
        seeds=len(fresh.by_seed) + len(fresh.failures),
        trials=tuned.trials,
        learning_rate=tuned.best.learning_rate,
        weight_decay=tuned.best.weight_decay,
        genome=str(tuned.program),
    )


def _show(stage: int, results: Sequence[StageResult]) -> None:
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
