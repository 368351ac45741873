"""The command `optsearch prove`: the locked tasks, opened once for a finalist that a funnel has let pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from programs.errors import InputError
from programs.hashing import dataflow_hash
from programs.program import parse

from search.config import Dedup, EvaluatorSettings
from search.display import console, show_table
from search.evaluation import EvaluationService
from search.locked import LOCKED, is_locked
from search.proof import Competition, OnTask, prove
from search.runner import interrupting, opened
from search.statistics import Difference, signs
from search.store import Opening, ProofRow, Store
from search.store.plain import clean_number
from search.store.proofs import find_opening, finish_proof, open_locked, openings_until, passed_funnel

DEDUP = Dedup(fingerprint=False)  # what differs at all is trained apart


def prove_finalist(individual_id: int, location: str, evaluator_settings: EvaluatorSettings) -> None:
    """Open the locked tasks for a program, or go on where an earlier call stopped, and print what came of it.

    Raises:
        InputError: there is no such program, no funnel has let it pass, its search has trained on locked tasks, or they
            were opened for it before.
        StoreError: the store can no longer be written.
    """
    with opened(location, evaluator_settings, create=False) as (store, evaluator), interrupting():
        row = store.individual(individual_id)
        program = parse(row["genome"], f"program {individual_id} in {store.location}")
        opening = _opening(store, row, dataflow_hash(program))
        service = EvaluationService(store, evaluator, evaluator_settings.batch)
        count = openings_until(store, opening)
        found = prove(f"program {individual_id}", program, service, DEDUP, count, lambda text: console.print(text))
        finish_proof(store, opening, [row for one in found for row in _rows(one, individual_id)])
        _show(found, count)
        console.print(f"{service.trained} trainings in this run; all results are in v_proof of {store.location}")


def _opening(store: Store, row: dict[str, Any], dataflow: str) -> Opening:
    """The right to open the locked tasks for this program, recorded.

    Raises:
        InputError: there is none.
    """
    name, search = f"program {row['id']}", row["search"]
    before = find_opening(store, dataflow)
    if before is not None and before.finished is not None:
        of = "it" if before.individual_id == row["id"] else f"program {before.individual_id}, which does the same,"
        raise InputError(
            f"{name}: the locked tasks were opened for {of} on {before.opened[:16]} UTC, and are opened once; what came"
            f" of it: optsearch show {before.individual_id}"
        )
    seen = [task["name"] for task in _tasks(row["settings"]) if is_locked(task["name"])]
    if seen:
        raise InputError(
            f"{name}: its search '{search}' has trained on '{seen[0]}', which is of the locked tasks, so that they"
            " prove nothing for it; search on others"
        )
    funnel = passed_funnel(store, row["id"])
    if funnel is None:
        raise InputError(
            f"{name}: has no evidence: it has not passed the last stage of a funnel; take its search '{search}' through"
            " one first: optsearch select CONFIG"
        )
    return before or open_locked(store, row["id"], dataflow, funnel)


def _tasks(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that a search trains on, its look at meta-validation among them, as far as a database may say."""
    meta = settings.get("meta_validation")
    watched = meta.get("tasks") if isinstance(meta, dict) else None
    return [*settings.get("tasks", []), *(watched if isinstance(watched, list) else [])]


def _rows(one: Competition, individual_id: int) -> list[ProofRow]:
    columns = zip(one.tasks, one.differences, one.state_per_weight, strict=True)
    return [_row(one, individual_id, on, ahead, state) for on, ahead, state in columns]


def _row(one: Competition, individual_id: int, on: OnTask, ahead: Difference | None, state: float) -> ProofRow:
    tuned, fresh = on.tuned, on.fresh
    compared = None if one.is_finalist else ahead
    return ProofRow(
        one.name, individual_id if one.is_finalist else None, on.task.name, on.task.fingerprint, str(tuned.program),
        tuned.best.learning_rate, tuned.best.weight_decay, tuned.trials, tuned.failures,
        len(fresh.by_seed) + len(fresh.failures), len(fresh.failures),
        clean_number(fresh.mean), clean_number(fresh.standard_error),
        None if compared is None else compared.mean,
        None if compared is None else clean_number(compared.standard_error),
        None if compared is None else clean_number(compared.z),
        on.steps_to_adamw, on.tolerance, on.one_setting, state, one.step_time, one.z, one.p,
    )  # fmt: skip


def _show(found: Sequence[Competition], openings: int) -> None:
    for place, name in enumerate(LOCKED):
        _show_task(name, [(one, one.tasks[place], one.differences[place]) for one in found])
    rows = []
    for one in found:
        trials = sum(on.tuned.trials for on in one.tasks)
        failed = sum(on.tuned.failures for on in one.tasks) / trials
        ahead = [difference.mean for difference in one.differences if difference is not None]
        wins = "-" if one.is_finalist else f"{signs(ahead).better} of {len(one.tasks)}"
        state = f"{max(one.state_per_weight):.2g}"
        rows.append(
            [one.name, wins, _text(one.z, ".1f"), _text(one.p, ".2g"), _text(one.one_setting, ".3f"),
             f"{failed:.0%}", state, f"{one.step_time:.2f}"]
        )  # fmt: skip
    show_table(
        f"over all locked tasks ({openings} finalist{'s' * (openings != 1)} so far)",
        ["competitor", "beaten on", "z", "p", "one setting", "failed trials", "states", "step time"],
        rows,
        left=["competitor"],
    )


def _show_task(name: str, found: Sequence[tuple[Competition, OnTask, Difference | None]]) -> None:
    rows = []
    for one, on, ahead in found:
        best = on.tuned.best
        loss = "-" if math.isnan(on.fresh.mean) else f"{-on.fresh.mean:.4f}"
        beaten = ["-"] * 3
        if ahead is not None and not one.is_finalist:
            beaten = [f"{ahead.mean:+.4f}", f"{ahead.standard_error:.4f}", f"{ahead.z:.1f}"]
        rows.append(
            [one.name, f"{best.learning_rate:.3g}", f"{best.weight_decay:.3g}", loss, *beaten,
             _text(on.steps_to_adamw, ".0%"), _text(on.tolerance, ".2f")]
        )  # fmt: skip
    show_table(
        f"{name}: tuned, then {len(found[0][1].fresh.by_seed)} fresh seeds; what the finalist is ahead",
        ["competitor", "rate", "decay", "loss", "ahead", "+-", "z", "steps to AdamW's", "decades"],
        rows,
        left=["competitor"],
    )


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
