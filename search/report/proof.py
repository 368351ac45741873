"""The proof: the winner against tuned baselines on the locked tasks, and what one training of a task says."""

from __future__ import annotations

from collections.abc import Sequence

from search.report.section import Axis, DataTable, Figure, Note, Section
from search.report.source import ReportedSearch
from search.report.style import marks_of
from search.report.text import capitalized, figures, label, number, plural, words
from search.results.text import interrupted_proof, printable
from search.settings.baselines import adamw_among
from search.store.evidence_views import ProofEntry

SURE = 0.05  # p below which a difference counts as more than luck
_STANDARD_ERRORS = 2  # of the bars


def proof(source: ReportedSearch) -> Section:
    """Return the section about the locked tasks."""
    title = "Proof on the locked tasks"
    rows, opened = source.proof, proof_interrupted(source)
    if not rows:
        why = (
            f"{capitalized(opened)}."
            if opened
            else (
                "The locked tasks, which are used for nothing else, were not opened for a program of this search: after"
                " a funnel, `optsearch prove ID` opens them once for a program that has passed it."
            )
        )
        return Section("proof", title, [Note(why), *_noise(source)])
    blocks: list[Figure | DataTable | Note] = [Note(f"{capitalized(opened)}.")] if opened else []
    sets = _sets(rows)
    for place, (name, of_set) in enumerate(sets.items(), start=1):
        blocks += _on_set(place, name, of_set)
    blocks += [_details(rows), *_noise(source)]
    lead = (
        f"Program {rows[0].finalist} and every known optimizer, each tuned with the same number of trials on each task"
        f" and then trained on fresh seeds. The locked tasks were opened on {rows[0].opened[:10]}. Each"
        " locked set is measured apart; p is corrected for all of them."
    )
    return Section("proof", title, blocks, lead)


def proof_outcome(source: ReportedSearch) -> str:
    """Return what came of the proof, set by set; an empty text without a proof."""
    outcomes = [_outcome(name, _rivals(rows)) for name, rows in _sets(source.proof).items()]
    return "; ".join(text for text in outcomes if text)


def _outcome(name: str, rivals: Rivals) -> str:
    if not rivals:
        return ""
    text = f"on the {printable(name)} locked set it beats {len(_beaten(rivals))} of"
    text += f" {plural(len(rivals), 'tuned baseline')} (p < {SURE:g})"
    adamw = adamw_among(rivals)
    if adamw is not None:
        text += f", against tuned AdamW z = {figures(adamw[0].z, 2, sign=True)}"
    return text


def proof_interrupted(source: ReportedSearch) -> str:
    """Return that the locked tasks are opened for a program whose proof has not ended; an empty text if none is."""
    return "" if source.interrupted_proof is None else interrupted_proof(source.interrupted_proof)


Rivals = dict[str, list[ProofEntry]]
"""The results of each baseline by its name, task by task."""


def _sets(rows: Sequence[ProofEntry]) -> dict[str, list[ProofEntry]]:
    """Return the results on each locked set by its name."""
    found: dict[str, list[ProofEntry]] = {}
    for row in rows:
        found.setdefault(row.locked_set, []).append(row)
    return found


def _on_set(place: int, name: str, rows: Sequence[ProofEntry]) -> list[Figure | DataTable | Note]:
    opened = f"The {printable(name)} locked set had been opened for {plural(rows[0].finalists, 'finalist')} by then."
    blocks: list[Figure | DataTable | Note] = [Note(opened)]
    rivals = _rivals(rows)
    if rivals:
        blocks += [_figure(place, name, rivals), _summary(place, name, rivals)]
    return blocks


def _rivals(rows: Sequence[ProofEntry]) -> Rivals:
    found: Rivals = {}
    for row in rows:
        if row.program_id is None:
            found.setdefault(row.competitor, []).append(row)
    return found


def _beaten(rivals: Rivals) -> list[str]:
    return [name for name, (first, *_) in rivals.items() if first.p is not None and first.p < SURE]


def _figure(place: int, name_of_set: str, rivals: Rivals) -> Figure:
    """Return how far the finalist is ahead, in percent of each rival's loss."""
    traces = []
    comparable = {
        name: [(row, row.ahead, abs(row.fitness)) for row in rows if row.ahead is not None and row.fitness]
        for name, rows in rivals.items()
    }
    marks = marks_of(comparable)
    for name, those in ((name, those) for name, those in comparable.items() if those):
        traces.append(
            {"type": "scatter", "mode": "markers", "name": label(name), "x": [label(row.task) for row, _, _ in those],
             "y": [100 * ahead / loss for _, ahead, loss in those],
             "error_y": {"type": "data", "thickness": 1.5, "width": 3, "array": [
                 100 * _STANDARD_ERRORS * (row.ahead_error or 0.0) / loss for row, _, loss in those]},
             "marker": {"color": marks[name].colour, "size": 9, "symbol": marks[name].symbol},
             "hovertemplate": "%{y:+.2f} % of its loss<br>%{x}<extra>ahead of " + label(name) + "</extra>"}
        )  # fmt: skip
    layout = {"scattermode": "group", "scattergap": 0.3}
    axes = Axis("locked task", "category"), Axis("ahead (% of the rival's loss, ± 2 standard errors)")
    caption = _caption(name_of_set, rivals)
    return Figure(f"ahead-on-locked-{place}", caption, traces, *axes, height=430, layout=layout)


def _caption(name_of_set: str, rivals: Rivals) -> str:
    beaten = _beaten(rivals)
    others = [name for name in rivals if name not in beaten]
    text = f"Points above zero: the finalist is better. Over all tasks of the {printable(name_of_set)} locked set it"
    text += f" beats {len(beaten)} of {len(rivals)}"
    text += f" baselines beyond chance (p < {SURE:g})"
    return f"{text}; not shown to beat: {', '.join(others)}." if others and beaten else f"{text}."


def _summary(place: int, name_of_set: str, rivals: Rivals) -> DataTable:
    table = []
    for name, rows in rivals.items():
        better = sum((row.ahead or 0.0) > 0 for row in rows)
        table.append(
            [words(name), words(f"{better} of {len(rows)}"), number(rows[0].z, 3, sign=True), number(rows[0].p, 2),
             number(rows[0].step_time, 3)]
        )  # fmt: skip
    columns = ["rival", "beaten on", "z over all tasks", "p, corrected", "step time (x AdamW)"]
    title = f"over the {printable(name_of_set)} locked set"
    return DataTable(f"proof-summary-{place}", columns, table, ("rival", "beaten on"), True, title)


def _details(rows: Sequence[ProofEntry]) -> DataTable:
    columns = ["competitor", "set", "task", "loss", "± error", "seeds", "failed", "ahead of it", "± error of that",
               "steps to AdamW's loss (share)", "decades of learning rates", "one setting (x AdamW's loss)",
               "state (numbers per weight)", "failed trials", "learning rate", "weight decay"]  # fmt: skip
    table = [
        [
            words(row.competitor), words(row.locked_set), words(row.task),
            number(None if row.fitness is None else -row.fitness), number(row.standard_error, 2),
            number(row.seeds), number(row.seeds_failed), number(row.ahead, 3, sign=True),
            number(row.ahead_error, 2), number(row.steps_to_adamw, 2), number(row.tolerance, 2),
            number(row.one_setting, 3), number(row.state_per_weight, 3), number(row.trials_failed),
            number(row.learning_rate, 3), number(row.weight_decay, 3),
        ]
        for row in rows
    ]  # fmt: skip
    left = ("competitor", "set", "task")
    return DataTable("proof-details", columns, table, left, sortable=True, title="task by task")


def _noise(source: ReportedSearch) -> list[DataTable]:
    """Return how far two trainings of one optimizer lie apart, to judge differences by."""
    table = [
        [words(row.task), number(row.mean), number(row.sigma, 3), number(row.seeds), number(row.seeds_failed)]
        for row in source.results.noise() if row.mean is not None
    ]  # fmt: skip
    if not table:
        return []
    columns = ["task", "mean fitness", "standard deviation between seeds", "seeds", "failed"]
    title = "noise: how far off a single training of a task may be"
    return [DataTable("noise", columns, table, ("task",), sortable=True, title=title)]
