"""The tables: every column is declared here, once, with its meaning under it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import Index, String, UniqueConstraint

from proxy_tasks.outcome import Status

from search.store.keys import TRAINED, Answer, Judgement, SearchState
from search.store.rows import Digest, Name, References, Row, TaskName, Title, columns_of, table

ProgramId = Annotated[int, References("program")]


@table("search", UniqueConstraint("name"))
class SearchRow(Row):
    """A search: its settings, its state, and which run drives it."""

    name: Name
    """What the search is called."""
    settings: dict[str, Any]
    """Its settings, and the versions that its history depends on."""
    state: Annotated[str, SearchState]
    """running, interrupted or finished."""
    created: datetime
    """When its first run began."""
    updated: datetime
    """When something was last written for it."""
    seconds: float
    """The time spent in all its runs."""
    holder: str | None
    """The run that drives it, for people; this and the next three are null while none does."""
    holder_token: Annotated[str, String(32)] | None
    """What that run writes with."""
    holder_machine: str | None
    """The machine of that run, since it was last started."""
    holder_pid: int | None
    """The process of that run."""
    heartbeat: float | None
    """When that run was last alive, in seconds by the clock of the database."""


@columns_of
class ProgramColumns(Row):
    """What is known of a birth, for everybody."""

    birth: int
    """The number of the birth in its search, from 0."""
    batch: int
    """The batch that it was drawn in."""
    parent_birth: int | None
    """The birth that was mutated, or whose program was raced; none of start programs, random programs and those from
    outside."""
    mutation: Annotated[str, String(40)]
    """What made it: start, random, outside, a kind of change such as insert, graft, constants or tune, or race: a known
    program on further seeds. After `insert+2` came two more changes; updates of a `graft x0.3` are 0.3 times as
    large."""
    genome: str
    """The text of the program, dead statements included."""
    dataflow_hash: Digest
    """The key of what the program computes, whatever its names and order."""
    key: Digest
    """The key of its trainings: programs that move weights alike share it."""
    answered_by: Annotated[str, Answer]
    """How it got its score: training, reevaluation, hash, fingerprint, in_flight, rejection or constraint."""
    statements: int
    """The number of its statements."""
    live_statements: int
    """The number of statements that matter to the updates."""
    state_slots: float
    """The state slots in use, of m and v: numbers kept for each weight. A slot that is kept by rows or columns counts
    as its share of the weights, in the task where that is the largest."""
    status: Annotated[str, Status]
    """ok, diverged, dropped, rejected, timeout, error or lost."""
    fitness: float | None
    """Minus the validation loss or error rate, or a score where there are several tasks: the higher, the better; if it
    is ok."""
    reason: str | None
    """Why it is not ok."""
    trainings: int
    """The number of trainings that the fitness rests on, over all tasks and seeds."""
    standard_error: float | None
    """The standard error of the fitness; none where nothing is known of the noise of seeds."""
    replica_steps: int
    """The training steps of this evaluation, over all its trainings; 0 where it was answered without."""

    @property
    def is_trained(self) -> bool:
        """Whether its score comes from training."""
        return self.answered_by in TRAINED

    @property
    def lower(self) -> float | None:
        """The fitness less its standard error, by which programs are ranked."""
        return None if self.fitness is None else self.fitness - (self.standard_error or 0.0)


@table(
    "program",
    UniqueConstraint("search_id", "birth"),
    Index("ix_program_fitness", "search_id", "answered_by", "fitness"),
    Index("ix_program_key", "key"),
    of="search",
)
class ProgramRow(ProgramColumns):
    """A birth: its parent, the mutation, the program with its keys, what answered it, its fitness."""

    hurdle_losses: Sequence[float] | None = None
    """The training losses at the hurdles of a program trained to the end; of use to the search alone."""
    by_seed: Sequence[float] | None = None
    """The fitness of each training of a raced program, rung by rung, and task by task within a rung."""


@table("training", UniqueConstraint("key", "task_fingerprint", "seed"), created=True)
class TrainingRow(Row):
    """A training, of whatever search: searches share them."""

    key: Digest
    """The key of the program's trainings."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    seed: int
    """The seed: from 0 in searches, 1000 and above where results are confirmed."""
    task: TaskName
    """The name of the task."""
    status: Annotated[str, Status]
    """ok, diverged, dropped, timeout, error or lost."""
    fitness: float | None
    """Minus the validation loss, or minus the validation error rate where the task says so, if it is ok."""
    curve: Sequence[float]
    """The mean training loss over each twentieth of the steps."""
    steps: int
    """The steps that were trained."""
    seconds: float
    """The time of a worker that it took: its share where many were trained at once."""
    device: Annotated[str, String(50)]
    """What it was trained on."""
    host: Annotated[str, String(100)] | None
    """The machine of the worker that trained it; none where no worker came to an end with it."""
    pid: int | None
    """The process of that worker."""
    reason: str | None
    """Why it is not ok."""
    metric: float | None
    """The metric of the task on the validation samples, or the accuracy where fitness is by it; if it has one and the
    training is ok."""
    gradient_norms: Sequence[float] | None
    """The norms of the gradients of all steps, of trainings that `optsearch refine` has recorded."""


@table("baseline", UniqueConstraint("search_id", "name"), of="search")
class BaselineRow(Row):
    """A tuned baseline of a search."""

    name: Annotated[Name, String(50)]
    """The name of the baseline."""
    genome: str
    """The baseline as tuned."""
    key: Digest
    """The key of its trainings."""
    learning_rate: float
    """The learning rate that tuning found."""
    weight_decay: float
    """The weight decay that tuning found."""
    fitness: float | None
    """The fitness on the tasks and seeds of the search; none where every trial failed."""
    trials: int
    """The number of tuning trials."""


@table("meta_validation", UniqueConstraint("search_id", "births"), of="search")
class MetaValidationRow(Row):
    """How the best program of a search, after some births, fared on tasks that the search never sees."""

    births: int
    """The births committed when the best program was taken."""
    birth: int
    """The birth of that program."""
    fitness: float
    """Its fitness in the search, as far as it was known then."""
    meta_fitness: float | None
    """Its fitness on the tasks that the search never sees; none where training failed there."""


@table("verdict", UniqueConstraint("search_id"), of="search", created=True)
class VerdictRow(Row):
    """Whether a search has found something better than the best tuned baseline: its best candidate on fresh seeds."""

    births: int
    """The births of the search when it was judged."""
    judgement: Annotated[str, Judgement]
    """ahead, behind, undecided or nothing."""
    program_id: ProgramId | None
    """The ID of the candidate; none where nothing but baselines has trained well."""
    baseline: Name | None
    """The tuned baseline that did best on the same seeds; none where no baseline trained on all of them."""
    seeds: int
    """The number of fresh seeds that have judged; others have chosen the candidate."""
    seeds_failed: int
    """Those of them on which the training of the candidate failed."""
    fitness: float | None
    """The mean fitness of the candidate on them."""
    baseline_fitness: float | None
    """That of the baseline."""
    ahead: float | None
    """The mean of what the candidate is ahead of the baseline, seed by seed."""
    ahead_error: float | None
    """The standard error of that."""
    z: float | None
    """The z of that, at most 40; beyond 2.42 on either side decides."""


@table("proposal", UniqueConstraint("search_id", "birth", "number"), of="search", created=True)
class ProposalRow(Row):
    """A text of a program from outside, or what was wrong with an answer; written before anything of it is used."""

    birth: int
    """The births drawn when it was asked for."""
    population: int
    """The population that was asked about, and that gets the program, from 0."""
    number: int
    """Its place in the answer, from 0."""
    text: str | None
    """The text as it was answered, cut if it is not used; none where the answer has no texts."""
    problem: str | None
    """Why it is not used."""


@table("proxy_measurement", UniqueConstraint("program_id", "task_fingerprint"), of="search", created=True)
class ProxyMeasurementRow(Row):
    """A program of a search on a task, tuned there as all others are: what the task says of programs."""

    program_id: ProgramId
    """The ID of the program."""
    task: TaskName
    """The task; NAME@STEPS where it is trained for another number of steps than its own."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    steps: int
    """The steps of one training."""
    trials: int
    """The number of tuning trials."""
    tuning_seeds: int
    """The number of seeds that programs are tuned on."""
    seeds: int
    """The number of fresh seeds."""
    seeds_failed: int
    """The number of fresh seeds on which training failed."""
    fitness: float | None
    """The mean fitness on fresh seeds; none where training failed on any."""
    standard_error: float | None
    """The standard error of the mean."""
    learning_rate: float
    """The factor on the update as tuned."""
    weight_decay: float
    """The weight decay as tuned."""
    genome: str
    """The program as tuned."""


@table("funnel_settings", UniqueConstraint("name"), created=True)
class FunnelRow(Row):
    """A funnel that has been begun."""

    name: Title
    """The name of the funnel."""
    settings: dict[str, Any]
    """Its settings, and what its tasks mean."""


@table("selection", UniqueConstraint("funnel", "stage", "competitor", "task_fingerprint"), created=True)
class SelectionRow(Row):
    """A program or a baseline on a task of a stage of a funnel: as tuned there, on fresh seeds."""

    funnel: Title
    """The name of the funnel."""
    search: Name
    """The search whose programs entered."""
    stage: int
    """The number of the stage, from 1."""
    stages: int
    """The number of stages of the funnel."""
    task: TaskName
    """The task."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    competitor: Title
    """The program or the baseline."""
    program_id: ProgramId | None
    """The ID of a program; none of baselines."""
    passed: bool
    """Whether it went on to the next stage."""
    z: float | None
    """The z of being ahead, over all tasks of the stage."""
    p: float | None
    """The chance of such a z by luck, corrected for the number of programs that the search compared."""
    ahead: float | None
    """How far it is ahead of the best baseline on this task, in fitness."""
    ahead_error: float | None
    """The standard error of that."""
    baseline: Title
    """The baseline that is hardest to beat."""
    fitness: float | None
    """The mean fitness on fresh seeds; none where training failed."""
    standard_error: float | None
    """The standard error of the mean."""
    seeds: int
    """The number of fresh seeds."""
    trials: int
    """The number of tuning trials."""
    learning_rate: float
    """The learning rate as tuned; of programs, a factor on the update."""
    weight_decay: float
    """The weight decay as tuned."""
    genome: str
    """The competitor as tuned."""


@table("opening", UniqueConstraint("dataflow_hash"))
class OpeningRow(Row):
    """An opening of the locked sets, all at once: for which finalist, and when."""

    program_id: ProgramId
    """The ID of the finalist."""
    dataflow_hash: Digest
    """What the finalist computes: the tasks are opened once for all programs that compute the same."""
    funnel: Title
    """The funnel that it has passed."""
    opened: datetime
    """When the tasks were opened."""
    finished: datetime | None
    """When everything was measured; none while the proof is incomplete."""
    trainings: int
    """The trainings that the proof takes at most."""
    settings: dict[str, Any]
    """What the locked tasks and user-defined functions meant when they were opened."""


@table("proof", UniqueConstraint("opening_id", "competitor", "task_fingerprint"), of="opening")
class ProofRow(Row):
    """A finalist or a baseline on a locked task, as tuned there, and what was measured."""

    competitor: Title
    """The finalist or the baseline."""
    program_id: ProgramId | None
    """The ID of the finalist; none of baselines."""
    locked_set: Title
    """The set that the task belongs to."""
    finalists: int
    """For how many finalists the set had ever been opened, this one included."""
    task: TaskName
    """The task."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    genome: str
    """The competitor as tuned."""
    learning_rate: float
    """The learning rate as tuned; of programs, a factor on the update."""
    weight_decay: float
    """The weight decay as tuned."""
    trials: int
    """The number of tuning trials."""
    trials_failed: int
    """The number of trials that diverged."""
    seeds: int
    """The number of fresh seeds."""
    seeds_failed: int
    """The number of seeds on which training failed."""
    fitness: float | None
    """The mean fitness on fresh seeds; none where training failed."""
    standard_error: float | None
    """The standard error of the mean."""
    ahead: float | None
    """How far the finalist is ahead of this competitor on the task, in fitness."""
    ahead_error: float | None
    """The standard error of that."""
    task_z: float | None
    """The z of that."""
    steps_to_adamw: float | None
    """The share of the task's steps that reaches the loss of tuned AdamW, 0 to 1; none if none does."""
    tolerance: float | None
    """The decades of learning rates with a loss within 5 % of the lowest."""
    one_setting: float | None
    """With one setting for all tasks of the set: the loss over that of AdamW tuned for each, geometric mean."""
    state_per_weight: float
    """The numbers kept for each weight."""
    step_time: float
    """The time of a step of the exported optimizer, over that of torch's AdamW."""
    z: float | None
    """The z of the finalist against this competitor, over all tasks of the set."""
    p: float | None
    """The chance of such a z by luck, times finalists and sets."""


@table("task_noise", UniqueConstraint("key", "task_fingerprint"), created=True)
class NoiseRow(Row):
    """How much one training of a task says: the spread of one optimizer's fitness over fresh seeds."""

    task: TaskName
    """The task."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    key: Digest
    """The key of the optimizer's trainings."""
    genome: str
    """The optimizer that was trained again and again."""
    seeds: int
    """The number of fresh seeds."""
    seeds_failed: int
    """The number of seeds on which training failed."""
    mean: float | None
    """The mean of the fitness; none where fewer than two trainings were ok."""
    sigma: float | None
    """The standard deviation of the fitness between seeds."""


@table("simplification", UniqueConstraint("program_id", "step"), of="program", created=True)
class SimplificationRow(Row):
    """A step of simplifying a program."""

    step: int
    """The number of the step, from 0."""
    kind: Annotated[str, String(20)]
    """dead, rule, linear, ablation, constant and so on."""
    before: str
    """The program before the step."""
    after: str
    """The program after it."""
    evidence: dict[str, Any]
    """What was changed, and what that did."""
    accepted: bool
    """Whether the step stands; ablations that do harm are kept too."""


@table("export", of="program", created=True)
class ExportRow(Row):
    """An exported program."""

    target: Annotated[str, String(20)]
    """torch, optax or dsl."""
    class_name: Title
    """The name of the optimizer."""
    source: str
    """The file as it was written."""


@table("data_sheet", UniqueConstraint("dataflow_hash", "task_fingerprint"), created=True)
class DataSheetRow(Row):
    """A data sheet of an optimizer on a task, as `optsearch analyze` made it last."""

    program: Title
    """What the program was called: program 42, the name of a file, or one of the zoo."""
    dataflow_hash: Digest
    """What the program computes."""
    genome: str
    """The text of the program."""
    task: TaskName
    """The task."""
    task_fingerprint: Digest
    """The task with its data and settings."""
    sections: dict[str, Any]
    """Its sections by name, each with sentences and tables."""
