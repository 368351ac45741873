"""Settings of a search: validated and immutable."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from programs import zoo
from programs.errors import InputError
from programs.fingerprint import DEFAULT_BITS, MOST_BITS

from proxy_tasks import Task, get_task
from proxy_tasks.backend import MEMORY_MIB
from proxy_tasks.named import frozen, is_users
from proxy_tasks.outcome import CURVE_POINTS
from proxy_tasks.task import Matmul

from search.settings.baselines import BASELINES

PositiveInt = Annotated[int, Field(ge=1, strict=True)]


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


Number = Annotated[float, BeforeValidator(_no_truth_value)]  # YAML reads 1e-3 as text; pydantic makes it a number

TUNING_SEED = 0  # searches train on seeds 0, 1, ...
FRESH_SEED = 1000  # results are confirmed on seeds 1000, 1001, ... that no search trains on


def _known_baselines(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in BASELINES:
            raise ValueError(f"unknown baseline '{name}'; there are {', '.join(BASELINES)}")
    return names


BaselineNames = Annotated[tuple[str, ...], AfterValidator(_known_baselines)]


Aggregate = Literal["mean", "worst"]


class Immutable(BaseModel):
    """Settings that nobody changes once they are read, and that refuse what they do not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strategy(Immutable):
    """How programs are made.

    `evolution` is regularized evolution: the best of a tournament is mutated, the oldest dies. `tune` is the same with
    one mutation, of constants: hyperparameter tuning of the start program. `random` draws from the whole space.
    """

    kind: Literal["evolution", "random", "tune"] = "evolution"
    """How children are made."""
    population: Annotated[int, Field(ge=2, strict=True)] = 100
    """Programs that live at a time; with each birth the oldest dies."""
    tournament: PositiveInt = 2
    """Programs drawn from the population, of which the best becomes a parent: the more, the greedier."""
    start: str = "adamw"
    """A program of the zoo."""
    start_tuned: bool = False
    """Start from the constants that tuning found for the baseline of this name."""
    max_statements: PositiveInt = 64
    """Longest genome that insertions may make."""
    repeats: PositiveInt = 1
    """Populations side by side, which take turns and share what has been trained."""
    restart_after: PositiveInt | None = None
    """Births of a population after which it begins anew."""
    restart_from: Literal["best", "start"] = "best"
    """Where it begins then: from its own best program, or from the start program."""
    lengths: tuple[PositiveInt, ...] = ()
    """Statements of random programs, each as likely as it is often here; without them any number up to twice that of
    the start program."""

    @field_validator("start")
    @classmethod
    def _known(cls, name: str) -> str:
        zoo.load(name)
        return name

    @model_validator(mode="after")
    def _of_this_kind(self) -> Strategy:
        if self.kind == "random" and (self.restart_after is not None or self.start_tuned):
            raise ValueError("random programs have no start: leave out restart_after and start_tuned")
        if self.kind != "random" and self.lengths:
            raise ValueError("lengths are those of random programs: leave them out, or set kind: random")
        return self


class Dedup(Immutable):
    """How programs already known are recognised, so that none is trained twice. Equal dataflow always counts."""

    fingerprint: bool = True
    """Also merge programs that move weights alike, and reject without training those that cannot learn."""
    bits: Annotated[int, Field(ge=1, le=MOST_BITS, strict=True)] = DEFAULT_BITS
    """Mantissa bits of the updates that decide whether they are alike."""
    reevaluate: Annotated[Number, Field(ge=0, le=1)] = 0.0
    """Probability that a known program is trained once more, on fresh seeds; selection uses the mean."""
    remutate: Annotated[int, Field(ge=0, strict=True)] = 0
    """Most further mutations of a child that does the same as its parent."""
    cache: PositiveInt = 200_000
    """Programs remembered by the driver; the store remembers all."""


class Budget(Immutable):
    """When the run ends: at the first of these that is reached."""

    programs: PositiveInt | None = None
    """Births, trained or answered from the cache."""
    evaluations: PositiveInt | None = None
    """Programs trained; checked between batches."""
    minutes: Annotated[Number, Field(gt=0)] | None = None
    """Of this run; checked between batches."""

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if self.programs is None and self.evaluations is None and self.minutes is None:
            raise ValueError("set at least one of programs, evaluations, minutes")
        return self


class Hurdles(Immutable):
    """Dropping, part-way through training, programs that train worse than any that ended well.

    A hurdle's bound is learned from the programs that this search has trained to the end: of the better part of them,
    the quantile of the losses that they had at that point. So it follows from committed history alone.
    """

    at: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
    """Shares of the steps, in twentieths."""
    better_part: Annotated[Number, Field(gt=0, le=1)] = 0.5
    """Share of the finished programs, by fitness, that a hurdle must let pass..."""
    quantile: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """... up to this quantile of their losses."""
    after: Annotated[int, Field(ge=10, strict=True)] = 50
    """Programs trained to the end before there is any hurdle."""

    @field_validator("at")
    @classmethod
    def _twentieths(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if not shares or any(abs(share * CURVE_POINTS - round(share * CURVE_POINTS)) > 1e-9 for share in shares):
            raise ValueError("expected multiples of 0.05, such as [0.1, 0.3]")
        if sorted(set(shares)) != list(shares):
            raise ValueError("expected rising shares of the steps, such as [0.1, 0.3]")
        return shares

    @property
    def points(self) -> tuple[int, ...]:
        """The shares as numbers of twentieths."""
        return tuple(round(share * CURVE_POINTS) for share in self.at)


def _off(value: Any) -> Any:
    return None if value is False else value  # YAML reads `off` as a truth value


class TaskChoice(Immutable):
    """A task to search on, and what to change of it."""

    name: str
    """A built-in task, or your own as module:function."""
    seeds: Annotated[int, Field(ge=1, le=FRESH_SEED, strict=True)] = 1
    """Trainings of each program; their mean decides."""
    steps: PositiveInt | None = None
    """Training steps instead of the task's own."""
    batch_size: PositiveInt | None = None
    """Samples of a training step instead of the task's own."""
    update_scale: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    """Factor on the updates of all programs on this task, such as its best learning rate over the mean of all tasks."""
    matmul: Matmul = "float32"
    """How precise matrix products are in training; tf32 is for GPUs, bf16 for all. The rest stays float32."""
    data: dict[str, Any] = {}
    """Arguments of the data set, such as `path`."""
    model: dict[str, Any] = {}
    """Arguments of the model, such as `hidden`."""
    anchors: tuple[Number, Number] | None = None
    """Losses between which scores lie where there are several tasks: of a tuned baseline (0) and of the best known (1).
    Built-in tasks know theirs."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if not is_users(name):
            get_task(name)
        return name

    @field_validator("anchors")
    @classmethod
    def _apart(cls, anchors: tuple[float, float] | None) -> tuple[float, float] | None:
        if anchors is not None and anchors[1] >= anchors[0]:
            raise ValueError("expected [loss of a tuned baseline, lower loss of the best known]")
        return anchors

    @property
    def task(self) -> Task:
        task = get_task(self.name)
        changes = {key: value for key in ("steps", "batch_size") if (value := getattr(self, key)) is not None}
        return replace(
            task,
            update_scale=task.update_scale * self.update_scale,
            matmul=self.matmul,
            dataset_args=frozen(dict(task.dataset_args) | self.data),
            model_args=frozen(dict(task.model_args) | self.model),
            **changes,
        )

    @property
    def training_seeds(self) -> range:
        return range(TUNING_SEED, TUNING_SEED + self.seeds)


class EvaluatorSettings(Immutable):
    """Where programs are trained. `batch` and `lookahead` shape the history of a search, the others do not."""

    kind: Literal["ray", "inline"] = "ray"
    """In worker processes that Ray starts, or in the process of the driver itself."""
    workers: PositiveInt | Literal["auto"] = "auto"
    """Processes that train; auto takes `lookahead` on a cluster, and on this machine no more than there is room for."""
    batch: PositiveInt = 32
    """Programs trained together."""
    lookahead: PositiveInt = 4
    """Batches in the making at the same time."""
    rows: PositiveInt | None = None
    """Most trainings at once in a worker; the others of a batch wait, and fill the rows that hurdles free."""
    memory_mib: Annotated[Number, Field(gt=0)] | None = None
    """What training may take in each worker, about; what does not fit waits too. If not given, 2048, or on a GPU most
    of what is free of the worker's share."""
    memory_limit_mib: Annotated[Number, Field(gt=0)] | None = None
    """What a worker may allocate at all, data included: training that goes beyond fails. Twice `memory_mib` and 2048
    more if not given. Workers with a GPU have no limit."""
    timeout_s: Annotated[Number, Field(gt=0)] = 600
    """Seconds that a batch may train; then its worker is ended, and the batch halved until the guilty is alone."""
    address: str | None = None
    """Of a Ray cluster, host:port, or `auto` for the one of this machine; without it Ray is started here."""
    cpus_per_worker: Annotated[Number, Field(gt=0)] = 1
    """CPUs that Ray sets aside for each worker; training takes one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """What programs are trained on."""
    gpus_per_worker: Annotated[Number, Field(ge=0)] = 0
    """GPUs, or a share of one, that Ray sets aside for each worker; needed for the device cuda. With 0.25 four workers
    train on each GPU."""

    @property
    def memory_limit(self) -> float:
        """MiB that a worker may allocate."""
        return 2 * self._memory_mib + 2048 if self.memory_limit_mib is None else self.memory_limit_mib

    @property
    def _memory_mib(self) -> float:
        return MEMORY_MIB if self.memory_mib is None else self.memory_mib

    @field_validator("address")
    @classmethod
    def _not_through_a_client(cls, address: str | None) -> str | None:
        if address is not None and (address != "auto" and not re.fullmatch(r"[^/\s]+:\d+", address)):
            raise ValueError("expected host:port of the head node, or auto")
        return address

    @model_validator(mode="after")
    def _limit_beyond_training(self) -> EvaluatorSettings:
        if self.memory_limit < self._memory_mib:
            raise ValueError("memory_limit_mib must not be below memory_mib")
        return self

    @model_validator(mode="after")
    def _gpus_for_workers(self) -> EvaluatorSettings:
        if self.device == "cuda" and self.kind == "ray" and not self.gpus_per_worker:
            raise ValueError("device cuda needs gpus_per_worker: 1 for a GPU for each worker, 0.25 for four on each")
        return self


# Settings of the evaluator that leave the history as it is.
NOT_PART_OF_HISTORY = (
    "kind", "workers", "rows", "memory_mib", "memory_limit_mib", "timeout_s", "address", "cpus_per_worker", "device",
    "gpus_per_worker",
)  # fmt: skip


class MetaValidation(Immutable):
    """Tasks that a search never sees, on which its best program is trained now and then."""

    tasks: Annotated[tuple[TaskChoice, ...], Field(min_length=1)]
    """With the number of seeds to train on."""
    every: PositiveInt = 1000
    """Births between two looks."""


class Settings(Immutable):
    """One search."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """What the search is called in its store: letters, digits, and . _ -"""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """Where all that is drawn comes from: searches that differ in it alone are independent repetitions."""
    strategy: Strategy = Strategy()
    """How programs are made."""
    budget: Budget
    """When the run ends."""
    tasks: Annotated[tuple[TaskChoice, ...], Field(min_length=1)]
    """What programs are trained on."""
    aggregate: Aggregate = "mean"
    """What decides where there are several tasks: each score is the loss placed between the anchors of the task."""
    hurdles: Annotated[Hurdles | None, BeforeValidator(_off)] = Hurdles()
    """Programs that do worse are dropped on the way; `off` to train every program to the end."""
    dedup: Dedup = Dedup()
    """How programs already known are recognised."""
    evaluator: EvaluatorSettings = EvaluatorSettings()
    """Where programs are trained, how many at once."""
    baselines: BaselineNames = ("adamw", "lion", "sgd_momentum")
    """Known optimizers, tuned on the tasks when the run starts."""
    meta_validation: MetaValidation | None = None
    """Looks at tasks that the search never sees."""
    stop_when: Literal["overfit"] | None = None
    """End the search when what it still gains is lost in meta-validation."""
    store: str = "sqlite:///results.db"
    """The database: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.strategy.start_tuned and self.strategy.start not in self.baselines:
            raise ValueError(f"start_tuned needs '{self.strategy.start}' among the baselines")
        names = [choice.name for choice in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError("tasks: each task may be named once")
        return self

    @model_validator(mode="after")
    def _never_seen(self) -> Settings:
        if self.meta_validation is None:
            if self.stop_when is not None:
                raise ValueError("stop_when: overfit needs meta_validation: {tasks: ...}")
            return self
        seen = {_seen(choice) for choice in self.tasks}
        for choice in self.meta_validation.tasks:
            if _seen(choice) in seen:
                raise ValueError(f"meta_validation: the search itself trains on '{choice.name}'; take another task")
        return self

    def history(self) -> dict[str, Any]:
        """The settings that decide the history of the search, as plain data; the others may change between runs."""
        return self.model_dump(
            mode="json",
            exclude=dict.fromkeys(("name", "budget", "store", "meta_validation", "stop_when"), True)
            | {"evaluator": {*NOT_PART_OF_HISTORY}},
        )


def _seen(choice: TaskChoice) -> tuple[str, ...]:
    """What makes two choices the same to a program: for built-in tasks data and model, whatever the length."""
    if is_users(choice.name):
        return (choice.name,)
    task = get_task(choice.name)
    return task.dataset, task.model


def stored_settings(data: dict[str, Any], search: str) -> Settings:
    """Settings as a database holds them.

    Raises:
        InputError: they are none, or name functions of the user's, which no database may have loaded.
    """
    try:
        settings = Settings.model_validate({key: value for key, value in data.items() if key != "versions"})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, location_of(first["loc"]))) or "settings"
        raise InputError(
            f"search '{search}': its settings in the database are none of this optsearch ({key}: {first['msg']})"
        ) from None
    for choice in settings.tasks:
        if is_users(choice.name):
            raise InputError(
                f"search '{search}' has a task of your own, '{choice.name}', and nothing is loaded because a database"
                " names it: give the config with --config, or the task with --task"
            )
    return settings


def location_of(loc: Sequence[str | int]) -> list[str | int]:
    """The path to a setting, without the branches of unions that pydantic puts at its end."""
    branches = ("constrained", "literal", "function", "int", "float")
    return [part for part in loc if isinstance(part, int) or not part.startswith(branches)]
