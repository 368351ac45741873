"""The proof: the winner against tuned baselines on the locked tasks, and what one training of a task says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search.report.reading import Reading
from search.report.section import (
    INK,
    OURS,
    RIVALS,
    Axis,
    Figure,
    Section,
    Table,
    figures,
    label,
    missing,
    number,
    plural,
    words,
)

SURE = 0.05  # p below which a difference counts as more than luck
_REACH = 1.96  # standard errors of a 95 % interval
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "pentagon")
_COLOURS = (*RIVALS, OURS, INK)


def proof(reading: Reading) -> Section:
    """The section."""
    title = "Proof on the locked tasks"
    blocks: list[Figure | Table] = []
    rows = reading.proof
    if not rows:
        section = missing(
            "proof",
            title,
            "The locked tasks, which nothing touches before, were not opened for a program of this search: after a"
            " funnel, `optsearch prove ID` opens them once for a program that has passed it.",
        )
        blocks = [*_noise(reading)]
        return Section(section.name, title, [*section.blocks, *blocks])
    rivals = [row for row in rows if row["program_id"] is None]
    if rivals:
        blocks += [_figure(rivals), _summary(rivals)]
    blocks += [_details(rows), *_noise(reading)]
    lead = (
        f"Program {rows[0]['finalist']} and every known optimizer, each tuned with the same trials on each task and"
        f" then trained on fresh seeds. The locked tasks were opened on {rows[0]['opened'][:10]}."
    )
    return Section("proof", title, blocks, lead)


def proof_outcome(reading: Reading) -> str:
    """What came of it, in a sentence; empty without a proof."""
    rivals = _of_each(row for row in reading.proof if row["program_id"] is None)
    if not rivals:
        return ""
    ps = {name: rows[0]["p"] for name, rows in rivals.items()}
    beaten = [name for name, p in ps.items() if p is not None and p < SURE]
    text = f"on the locked tasks it beats {len(beaten)} of {plural(len(ps), 'tuned baseline')} (p < {SURE:g})"
    if "adamw" in ps:
        z = rivals["adamw"][0]["z"]
        text += f", against tuned AdamW z = {figures(z, 2, sign=True)}"
    return text


def _of_each(rows: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["competitor"], []).append(row)
    return found


def _figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """What the finalist is ahead, in percent of each rival's loss, with 95 % intervals."""
    traces = []
    of_each = _of_each(row for row in rows if row["ahead"] is not None and row["fitness"])
    for place, (name, those) in enumerate(of_each.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        traces.append(
            {"type": "scatter", "mode": "markers", "name": label(name), "x": [label(row["task"]) for row in those],
             "y": [100 * row["ahead"] / abs(row["fitness"]) for row in those],
             "error_y": {"type": "data", "thickness": 1.5, "width": 3, "array": [
                 100 * _REACH * (row["ahead_error"] or 0.0) / abs(row["fitness"]) for row in those]},
             "marker": {"color": colour, "size": 9, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
             "hovertemplate": "%{y:+.2f} % of its loss<br>%{x}<extra>ahead of " + label(name) + "</extra>"}
        )  # fmt: skip
    layout = {"scattermode": "group", "scattergap": 0.3}
    axes = Axis("locked task", "category"), Axis("ahead (% of the rival's loss, with 95 % interval)")
    return Figure("ahead-on-locked", _see(rows), traces, *axes, height=430, layout=layout)


def _see(rows: Sequence[dict[str, Any]]) -> str:
    of_each = _of_each(rows)
    ps = {name: those[0]["p"] for name, those in of_each.items()}
    beaten = [name for name, p in ps.items() if p is not None and p < SURE]
    hard = [name for name in ps if name not in beaten]
    text = f"Points above zero: the finalist is better. Over all tasks it beats {len(beaten)} of {len(ps)} baselines"
    text += f" beyond chance (p < {SURE:g})"
    return f"{text}; not shown to beat: {', '.join(hard)}." if hard and beaten else f"{text}."


def _summary(rows: Sequence[dict[str, Any]]) -> Table:
    table = []
    for name, those in _of_each(rows).items():
        better = sum((row["ahead"] or 0.0) > 0 for row in those)
        first = those[0]
        table.append(
            [words(name), words(f"{better} of {len(those)}"), number(first["z"], 3, sign=True), number(first["p"], 2),
             number(first["step_time"], 3)]
        )  # fmt: skip
    columns = ["rival", "beaten on", "z over all tasks", "p, corrected", "step time (x AdamW)"]
    return Table("proof-summary", columns, table, ("rival", "beaten on"), sortable=True, title="over all locked tasks")


def _details(rows: Sequence[dict[str, Any]]) -> Table:
    columns = ["competitor", "task", "loss", "± error", "seeds", "failed", "ahead of it", "± error of that",
               "steps to AdamW's loss (share)", "decades of learning rates", "one setting (x AdamW's loss)",
               "state (numbers per weight)", "failed trials", "learning rate", "weight decay"]  # fmt: skip
    table = [
        [
            words(row["competitor"]), words(row["task"]),
            number(None if row["fitness"] is None else -row["fitness"]), number(row["standard_error"], 2),
            number(row["seeds"]), number(row["seeds_failed"]), number(row["ahead"], 3, sign=True),
            number(row["ahead_error"], 2), number(row["steps_to_adamw"], 2), number(row["tolerance"], 2),
            number(row["one_setting"], 3), number(row["state_per_weight"], 3), number(row["trials_failed"]),
            number(row["learning_rate"], 3), number(row["weight_decay"], 3),
        ]
        for row in rows
    ]  # fmt: skip
    return Table("proof-details", columns, table, ("competitor", "task"), sortable=True, title="task by task")


def _noise(reading: Reading) -> list[Table]:
    """How far two trainings of one optimizer lie apart, to judge differences by."""
    rows = [row for row in reading.noise if row["mean"] is not None]
    if not rows:
        return []
    table = [
        [words(row["task"]), number(row["mean"]), number(row["sigma"], 3), number(row["seeds"]),
         number(row["seeds_failed"])]
        for row in rows
    ]  # fmt: skip
    columns = ["task", "mean fitness", "standard deviation between seeds", "seeds", "failed"]
    title = "noise: what one training of a task may be off"
    return [Table("noise", columns, table, ("task",), sortable=True, title=title)]
