"""How long does `optsearch report` take for a large search, and how large is its page?

    python -m scripts.bench.report [--births 300000] [--output report.html] [--store synthetic.db]

Makes a database of as many births as asked for: offspring of AdamW, answered as in real searches of this length
(one in nine trained, four in nine known by their dataflow hash, the others by fingerprint, in flight or rejected), with
loss curves on four tasks, baselines, meta-validation and a funnel. Then the command is run on it, and the seconds, the
MiB of the page and the MiB of memory are printed. A store that exists already is used again.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from programs import Program, zoo
from programs.liveness import live, live_statements
from programs.mutation import mutate

from search.settings.settings import Settings
from search.store import BaselineRow, MetaValidationRow, ProgramRow, SelectionRow, Store, open_store
from search.store.rows import Row
from search.store.store import table_of
from search.store.tables import SearchRow, TrainingRow

BATCH = 64  # births
TASKS = ("digits_mlp", "mnist1d_mlp", "digits_cnn", "markov_transformer")
BASELINES = ("adamw", "lion", "sgd_momentum")
PROGRAMS = 2000  # different texts: each stands for many of its kind
GENERATION = 1000  # births from parent to child in the line of the best
BEGAN = datetime(2026, 1, 1)
ANSWERS = (("training", 11), ("hash", 44), ("fingerprint", 14), ("in_flight", 3), ("rejection", 28))  # percent
REASONS = ("diverged at step {}", "training loss above all that ended well at step {}")
ROWS = 10_000  # written at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--births", type=int, default=300_000)
    parser.add_argument("--output", type=Path, help="keep the page here")
    parser.add_argument("--store", type=Path, help="keep the database here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = args.store or Path(folder) / "synthetic.db"
        output = args.output or Path(folder) / "report.html"
        if not file.exists():
            began = time.perf_counter()
            fill(file, args.births)
            print(f"{args.births} births written in {time.perf_counter() - began:.0f} s")
        print(f"database {file.stat().st_size / 2**20:.0f} MiB")
        seconds, used = run(file, output)
        print(f"report: {seconds:.1f} s, of which {used.ru_utime + used.ru_stime:.1f} s of a processor;")
        print(f"page {output.stat().st_size / 2**20:.2f} MiB; at most {used.ru_maxrss / 2**10:.0f} MiB of memory")


def run(file: Path, output: Path) -> tuple[float, resource.struct_rusage]:
    """Run the command and return its seconds, and what it used."""
    optsearch = str(Path(sys.executable).parent / "optsearch")
    began = time.perf_counter()
    subprocess.run([optsearch, "report", "-o", str(output), "--store", str(file)], check=True)  # noqa: S603 - ours
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)


# --- the database ----------------------------------------------------------------------------------------------------


def fill(file: Path, births: int) -> None:
    """Write a finished search with this number of births."""
    rng = Random(0)
    settings = Settings.model_validate({
        "name": "synthetic", "seed": 0, "strategy": {"population": 1000, "tournament": 25, "start": "adamw"},
        "budget": {"programs": births}, "tasks": [{"name": name} for name in TASKS],
        "evaluator": {"kind": "ray", "workers": 16, "batch": BATCH},
        "meta_validation": {"tasks": [{"name": "mnist1d_cnn"}], "every": 1000},
    })  # fmt: skip
    with closing(open_store(str(file), create=True)) as store:
        search_id = store.create_search("synthetic", settings.model_dump(mode="json"))
        search = {"created": BEGAN, "updated": _time(births), "seconds": 0.2 * births, "state": "finished"}
        with store.writing() as connection:
            connection.execute(table_of(SearchRow).update().values(**search))
        rows = list(_births(rng, births, search_id))
        _write(store, ProgramRow, iter(rows))
        _write(store, TrainingRow, _trainings(rng, rows))
        _write(store, BaselineRow, _baselines(search_id))
        best = max((row for row in rows if row["fitness"] is not None), key=lambda row: row["fitness"])
        _write(store, MetaValidationRow, _meta_validation(rows, search_id))
        store.set_selection(list(_stage(best)))


def _time(birth: int) -> datetime:
    return BEGAN + timedelta(seconds=0.2 * birth)


def _write(store: Store, kind: type[Row], rows: Iterator[dict[str, Any]]) -> None:
    some: list[dict[str, Any]] = []
    insert = table_of(kind).insert()
    with store.writing() as connection:
        for row in rows:
            some.append(row)
            if len(some) == ROWS:
                connection.execute(insert, some)
                some = []
        if some:
            connection.execute(insert, some)


def _texts(rng: Random) -> list[dict[str, Any]]:
    """Return columns of programs, each some mutations away from those before it."""
    programs: list[Program] = [zoo.load("adamw")]
    while len(programs) < PROGRAMS:
        child, _ = mutate(programs[max(0, len(programs) - 1 - rng.randrange(20))], rng)
        programs.append(child)
    return [
        {"genome": str(program), "statements": len(program), "live_statements": len(live_statements(program)),
         "state_slots": len(live(program.dataflow).states)}
        for program in programs
    ]  # fmt: skip


def _births(rng: Random, births: int, search_id: int) -> Iterator[dict[str, Any]]:
    texts = _texts(rng)
    kinds, weights = zip(*ANSWERS, strict=True)
    answers = ["training", *rng.choices(kinds, weights, k=births - 1)]
    for birth, answer in enumerate(answers):
        in_line = birth % GENERATION == 0  # an ancestor of the best
        answer = "training" if in_line else answer
        status, reason, fitness = _ended(rng, birth, births, answer, in_line)
        line = birth - birth % GENERATION
        parent = None if birth == 0 else line - GENERATION if in_line else max(0, birth - 1 - rng.randrange(2000))
        new = answer in ("training", "rejection")
        yield {
            "search_id": search_id, "birth": birth, "batch": birth // BATCH, "parent_birth": parent,
            "mutation": "start" if birth == 0 else rng.choice(("insert", "delete", "modify")),
            "key": f"{birth if new else rng.randrange(birth):032x}", "dataflow_hash": f"{birth:032x}",
            "answered_by": answer, "status": status, "fitness": fitness, "reason": reason, "trainings": 1,
            "standard_error": None, "replica_steps": 500, "hurdle_losses": None, "by_seed": None,
            **texts[min(birth * PROGRAMS // births, PROGRAMS - 1)],
        }  # fmt: skip


def _ended(rng: Random, birth: int, births: int, answer: str, in_line: bool) -> tuple[str, str | None, float | None]:
    """Return the status, the reason and the fitness of a birth."""
    if answer == "rejection":
        return "rejected", "updates do not depend on the gradient", None
    if not in_line and rng.random() < 0.3:
        status = rng.randrange(2)
        return ("diverged", "dropped")[status], REASONS[status].format(rng.randrange(500)), None
    gain = (birth / births) ** 0.5
    return "ok", None, -1.0 + gain if in_line else -1.0 + gain * rng.random() - rng.expovariate(2.0)


def _trainings(rng: Random, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield trainings on each task, and those of the baselines."""
    trained = [row for row in rows if row["answered_by"] == "training"]
    baselines = [{"key": f"b{n}".rjust(32, "0"), "birth": 0, "status": "ok", "fitness": -0.3, "reason": None}
                 for n in range(len(BASELINES))]  # fmt: skip
    for row in [*baselines, *trained]:
        for task in TASKS:
            start = rng.uniform(1.5, 2.5)
            yield {
                "key": row["key"], "task": task, "task_fingerprint": f"of {task}", "seed": 0, "status": row["status"],
                "fitness": row["fitness"], "reason": row["reason"], "steps": 500, "seconds": rng.uniform(1.0, 6.0),
                "device": "cpu", "created": _time(row["birth"]),
                "curve": [start * 0.85**n + rng.gauss(0.3, 0.01) for n in range(20)],
            }  # fmt: skip


def _baselines(search_id: int) -> Iterator[dict[str, Any]]:
    for n, name in enumerate(BASELINES):
        yield {
            "search_id": search_id, "name": name, "genome": str(zoo.load(name)), "key": f"b{n}".rjust(32, "0"),
            "learning_rate": 0.1, "weight_decay": 0.01, "fitness": -0.3 + 0.1 * n, "trials": 28,
        }  # fmt: skip


def _meta_validation(rows: list[dict[str, Any]], search_id: int) -> Iterator[dict[str, Any]]:
    for row in rows[::GENERATION][1:]:
        yield {
            "search_id": search_id, "births": row["birth"] + 1, "birth": row["birth"], "fitness": row["fitness"],
            "meta_fitness": row["fitness"] - 0.1,
        }  # fmt: skip


def _stage(best: dict[str, Any]) -> Iterator[SelectionRow]:
    """Yield the best and the baselines on each task of a funnel's only stage."""
    for task in TASKS:
        one = SelectionRow(
            funnel="large", search="synthetic", stage=1, stages=1, task=task, task_fingerprint=f"of {task}",
            competitor="program", program_id=best["birth"] + 1, passed=True, z=5.0, p=1e-6, ahead=0.1, ahead_error=0.02,
            baseline="adamw", fitness=-0.2, standard_error=0.01, seeds=8, trials=28, learning_rate=1.0,
            weight_decay=0.0, genome=best["genome"],
        )  # fmt: skip
        yield one
        rival = replace(one, program_id=None, passed=False, z=None, p=None, ahead=None, ahead_error=None)
        for name in BASELINES:
            yield replace(rival, competitor=name)


if __name__ == "__main__":
    main()
