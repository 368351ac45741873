"""What is read from the views, as Python knows it: what each column means, and of what type it is.

Every class has the columns of its view (`VIEW_ENTRIES`), in their order; a test holds the two together.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from programs.program import Program, parse


class LeaderboardEntry(NamedTuple):
    """A distinct program that trained well."""

    search: str
    """The search that found it."""
    id: int
    """What commands call it."""
    birth: int
    """Its number in the search, from 0."""
    key: str
    """Of its evaluations: programs that do the same share it."""
    fitness: float
    """Minus the validation loss, or a score where there are several tasks: the higher, the better."""
    over_adamw: float | None
    """Fitness minus that of tuned AdamW."""
    over_best_baseline: float | None
    """Fitness minus that of the best tuned baseline."""
    statements: int
    """In all."""
    live_statements: int
    """Those that matter."""
    state_slots: int
    """Of m and v, those in use: numbers kept for each weight."""
    mutation: str
    """That made it: start, insert, delete, modify, tune; +n for n more."""
    parent_birth: int | None
    """The birth that was mutated."""
    rounds: int
    """How often it was trained, on seeds of their own each time; the fitness is the mean."""
    variance: float | None
    """Of the fitness between rounds."""
    genome: str
    """Its text, dead statements too."""

    @property
    def program(self) -> Program:
        """The program itself."""
        return parse(self.genome, f"program {self.id}")


class ProgressEntry(NamedTuple):
    """A batch of a search: births by what answered them, in the batch and so far."""

    search: str
    """The search."""
    batch: int
    """Its number, from 0."""
    births: int
    """Programs born in it."""
    trained: int
    """Those that were trained."""
    by_hash: int
    """Answered by a program with the same dataflow."""
    by_fingerprint: int
    """Answered by a program that moves weights alike."""
    in_flight: int
    """Answered by a twin that was being trained."""
    rejected: int
    """Not worth training: their updates are zero, not finite, or independent of the gradient."""
    redundant_share: float
    """Of their statements, the share without effect, 0 to 1."""
    births_so_far: int
    """Sums over this batch and those before it."""
    trained_so_far: int
    """As above."""
    by_hash_so_far: int
    """As above."""
    by_fingerprint_so_far: int
    """As above."""
    in_flight_so_far: int
    """As above."""
    rejected_so_far: int
    """As above."""
    best_so_far: float | None
    """Highest fitness until then."""


class FailureEntry(NamedTuple):
    """What failed and why."""

    search: str
    """The search."""
    status: str
    """diverged, dropped, rejected, timeout, error or lost."""
    reason: str | None
    """In words."""
    programs: int
    """To how many programs it happened, of those trained or rejected."""
    example_id: int
    """One of them."""


class MetaValidationEntry(NamedTuple):
    """How the best of a search fared on tasks that the search never sees."""

    search: str
    """The search."""
    births: int
    """After so many births."""
    id: int
    """The best program until then."""
    birth: int
    """Its birth."""
    fitness: float
    """In the search."""
    meta_fitness: float | None
    """On the tasks that the search never sees; none where it failed there."""


class FunnelEntry(NamedTuple):
    """A program or a baseline on a task of a stage of a funnel."""

    funnel: str
    """Its name."""
    search: str
    """Whose programs entered."""
    stage: int
    """From 1."""
    stages: int
    """How many there are."""
    task: str
    """The task."""
    competitor: str
    """Who."""
    program_id: int | None
    """The ID of a program; none of baselines."""
    passed: bool
    """Whether it went on."""
    z: float | None
    """Of being ahead, over all tasks of the stage."""
    p: float | None
    """The chance of such a z by luck, corrected for the number of programs that the search compared."""
    ahead: float | None
    """Of the best baseline on this task, in fitness."""
    ahead_error: float | None
    """Standard error of that."""
    baseline: str
    """The best one on this task."""
    fitness: float | None
    """Mean on fresh seeds; none where training failed."""
    standard_error: float | None
    """Of the mean."""
    seeds: int
    """Fresh ones, on which it was decided."""
    trials: int
    """Of tuning."""
    learning_rate: float
    """As tuned; of programs, a factor on the update."""
    weight_decay: float
    """As tuned."""
    genome: str
    """As tuned."""


class ProofEntry(NamedTuple):
    """A finalist or a baseline on a locked task."""

    finalist: int
    """ID of the program for which the locked tasks were opened."""
    funnel: str
    """That it has passed."""
    opened: str
    """When, in UTC."""
    finished: str | None
    """When all was measured; none before."""
    competitor: str
    """Who."""
    program_id: int | None
    """The ID of the finalist; none of baselines."""
    task: str
    """The task."""
    fitness: float | None
    """Mean on fresh seeds; none where training failed."""
    standard_error: float | None
    """Of the mean."""
    seeds: int
    """Fresh ones."""
    seeds_failed: int
    """Those on which training failed."""
    ahead: float | None
    """How far the finalist is ahead of this competitor on the task, in fitness."""
    ahead_error: float | None
    """Standard error of that."""
    task_z: float | None
    """Of that."""
    steps_to_adamw: float | None
    """Share of the task's steps that reaches the loss of tuned AdamW, 0 to 1; none if none does."""
    tolerance: float | None
    """Decades of learning rates with a loss within 5 % of the lowest."""
    trials: int
    """Of tuning."""
    trials_failed: int
    """Those that diverged."""
    learning_rate: float
    """As tuned; of programs, a factor on the update."""
    weight_decay: float
    """As tuned."""
    one_setting: float | None
    """With one setting for all tasks: loss over that of AdamW tuned for each, geometric mean."""
    state_per_weight: float
    """Numbers kept for each weight."""
    step_time: float
    """Of the exported optimizer, over that of torch's AdamW."""
    z: float | None
    """Of the finalist against this competitor, over all tasks."""
    p: float | None
    """The chance of such a z by luck, corrected for the number of finalists."""
    genome: str
    """As tuned."""


class NoiseEntry(NamedTuple):
    """How much one training of a task says."""

    task: str
    """The task."""
    genome: str
    """The optimizer that was trained again and again."""
    seeds: int
    """How often, on fresh seeds."""
    seeds_failed: int
    """Those on which training failed."""
    mean: float | None
    """Of the fitness."""
    sigma: float | None
    """Standard deviation of the fitness between seeds."""


class ProgramEntry(NamedTuple):
    """Everything that is known of one birth; a row of the table `program`."""

    search: str
    """The search that made it."""
    id: int
    """What commands call it."""
    birth: int
    """Its number in the search, from 0."""
    batch: int
    """That it was born in."""
    parent_birth: int | None
    """The birth that was mutated; none of the start program."""
    mutation: str
    """That made it of its parent."""
    genome: str
    """Its text, dead statements too."""
    dataflow_hash: str
    """The key of what it computes, whatever names and order."""
    key: str
    """Of its evaluations: programs that move weights alike share it."""
    answered_by: str
    """How it got its score: training, reevaluation, hash, fingerprint, in_flight or rejection."""
    statements: int
    """In all."""
    live_statements: int
    """Those that matter."""
    state_slots: int
    """Of m and v, those in use."""
    status: str
    """ok, diverged, dropped, rejected, timeout, error or lost."""
    fitness: float | None
    """If it is ok."""
    reason: str | None
    """Why it is not."""
    rounds: int
    """How often what is known of it was trained, on seeds of their own each time."""
    variance: float | None
    """Of the fitness between rounds."""

    @property
    def program(self) -> Program:
        """The program itself."""
        return parse(self.genome, f"program {self.id}")


class LineageEntry(NamedTuple):
    """A program beside its parent."""

    search: str
    """The search."""
    id: int
    """The program."""
    birth: int
    """Its birth."""
    mutation: str
    """That made it of its parent."""
    status: str
    """How it ended: ok, diverged, dropped, rejected, timeout, error or lost."""
    fitness: float | None
    """If it is ok."""
    genome: str
    """Its text."""
    parent_id: int | None
    """The parent; none of the start program."""
    parent_birth: int | None
    """Its birth."""
    parent_fitness: float | None
    """Its fitness."""
    gain: float | None
    """Fitness minus that of the parent."""

    @property
    def program(self) -> Program:
        """The program itself."""
        return parse(self.genome, f"program {self.id}")


class SearchEntry(NamedTuple):
    """A search."""

    search: str
    """Its name."""
    state: str
    """running, interrupted or finished."""
    started: str
    """When its first run began, in UTC."""
    last_written: str
    """When something was last written, in UTC."""
    seconds: float
    """Spent in all its runs."""
    births: int
    """Programs born."""
    trained: int
    """Those that were trained."""
    best: float | None
    """Highest fitness."""
    settings: dict[str, Any]
    """As it was run, and the versions that its history depends on."""


class BaselineEntry(NamedTuple):
    """A tuned baseline of a search."""

    search: str
    """The search."""
    name: str
    """Of the baseline."""
    genome: str
    """As tuned."""
    key: str
    """Of its evaluations."""
    learning_rate: float
    """As tuned."""
    weight_decay: float
    """As tuned."""
    fitness: float | None
    """On the tasks and seeds of the search; none where every trial failed."""
    trials: int
    """Of tuning."""


class TrainingEntry(NamedTuple):
    """A training: a program on a task with a seed."""

    key: str
    """Of the program."""
    task: str
    """The task."""
    task_fingerprint: str
    """Of the task with its data and settings."""
    seed: int
    """From 0 in searches; 1000 and above are fresh ones."""
    status: str
    """ok, diverged, dropped, timeout, error or lost."""
    fitness: float | None
    """Minus the validation loss, if it is ok."""
    steps: int
    """Trained."""
    seconds: float
    """That a worker took, its share where many were trained at once."""
    device: str
    """Where."""
    reason: str | None
    """Why it is not ok."""
    curve: list[float]
    """Mean training loss over each twentieth of the steps."""
    written: str
    """When it ended, in UTC."""


class PaceEntry(NamedTuple):
    """The trainings of a batch."""

    search: str
    """The search."""
    batch: int
    """Its number, from 0."""
    trainings: int
    """How many."""
    seconds: float
    """That workers took for them."""
    began: str
    """When the first of them was written, in UTC."""
    ended: str
    """When the last of them was."""


class SimplificationEntry(NamedTuple):
    """A step of simplifying a program."""

    search: str
    """The search."""
    id: int
    """The program."""
    step: int
    """Its number, from 0."""
    kind: str
    """dead, rule, linear, ablation, constant and so on."""
    before: str
    """The program before the step."""
    after: str
    """The program after it."""
    evidence: dict[str, Any]
    """What was changed, and what that did."""
    accepted: bool
    """Whether the step stands; ablations that do harm are kept too."""


VIEW_ENTRIES: dict[str, type[tuple[Any, ...]]] = {
    "v_leaderboard": LeaderboardEntry,
    "v_progress": ProgressEntry,
    "v_failures": FailureEntry,
    "v_meta_validation": MetaValidationEntry,
    "v_funnel": FunnelEntry,
    "v_proof": ProofEntry,
    "v_noise": NoiseEntry,
    "v_lineage": LineageEntry,
    "v_searches": SearchEntry,
    "v_baselines": BaselineEntry,
    "v_trainings": TrainingEntry,
    "v_pace": PaceEntry,
    "v_simplification": SimplificationEntry,
}
