"""The command `optsearch simplify`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from programs.errors import InputError
from programs.liveness import state_kinds
from programs.program import Program
from programs.simplify import Recording, equations
from programs.simplify.evidence import largest_difference, updates
from programs.user_functions import as_text

from search.commands.chosen_settings import chosen_tasks
from search.commands.export import write_text
from search.commands.options import (
    RESULTS,
    ConfigOption,
    ProgramArgument,
    StoreOption,
    allow_user_modules,
    numeric,
)
from search.commands.progress import counting_trainings
from search.commands.terminal import console, number, show_program, show_table
from search.evidence.recording import record
from search.evidence.scaled_tasks import LossIncrease, ScaledTask, difference, losses, scaled_task
from search.evidence.simplification import (
    ABLATION,
    NAMES,
    Simplification,
    SimplificationStep,
    TrainingEvidence,
    simplify,
)
from search.results.export import NamedProgram
from search.results.programs import named_program
from search.results.results import Results
from search.settings import limits
from search.settings.seeds import FRESH_SEED, fresh_seeds, tuning_seeds
from search.settings.settings import Dedup
from search.store import open_store
from search.store.tables import SimplificationRow
from search.training.inline import InlineEvaluator
from search.training.service import TrainingService

BATCH = 128
DEDUP = Dedup(fingerprint=False)  # programs that differ at all are trained separately
DEFAULT_TASK = "digits_mlp_short"  # it needs every part of known optimizers, see docs/simplify.md


def command(
    program: ProgramArgument,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="A task that judges changes: built-in, or your own as module:function; again for more."
            " Without it those of the program's search, or digits_mlp_short."
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(**numeric(limits.SIMPLIFY_SEEDS), help="Seeds on which a change must do no harm.")
    ] = 32,
    tolerance: Annotated[
        float,
        typer.Option(
            **numeric(limits.TOLERANCE, float), help="Standard deviations between seeds by which a loss may be higher."
        ),
    ] = 1.0,
    training: Annotated[
        bool, typer.Option(" /--no-training", show_default=False, help="Only what algebra can tell.")
    ] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the program found.")] = None,
    config: ConfigOption = None,
    store: StoreOption = RESULTS,
) -> None:
    """Make a program as simple as algebra and training allow. Steps of a program of the store are kept there."""
    allow_user_modules()
    simplify_program(program, task or [], seeds if training else None, tolerance, store, output, config)


class _Losses(NamedTuple):
    """The losses of the original and of the simplified program on fresh seeds of a task."""

    on: ScaledTask
    before: list[float]
    after: list[float]

    @property
    def difference(self) -> LossIncrease | None:
        """None if the original fails on some seed."""
        return difference(self.on.task.name, self.after, self.before) if all(map(math.isfinite, self.before)) else None

    def is_beyond(self, tolerance: float) -> bool:
        return self.difference is not None and self.difference.bound > tolerance


def simplify_program(
    what: str,
    tasks: Sequence[str],
    seeds: int | None,
    tolerance: float,
    store: str,
    output: Path | None,
    config: Path | None = None,
) -> Simplification:
    """Simplify, print the steps and the program found, and keep the steps where the program is one of the store.

    Args:
        what: ID, file or name of a program.
        tasks: names; changes must be harmless on all of them. Without any, those of the search that the program comes
            from, for other programs DEFAULT_TASK.
        seeds: of each training; None for algebra alone.
        tolerance: of losses, in standard deviations between seeds.
        store: where the program, and trainings already done, are looked for.
        output: a file for the program found, or None.
        config: the YAML file of that search.

    Raises:
        InputError: unknown program or task, a program that trains on none, or a file that cannot be written.
        StoreError: the store cannot be written.
    """
    if math.isnan(tolerance):
        raise InputError("--tolerance nan: not a number; expected standard deviations, such as 1")
    fresh: list[_Losses] = []
    with named_program(what, store) as (found, results):
        if results is not None:
            results.store.require_writable()
        on = [ScaledTask(task, 1.0) for task in chosen_tasks(found, results, tasks, config, DEFAULT_TASK)]
        if seeds is None:
            result = simplify(found.program)
        else:
            result, on, fresh = _trained(found, on, seeds, tolerance, store, results)
        if results is not None and found.entry is not None:
            results.store.set_simplification(found.entry.id, _rows(result))
    _show(found.name, result, on, fresh, tolerance)
    if output is not None:
        write_text(as_text(result.program), output)
    return result


def _trained(
    found: NamedProgram,
    tasks: Sequence[ScaledTask],
    seeds: int,
    tolerance: float,
    location: str,
    results: Results | None,
) -> tuple[Simplification, list[ScaledTask], list[_Losses]]:
    """Simplify with training; return the result, the tasks with their scales, and the losses on fresh seeds."""
    kept = closing(open_store(location, create=True)) if results is None else nullcontext(results.store)
    with kept as database:
        service = TrainingService(database, InlineEvaluator(), BATCH, DEDUP)
        with counting_trainings(service):
            on = _scaled(found, tasks, tuning_seeds(seeds), service)
            training = TrainingEvidence(service, on, tuning_seeds(seeds), tolerance)
            result = simplify(found.program, training, lambda line: console.print(line, markup=False))
            return result, on, _confirmed(result, on, fresh_seeds(seeds), service)


def _scaled(
    found: NamedProgram, tasks: Sequence[ScaledTask], seeds: Sequence[int], service: TrainingService
) -> list[ScaledTask]:
    on = [scaled_task(found.program, task, seeds, service) for task, _ in tasks]
    for task, update_scale in on:
        console.print(f"{task.name}: updates of {found.name} multiplied by {update_scale:g}", markup=False)
    return on


def _confirmed(
    result: Simplification, tasks: Sequence[ScaledTask], seeds: Sequence[int], service: TrainingService
) -> list[_Losses]:
    return [_Losses(on, *losses([result.original, result.program], on, seeds, service)) for on in tasks]


def _rows(result: Simplification) -> list[SimplificationRow]:
    return [
        SimplificationRow(number, step.kind, str(step.before), str(step.after), step.evidence, step.accepted)
        for number, step in enumerate(result.steps)
    ]


# --- what is printed -------------------------------------------------------------------------------------------------


def _show(
    name: str, result: Simplification, tasks: Sequence[ScaledTask], fresh: Sequence[_Losses], tolerance: float
) -> None:
    _show_steps(result)
    _show_refused(result)
    rows = [*_sizes(result), *map(_loss_row, fresh), *(row for on in tasks for row in _update_rows(result, on))]
    show_table(f"{name}, before and after", ["", "before", "after", "difference"], rows, left=[""])
    for found in fresh:
        if found.is_beyond(tolerance):
            console.print(
                f"On fresh seeds of {found.on.task.name} the {found.on.task.error} grows by more than the tolerance of"
                f" {tolerance:g} standard deviations: try more --seeds, or a smaller --tolerance."
            )
    console.print("simplified:")
    show_program(result.program)
    hyperparameters = next(s.evidence["names"] for s in result.steps if s.kind == NAMES)
    console.print("hyperparameters: " + (", ".join(f"{k} = {v!r}" for k, v in hyperparameters.items()) or "none"))
    console.print(equations(result.program), markup=False, soft_wrap=True)


def _show_steps(result: Simplification) -> None:
    steps = [s for s in result.steps if s.kind != NAMES and (s.accepted or "differences" not in s.evidence)]
    rows = [
        [
            str(n), step.kind, step.evidence.get("change", ""), str(len(step.after)), _evidence(step),
            "" if step.accepted else "undone",
        ]
        for n, step in enumerate(steps, start=1)
    ]  # fmt: skip
    if not rows:
        console.print("no step: nothing can be taken away")
        return
    columns = ["", "kind", "change", "statements", "evidence", " "]
    show_table("steps", columns, rows, left=["kind", "change", "evidence"])


def _evidence(step: SimplificationStep) -> str:
    if "differences" in step.evidence:
        return ", ".join(f"{task} {_sd(*found)}" for task, found in step.evidence["differences"].items())
    return f"{step.evidence['tag']}, updates differ by {float(step.evidence['float64']):.1g}"


def _sd(mean: float | str, error: float | str) -> str:
    return "fails" if float(mean) == float("inf") else f"{float(mean):+.2f} ± {float(error):.2f} sd"


def _show_refused(result: Simplification) -> None:
    """Print the changes that the last round of ablation refused."""
    refused = [s for s in result.steps if s.kind == ABLATION and not s.accepted]
    rows = [
        [s.evidence["change"], str(s.evidence["seeds"]), _evidence(s)]
        for s in refused
        if s.before == refused[-1].before
    ]
    if rows:
        show_table("what training needs", ["change refused", "seeds", "loss"], rows, left=["change refused", "loss"])


def _sizes(result: Simplification) -> list[list[str]]:
    before, after = result.original, result.program
    return [
        ["statements", str(len(before)), str(len(after)), str(len(after) - len(before))],
        ["state slots", *(str(_slots(p)) for p in (before, after)), str(_slots(after) - _slots(before))],
    ]


def _slots(program: Program) -> int:
    return len(state_kinds(program))


def _loss_row(found: _Losses) -> list[str]:
    task, seeds = found.on.task, len(found.before)
    title = f"{task.error} on {task.name}, {seeds} fresh seeds, updates x {found.on.update_scale:g}"
    difference = "" if found.difference is None else _sd(*found.difference[1:])
    return [title, _with_error(found.before), _with_error(found.after), difference]


def _with_error(losses: Sequence[float]) -> str:
    failed = sum(not math.isfinite(loss) for loss in losses)
    if failed:
        return f"{failed} of {len(losses)} fail"
    return f"{number(statistics.fmean(losses))} ± {number(statistics.stdev(losses) / len(losses) ** 0.5)}"


def _update_rows(result: Simplification, on: ScaledTask) -> list[list[str]]:
    """Return how far the updates of both programs differ, relative to the largest update of each parameter tensor."""
    recording = record(result.original, on, FRESH_SEED)
    assert result.by_algebra is not None
    title = f"largest difference of updates on {len(recording.gradients)} recorded gradients of {on.task.name}"
    stages = {"by algebra alone": result.by_algebra, "in all": result.program}
    return [[f"{title}, {how}", "", "", _distance(result.original, p, recording)] for how, p in stages.items()]


def _distance(before: Program, after: Program, recording: Recording) -> str:
    found = largest_difference(updates(before, recording), updates(after, recording), recording.layout)
    return f"{found:.2g}"
