"""Results as text for the terminal: tables of at most 100 columns, and programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from programs.liveness import live, live_program, live_statements
from programs.program import Program

from search.pareto import pareto_front
from search.statistics import difference
from search.store import BaselineRow, Store
from search.tuning import Trainings

WIDTH = 100

# Square brackets are no markup: names and reasons come from databases, which may hold anything.
console = Console(width=None if Console().is_terminal else WIDTH, highlight=False, markup=False)


def printable(text: str, most: int = 1000) -> str:
    """Text from a database as it may be shown: nothing that steers a terminal, and not endless."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return shown + "..." if len(text) > most else shown


def number(value: float | None, sign: bool = False) -> str:
    """Five significant digits, a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:+.5f}" if sign else f"{value:.5f}"


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Sequence[str] = (),
    wrap: Sequence[str] = (),
) -> None:
    """Print a table; columns are aligned right unless named in `left`, and kept on one line unless named in `wrap`."""
    table = Table(title=printable(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(
            column, justify="left" if column in left else "right", no_wrap=column not in wrap, overflow="fold"
        )
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


def show_leaderboard(store: Store, search: str | None, limit: int, pareto: bool = False) -> list[dict[str, Any]]:
    """Print the best programs of a search, or of all; returns their rows.

    Args:
        store: that holds them.
        search: its name.
        limit: rows at most.
        pareto: only programs that no other beats in fitness, live statements and state slots together.
    """
    condition = "WHERE search = :search" if search else ""
    query = f"SELECT * FROM v_leaderboard {condition}"
    if pareto:
        rows = pareto_front(store.rows(query, search=search))[:limit]
    else:
        rows = store.rows(f"{query} LIMIT :limit", search=search, limit=limit)
    show_table(
        ("Pareto front" if pareto else "leaderboard") + (f" of {search}" if search else ""),
        ["id", "search", "fitness", "over AdamW", "over best", "statements", "live", "states", "birth"],
        [
            [
                str(r["id"]), r["search"], number(r["fitness"]), number(r["over_adamw"], sign=True),
                number(r["over_best_baseline"], sign=True), str(r["statements"]), str(r["live_statements"]),
                str(r["state_slots"]), str(r["birth"]),
            ]
            for r in rows
        ],
        left=["search"],
    )  # fmt: skip
    return rows


def show_baselines(baselines: Iterable[BaselineRow]) -> None:
    """Print tuned baselines with what tuning found."""
    show_table(
        "tuned baselines",
        ["baseline", "fitness", "learning rate", "weight decay", "settings tried"],
        [[b.name, number(b.fitness), f"{b.learning_rate:g}", f"{b.weight_decay:g}", str(b.trials)] for b in baselines],
        left=["baseline"],
    )


def show_program(program: Program, dead_too: bool = True) -> None:
    """Print a program as a function; dead statements, if wanted, are dimmed and marked."""
    shown = program if dead_too else live_program(program)
    alive = {0, len(shown) + 1, *(position + 1 for position in live_statements(shown))}
    for place, line in enumerate(shown.as_function().splitlines()):
        dead = place not in alive
        console.print(f"    {line}{'    # dead' if dead else ''}", style="dim" if dead else None)


def describe(program: Program) -> str:
    """Size and memory of a program in a phrase."""
    slots = len(live(program.dataflow).states)
    return (
        f"{len(program)} statements, {len(live_statements(program))} of them live,"
        f" {slots} state slot{'s' * (slots != 1)} in use"
    )


def show_trainings(title: str, names: Sequence[str], trainings: Sequence[Sequence[Trainings]]) -> None:
    """Print how programs fared on fresh seeds: one row for each program and task."""
    show_table(
        title,
        ["program", "task", "fitness", "std. error", "seeds", "of each seed"],
        [
            [
                name, t.task, number(t.mean), number(t.standard_error), str(len(t.fitness) + len(t.failures)),
                " ".join([number(f) for f in t.fitness] + [f.split(":")[0] for f in t.failures]),
            ]
            for name, of_program in zip(names, trainings, strict=True)
            for t in of_program
        ],
        left=["program", "task"],
        wrap=["of each seed"],
    )  # fmt: skip


def show_differences(name: str, ours: Trainings, rivals: Mapping[str, Trainings]) -> None:
    """Print what the mean fitness of a program on one task is above that of rivals, and how sure that is."""
    found = {rival: difference(ours.by_seed, theirs.by_seed) for rival, theirs in rivals.items()}
    rows = []
    for rival, d in found.items():
        if d is not None:
            low, high = d.interval()
            row = [number(d.mean, True), number(d.standard_error), f"{number(low, True)} to {number(high, True)}"]
            rows.append([f"{name} - {rival}", *row, f"{d.z:+.2f}", "yes" if d.paired else "no"])
    if rows:
        columns = ["difference", "fitness", "std. error", "95 % interval", "z", "paired"]
        show_table("differences of means", columns, rows, left=["difference"])
