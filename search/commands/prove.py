"""The command `optsearch prove`: the locked sets of tasks, opened once for a finalist that a funnel has let pass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Any

import typer

from programs.errors import InputError
from programs.hashing import dataflow_hash
from programs.program import Program, parse

from proxy_tasks import get_task
from proxy_tasks.locked import LOCKED_SETS, is_locked

from search.commands.options import RESULTS, StoreOption, numeric
from search.commands.progress import counting_trainings
from search.commands.proof_tables import show_proof
from search.commands.terminal import console
from search.evidence.proof import Competition, ProofOnSet, ProofOnTask, cost_of_proof, prove
from search.results.results import Results
from search.settings import limits
from search.settings.meaning import VERSIONS, meaning_of_tasks, refuse_changes
from search.settings.settings import Dedup, EvaluatorSettings
from search.store import ProofRow, Store, open_store
from search.store.encoding import clean_number
from search.store.evidence_views import OpeningEntry
from search.store.proofs import finish_proof, open_locked, passed_funnel, set_proof
from search.store.views import ProgramEntry
from search.training.service import TrainingService
from search.training.session import interrupt, on_signals, training_beside
from search.training.statistics import Difference, p_of

HOPELESS = 0.05  # of p in the last stage of the funnel, not corrected for the programs compared
DEDUP = Dedup(fingerprint=False)  # programs that differ at all are trained separately


def command(
    program_id: Annotated[
        int,
        typer.Argument(**numeric(limits.PROGRAM_ID, metavar="ID"), help="ID of a program that has passed a funnel."),
    ],
    workers: Annotated[
        int | None, typer.Option(**numeric(limits.WORKERS), help="Processes that train; as many as there is room for.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the locked tasks are opened.")] = False,
    store: StoreOption = RESULTS,
) -> None:
    """Open the locked sets of tasks for a finalist, once: against every tuned baseline, on data kept for this."""
    agree = (lambda _: None) if yes else _ask
    prove_finalist(program_id, store, EvaluatorSettings(workers=workers or "auto"), agree)


def _ask(program: str) -> None:
    """Say what the proof of a program takes and ask whether to go on.

    Raises:
        InputError: the answer is no, or there is no terminal to ask at.
    """
    cost = cost_of_proof()
    console.print(
        f"This opens the locked tasks for {program}, {len(LOCKED_SETS)} sets, once and for all: about"
        f" {cost.trainings:,} trainings of {cost.steps / 1e6:.1f} million steps together. It can be interrupted and"
        " goes on."
    )
    if not sys.stdin.isatty():
        raise InputError("prove: there is no terminal to ask whether to go on; say so with --yes")
    if not typer.confirm("Go on?"):
        raise InputError("prove: nothing was opened")


def prove_finalist(
    program_id: int,
    location: str,
    evaluator_settings: EvaluatorSettings,
    agree: Callable[[str], None] = lambda _: None,
) -> None:
    """Open the locked tasks for a program, or go on where an earlier call stopped, and print the results.

    Args:
        program_id: of the program.
        location: of the database.
        evaluator_settings: where programs are trained.
        agree: called with the name of the program before the tasks are opened for it; raises if they should not be.

    Raises:
        InputError: there is no such program, no funnel has let it pass, its search has trained on locked tasks, or they
            were opened for it before.
        StoreError: the store can no longer be written.
    """
    with closing(open_store(location)) as store, on_signals(interrupt):
        results = Results(store)
        entry = results.program(program_id)
        opening = _opening(results, entry, dataflow_hash(_program(entry, store)), agree)  # before workers are started
        finalist = results.program(opening.program_id)
        if finalist.id != program_id:
            console.print(f"program {program_id} does the same as program {finalist.id}, whose proof goes on")
        name = f"program {finalist.id}"
        with training_beside(store, evaluator_settings) as evaluator:
            service = TrainingService(store, evaluator, evaluator_settings.batch, DEDUP)
            with counting_trainings(service):
                for found in prove(name, _program(finalist, store), service, opening.openings, console.print):
                    set_proof(store, opening, _rows(found, finalist.id))
                    show_proof(row for row in results.proof(finalist.id) if row.locked_set == found.locked.name)
            finish_proof(store, opening)
        console.print(f"{service.trained} trainings in this run; all results are in v_proof of {store.location}")


def _program(entry: ProgramEntry, store: Store) -> Program:
    return parse(entry.genome, f"program {entry.id} in {store.location}")


def _opening(results: Results, entry: ProgramEntry, dataflow: str, agree: Callable[[str], None]) -> OpeningEntry:
    """Return the right to open the locked tasks for this program, recorded.

    Raises:
        InputError: they may not be opened for it.
    """
    name = f"program {entry.id}"
    before = results.opening(dataflow)
    if before is not None and before.finished is not None:
        of = "it" if before.program_id == entry.id else f"program {before.program_id}, which does the same,"
        raise InputError(
            f"{name}: the locked tasks were opened for {of} on {before.opened[:16]} UTC, and are opened once; for the"
            f" results: optsearch show {before.program_id}"
        )
    seen = [task["name"] for task in _tasks(results.search(entry.search).settings) if is_locked(task["name"])]
    if seen:
        raise InputError(
            f"{name}: its search '{entry.search}' has trained on '{seen[0]}', which is one of the locked tasks, so that"
            " they prove nothing for it; search on others"
        )
    funnel = passed_funnel(results.store, entry.id)
    if funnel is None:
        raise InputError(
            f"{name}: has no evidence: it has not passed the last stage of a funnel; take its search '{entry.search}'"
            " through one first: optsearch select CONFIG"
        )
    if funnel.z is None or p_of(funnel.z) >= HOPELESS:
        raise InputError(
            f"{name}: z was {funnel.z or 0:.1f} in the last stage of funnel '{funnel.funnel}', which the locked tasks,"
            " opened once, would hardly turn into a proof; take another program, or a funnel with more seeds and tasks"
        )
    meaning = {VERSIONS: meaning_of_tasks({task: get_task(task) for locked in LOCKED_SETS for task in locked.tasks})}
    if before is None:
        agree(name)
        return open_locked(results.store, entry.id, dataflow, funnel.funnel, cost_of_proof().trainings, meaning)
    fix = "go on where they are what they were: the locked tasks are opened once"
    refuse_changes(f"{name}: its proof", before.settings, meaning, fix)
    return before


def _tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tasks that a search trains on, those of its meta-validation included, as far as its settings say."""
    meta = settings.get("meta_validation")
    watched = meta.get("tasks") if isinstance(meta, dict) else None
    return [*settings.get("tasks", []), *(watched if isinstance(watched, list) else [])]


def _rows(of: ProofOnSet, program_id: int) -> list[ProofRow]:
    return [
        _row(of, one, program_id, on, ahead, state)
        for one in of.competitions
        for on, ahead, state in zip(one.tasks, one.differences, one.state_per_weight, strict=True)
    ]


def _row(
    of: ProofOnSet, one: Competition, program_id: int, on: ProofOnTask, ahead: Difference | None, state: float
) -> ProofRow:
    tuned, fresh = on.tuned, on.fresh
    compared = None if one.is_finalist else ahead
    return ProofRow(
        competitor=one.name,
        program_id=program_id if one.is_finalist else None,
        locked_set=of.locked.name,
        finalists=of.finalists,
        task=on.task.name,
        task_fingerprint=on.task.fingerprint,
        genome=str(tuned.program),
        learning_rate=tuned.best.learning_rate,
        weight_decay=tuned.best.weight_decay,
        trials=tuned.trials,
        trials_failed=tuned.failures,
        seeds=len(fresh.by_seed) + len(fresh.failures),
        seeds_failed=len(fresh.failures),
        fitness=clean_number(fresh.mean),
        standard_error=clean_number(fresh.standard_error),
        ahead=None if compared is None else compared.mean,
        ahead_error=None if compared is None else clean_number(compared.standard_error),
        task_z=None if compared is None else clean_number(compared.z),
        steps_to_adamw=on.steps_to_adamw,
        tolerance=on.tolerance,
        one_setting=one.one_setting,
        state_per_weight=state,
        step_time=one.step_time,
        z=one.z,
        p=one.p,
    )
