"""The command `optsearch proxies`."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext, redirect_stdout
from typing import Annotated, Any

import typer

from programs.errors import InputError

from proxy_tasks.locked import refuse_locked

from search.commands.options import RESULTS, JsonOption, StoreOption, allow_user_modules, numeric
from search.commands.output import Form, Table, table_of, write
from search.commands.progress import counting_trainings
from search.commands.terminal import console, show_table
from search.evidence.funnel import Entrant
from search.evidence.proxy_measurement import Protocol, ProxyTask, measure, proxy_task
from search.results.proxies import LEAST_PROGRAMS, Correlation, MeasuredTask, correlations, measured_tasks, spread
from search.results.proxy_sets import ChosenProxies, as_settings, choose_proxies
from search.results.rank_correlation import Tau
from search.results.results import Results, open_results
from search.settings import limits
from search.settings.settings import EvaluatorSettings
from search.settings.settings_file import stored_dedup
from search.settings.yaml_text import write_yaml
from search.store import open_store
from search.store.evidence_views import ProxyEntry
from search.store.proxies import set_proxy_measurements
from search.training.service import TrainingService
from search.training.session import interrupt, on_signals, training_beside

TUNING_SEEDS, FRESH_SEEDS = 3, 8


def command(
    search: Annotated[str, typer.Argument(metavar="SEARCH", help="Name of the search whose programs are measured.")],
    tasks: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Tasks to measure programs on, with commas between them; NAME@STEPS for another"
            " length. Without it, what has been measured is shown.",
        ),
    ] = None,
    programs: Annotated[
        int, typer.Option(**numeric(limits.PASSING), help="Programs to measure, of the better half of the search.")
    ] = 16,
    trials: Annotated[
        int, typer.Option(**numeric(limits.TRIALS), help="Settings that each program tries on each task.")
    ] = 28,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="The task to predict: the cheapest set of proxies for it.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(**numeric(limits.WORKERS), help="Processes that train; without it, this one does.")
    ] = None,
    store: StoreOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """Say what proxy tasks are worth: how alike they and larger tasks rank programs that are tuned on each."""
    allow_user_modules()
    chosen = [] if tasks is None else list({one.name: one for one in map(proxy_task, tasks.split(","))}.values())
    _check_target(target, [one.name for one in chosen], search, store)
    if chosen:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            protocol = Protocol(trials, TUNING_SEEDS, FRESH_SEEDS)
            evaluator = EvaluatorSettings(kind="inline") if workers is None else EvaluatorSettings(workers=workers)
            measure_programs(search, chosen, programs, protocol, store, evaluator)
    with open_results(store) as results:
        rows = results.proxies(search)
    measured = measured_tasks(rows)
    choice = None if target is None else choose_proxies(measured, target)
    if as_json:
        write(Form.JSON, "proxies", store, _tables(rows, measured, choice))
    else:
        _show(measured, choice)


def _check_target(target: str | None, chosen: Sequence[str], search: str, location: str) -> None:
    """Refuse what there will be nothing to say of, before anything is trained.

    Args:
        target: the task to predict.
        chosen: the tasks that are to be measured.
        search: the name of the search.
        location: of the database.

    Raises:
        InputError: the target is locked, or it is not measured and will not be, or nothing is.
    """
    if target is not None:
        refuse_locked(target.partition("@")[0])
    with open_results(location) as results:
        names = list(dict.fromkeys([*chosen, *(row.task for row in results.proxies(search))]))
    if not names:
        raise InputError(
            f"{location}: search '{search}' has no measurements on proxy tasks; name tasks to train its programs on"
            " with --tasks, the proxies and larger ones"
        )
    if target is not None and target not in names:
        raise InputError(
            f"{location}: --target {target}: nothing was measured there; there are {', '.join(names)}, and --tasks"
            " measures more"
        )


# --- measuring --------------------------------------------------------------------------------------------------------


def measure_programs(
    search: str,
    tasks: Sequence[ProxyTask],
    programs: int,
    protocol: Protocol,
    location: str,
    evaluator_settings: EvaluatorSettings,
) -> None:
    """Measure programs of a search on tasks, one task after another; what the store knows is not trained again.

    Args:
        search: its name.
        tasks: the tasks.
        programs: how many, evenly over the better half of the search.
        protocol: how they are tuned.
        location: of the database.
        evaluator_settings: where programs are trained.

    Raises:
        InputError: there is no such search, or it has too few programs.
        StoreError: the store can no longer be written.
    """
    with closing(open_store(location)) as store, on_signals(interrupt):
        results = Results(store)
        entrants = _entrants(results, search, programs)
        found = store.find_search(search)
        assert found is not None
        _say_cost(entrants, tasks, protocol)
        with training_beside(store, evaluator_settings) as evaluator:
            dedup = stored_dedup(found.settings, search)
            service = TrainingService(store, evaluator, evaluator_settings.batch, dedup)
            for on in tasks:
                with counting_trainings(service):
                    set_proxy_measurements(store, found.id, measure(entrants, on, protocol, service))
        console.print(
            f"{service.trained:,} trainings in this run; all measurements are in v_proxies of {store.location}"
        )


def _entrants(results: Results, search: str, number: int) -> list[Entrant]:
    rows = spread(results.leaderboard(search, None, pareto=False), number)
    if len(rows) < 2:
        raise InputError(
            f"search '{search}' has {len(rows)} programs of different structure that trained well, and two are needed"
            " to rank them; go on with the search"
        )
    return [Entrant(row.id, row.program) for row in rows]


def _say_cost(entrants: Sequence[Entrant], tasks: Sequence[ProxyTask], protocol: Protocol) -> None:
    each = [protocol.trainings(on) for on in tasks]
    steps = sum(trainings * on.task.steps for trainings, on in zip(each, tasks, strict=True))
    names = ", ".join(on.name for on in tasks)
    console.print(
        f"{len(entrants)} programs on {names}, {protocol.trials} trials each: at most {len(entrants) * sum(each):,}"
        f" trainings of {len(entrants) * steps / 1e6:.2g} million steps together; what is known is not trained again"
    )


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(measured: Sequence[MeasuredTask], choice: ChosenProxies | None) -> None:
    found = correlations(measured)
    if not found:
        names = ", ".join(task.name for task in measured)
        console.print(f"measured so far: {names}; a proxy and a task with more steps are needed to compare them")
    for target in dict.fromkeys(one.target for one in found):
        if choice is None or target == choice.target:
            _show_target(target, [one for one in found if one.target == target])
    if choice is not None:
        _show_choice(choice, measured)


def _show_target(target: str, found: Sequence[Correlation]) -> None:
    show_table(
        f"what proxies say of {target}: Kendall's tau of the order of programs, all tuned alike on each task",
        ["proxy", "tau", "95 %", "programs", "failed", "steps", "of target's"],
        [
            [one.proxy, _signed(one.tau.tau), f"{_signed(one.tau.low)} to {_signed(one.tau.high)}", str(one.programs),
             str(one.failed), f"{one.steps:,}", f"{one.share:.0%}"]
            for one in found
        ],
        left=["proxy"],
    )  # fmt: skip


def _show_choice(choice: ChosenProxies, measured: Sequence[MeasuredTask]) -> None:
    chosen = choice.chosen
    if chosen is None:
        console.print(
            f"no set of proxies for {choice.target}: {choice.programs} programs were measured on it and on every"
            f" task with fewer steps; {LEAST_PROGRAMS} are needed, and a task to predict it from"
        )
        return
    show_table(
        f"sets of proxies for {choice.target}, judged on programs that weights were not fitted to",
        ["set", "weights", "steps", "tau", "+-"],
        [
            [" + ".join(one.tasks), " ".join(f"{weight:.2f}" for weight in one.weights), f"{one.steps:,}",
             _signed(one.tau.tau), _plain(one.tau.standard_error)]
            for one in (*choice.singles, *choice.grown)
        ],
        left=["set", "weights"],
    )  # fmt: skip
    console.print(
        f"the cheapest within a standard error of the best: {' + '.join(chosen.tasks)},"
        f" {chosen.steps / choice.steps:.0%} of the steps of {choice.target}; a set chosen like this has tau"
        f" {_signed(choice.judged.tau)} +- {_plain(choice.judged.standard_error)} on programs that had no part in"
        " the choice. To search on it:\n"
    )
    print(write_yaml({"tasks": as_settings(chosen, measured)}), end="")  # to be copied: not broken to fit the width


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.2f}"


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def _tables(rows: Sequence[ProxyEntry], measured: Sequence[MeasuredTask], choice: ChosenProxies | None) -> list[Table]:
    """Return what was found, and all that it rests on."""
    columns = ("target", "proxy", "programs", "failed", "steps", "share", *Tau._fields)
    found = [one._asdict() | _numbers(one.tau) for one in correlations(measured)]
    tables = [Table("correlations", columns, found)]
    if choice is not None:
        tables += _tables_of_choice(choice, measured)
    return [*tables, table_of("measurements", ProxyEntry, rows)]


def _tables_of_choice(choice: ChosenProxies, measured: Sequence[MeasuredTask]) -> list[Table]:
    sets = [
        {"tasks": " + ".join(one.tasks), "steps": one.steps, "chosen": one == choice.chosen, **_numbers(one.tau)}
        for one in (*choice.singles, *choice.grown)
    ]
    judged = {"target": choice.target, "programs": choice.programs, **_numbers(choice.judged)}
    chosen = choice.chosen
    weights = [] if chosen is None else [
        {"task": name, "weight": weight} for name, weight in zip(chosen.tasks, chosen.weights, strict=True)
    ]  # fmt: skip
    yaml = "" if chosen is None else write_yaml({"tasks": as_settings(chosen, measured)})
    return [
        Table("sets", ("tasks", "steps", "chosen", *Tau._fields), sets),
        Table("weights", ("task", "weight"), weights),
        Table("choice", ("target", "programs", *Tau._fields, "yaml"), [judged | {"yaml": yaml}]),
    ]


def _numbers(tau: Tau) -> dict[str, Any]:
    """Return tau and what goes with it, None where it is not known."""
    return {name: None if math.isnan(value) else value for name, value in tau._asdict().items()}
