"""The settings of a search: validated and immutable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from programs import zoo
from programs.fingerprint import DEFAULT_BITS, MOST_BITS
from programs.ops import OPS, Op
from programs.proposals import PROPOSALS

from proxy_tasks import get_task
from proxy_tasks.backend import MEMORY_MIB
from proxy_tasks.named import is_users
from proxy_tasks.outcome import CURVE_POINTS

from search.settings import limits
from search.settings.fields import BaselineNames, Immutable, Number, SearchName, ShortText, Text, Within, plain
from search.settings.language import Language, LanguageSetting
from search.settings.proposals import Proposals
from search.settings.tasks import SearchTaskChoice, TaskChoice, TaskSeeds, as_choices, task_seeds

Aggregate = Literal["mean", "worst"]
Objective = Literal["fitness", "states", "statements"]
AnyTaskChoice = TypeVar("AnyTaskChoice", bound=TaskChoice)


def _listed(value: Any) -> Any:
    return [plain(value)] if isinstance(value, str) else value


def _starts(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        zoo.load(name)
    return _once(names)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"'{name}' is named {times} times; name it once")
    return names


def _with_fitness(names: tuple[Objective, ...]) -> tuple[Objective, ...]:
    _once(names)
    if "fitness" not in names:
        raise ValueError("fitness must be among the objectives")
    return names


Starts = Annotated[
    tuple[ShortText, ...],
    Field(min_length=1),
    BeforeValidator(_listed),
    AfterValidator(_starts),
    PlainSerializer(lambda names: names[0] if len(names) == 1 else names, return_type=str | tuple[str, ...]),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


def _named_once(choices: tuple[AnyTaskChoice, ...]) -> tuple[AnyTaskChoice, ...]:
    if len({choice.name for choice in choices}) < len(choices):
        raise ValueError("each task may be named once")
    return choices


TaskChoices = Annotated[
    tuple[TaskChoice, ...], Field(min_length=1), BeforeValidator(as_choices), AfterValidator(_named_once)
]
SearchTaskChoices = Annotated[
    tuple[SearchTaskChoice, ...], Field(min_length=1), BeforeValidator(as_choices), AfterValidator(_named_once)
]


class Strategy(Immutable):
    """How programs are made.

    `evolution` evolves structures and their constants apart. `paper` is the search of the Lion paper, regularized
    evolution: the best of a tournament is mutated, the oldest dies. `tune` is the same with one mutation, of constants:
    hyperparameter tuning of the start program. `random` draws from the whole space.
    """

    kind: Literal["evolution", "paper", "random", "tune"] = "evolution"
    """How children are made."""
    population: Annotated[int, Within(limits.POPULATION)] = 100
    """Programs that live at a time, or structures of an island in `evolution`. With `paper` and `tune` the oldest dies
    with each birth, with `evolution` the worst."""
    tournament: Annotated[int, Within(limits.TOURNAMENT)] = 2
    """Programs drawn from the population, perhaps some twice; the best becomes a parent: the more, the greedier."""
    start: Starts = ("adamw",)
    """A program of the zoo, or a list of them: all enter every population."""
    start_tuned: bool = False
    """Start from the constants that tuning found for the baselines of these names; if not given, where there are such
    baselines for all of them."""
    max_statements: Annotated[int, Within(limits.STATEMENTS)] = 64
    """Longest genome that insertions may make."""
    max_states: Annotated[Number, Within(limits.STATES)] | None = None
    """The most numbers that a program may keep for each weight: 0, 1, 2, or between these, such as 1.01, which leaves
    room for a state that is kept by rows or columns. The largest model of the tasks, in this respect, decides. Children
    with more are not trained."""
    max_live_statements: Annotated[int, Within(limits.STATEMENTS)] | None = None
    """The most statements with an effect. Children with more are not trained."""
    repeats: Annotated[int, Within(limits.REPEATS)] = 1
    """Populations that take turns and share what has been trained."""
    restart_after: Annotated[int, Within(limits.BIRTHS)] | None = None
    """Births of a population after which it starts again; with `evolution`, trained births without a new best."""
    restart_from: Literal["best", "start"] = "best"
    """What it starts again from: its own best program, or the start program."""
    lengths: tuple[Annotated[int, Within(limits.STATEMENTS)], ...] = ()
    """Numbers of statements from which those of random programs are drawn; without them any number up to twice that of
    the start program."""
    constants: Annotated[Number, Field(ge=0, le=1)] = 0.2
    """Share of births, at first, that give a structure other constants: 0 leaves constants to the other changes, with 1
    there are no other changes."""
    operators: tuple[ShortText, ...] = ()
    """Changes that make new structures, such as [insert, delete, modify]; all of them if not given."""
    adapt: bool = True
    """Whether what a kind of change has gained decides how often it is tried."""
    match_size: bool = True
    """Whether a new structure is given updates of the size of its parent's."""
    scales: tuple[Annotated[Number, Field(gt=0), Within(limits.UPDATE_SCALE)], ...] = (1.0,)
    """Factors on the updates of a new structure: it is trained once with each of them."""
    clean: bool = True
    """Whether genomes lose their statements without effect."""
    niche_radius: Annotated[Number, Field(ge=0, le=1)] = 0.002
    """Distance between what programs do, 0 to 1, below which a population keeps only the best of them, and below which
    a change is drawn again: nearly all such children are worth what their parents are. With 0 none is too near."""
    race_share: Annotated[Number, Field(gt=0, lt=1)] = 0.35
    """The most of all trainings that give promising programs further seeds, where programs are raced."""
    objectives: Annotated[tuple[Objective, ...], AfterValidator(_with_fitness)] = ("fitness",)
    """What parents are chosen by: `fitness`, and `states` for each weight or `statements` with an effect, or both, the
    fewer the better. Programs that fewer others beat in all of them, beyond the noise of fitness, come first."""
    islands: Annotated[int, Within(limits.REPEATS)] = 1
    """Parts of each population that evolve apart."""
    migrate_after: Annotated[int, Within(limits.BIRTHS)] | None = 200
    """Births of an island after which the best of the island before joins it."""
    proposals: Proposals | None = None
    """Who else is asked for programs; without it only the search itself makes them."""

    @model_validator(mode="after")
    def _room_for_starts(self) -> Strategy:
        if self.population < len(self.start):
            raise ValueError(f"a population of {self.population} has no room for {len(self.start)} start programs")
        return self

    @model_validator(mode="after")
    def _of_this_kind(self) -> Strategy:
        if self.kind == "random" and (self.restart_after is not None or self.start_tuned):
            raise ValueError("random programs have no start: leave out restart_after and start_tuned")
        if self.kind != "random" and self.lengths:
            raise ValueError("lengths are those of random programs: leave them out, or set kind: random")
        if self.kind != "evolution":
            for name in _OF_EVOLUTION:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is a setting of kind: evolution; leave it out with kind: {self.kind}")
        return self

    @field_validator("scales")
    @classmethod
    def _with_the_structure_itself(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if 1 not in factors:
            raise ValueError("1, the structure as it is, must be among the scales; add it")
        return factors

    @field_validator("operators")
    @classmethod
    def _known_operators(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in _once(names):
            if name not in PROPOSALS:
                raise ValueError(f"no change is called '{name}'; there are {', '.join(PROPOSALS)}")
        return names


_OF_EVOLUTION = (
    "constants", "operators", "adapt", "match_size", "scales", "clean", "race_share", "objectives", "islands",
    "migrate_after", "niche_radius", "proposals",
)  # fmt: skip


class Dedup(Immutable):
    """How known programs are recognised, so that none is trained twice. Equal dataflow is always recognised."""

    fingerprint: bool = True
    """Also merge programs that update weights alike, and reject without training those that cannot learn."""
    bits: Annotated[int, Field(ge=1, le=MOST_BITS, strict=True)] = DEFAULT_BITS
    """Mantissa bits of the updates that decide whether they are alike."""
    remutate: Annotated[int, Within(limits.REMUTATIONS)] = 0
    """The most further mutations of a child that does the same as its parent."""
    cache: Annotated[int, Within(limits.REMEMBERED)] = 200_000
    """Programs remembered by the driver; the store remembers all."""


class Budget(Immutable):
    """When the run ends: at the first of these that is reached."""

    programs: Annotated[int, Within(limits.BIRTHS)] | None = None
    """Births, trained or answered from the cache."""
    evaluations: Annotated[int, Within(limits.BIRTHS)] | None = None
    """Programs trained; checked between batches."""
    replica_steps: Annotated[int, Within(limits.REPLICA_STEPS)] | None = None
    """Training steps of all trainings together; checked between batches."""
    minutes: Annotated[Number, Field(gt=0), Within(limits.MINUTES)] | None = None
    """Minutes that this run may take; checked between batches."""

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(f"set at least one of {', '.join(type(self).model_fields)}")
        return self


class Hurdles(Immutable):
    """Dropping, part-way through training, programs that train worse than any that ended well.

    A hurdle's bound is learned from the programs that this search has trained to the end: it is a quantile of the
    losses that the better part of them had at that point. So it follows from committed history alone.
    """

    at: tuple[Annotated[Number, Field(gt=0, lt=1)], ...] = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
    """Shares of the steps after which there is a hurdle, in twentieths."""
    better_part: Annotated[Number, Field(gt=0, le=1)] = 0.5
    """Share of the finished programs, by fitness, whose losses give the bound."""
    quantile: Annotated[Number, Field(gt=0, le=1)] = 1.0
    """Quantile of their losses that is the bound."""
    after: Annotated[int, Within(limits.FINISHED)] = 50
    """Programs that must be trained to the end before there is any hurdle."""

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
    return None if value is False or value == "off" else value


class EvaluatorSettings(Immutable):
    """Where programs are trained. `batch` and `lookahead` are part of the history of a search, the others are not."""

    kind: Literal["ray", "inline"] = "ray"
    """In worker processes that Ray starts, or in the process of the driver itself."""
    workers: Annotated[int, Within(limits.WORKERS)] | Literal["auto"] = "auto"
    """Processes that train; `auto` means `lookahead` on a cluster, and on this machine no more than its CPUs allow."""
    batch: Annotated[int, Within(limits.BATCH)] = 32
    """Programs trained together."""
    lookahead: Annotated[int, Within(limits.LOOKAHEAD)] = 4
    """Batches that are trained at the same time."""
    rows: Annotated[int, Within(limits.ROWS)] | None = None
    """The most trainings at once in a worker; the others of a batch wait until hurdles free rows."""
    memory_mib: Annotated[Number, Field(gt=0), Within(limits.MEMORY_MIB)] | None = None
    """Approximate memory for training in each worker; what does not fit waits. If not given, 2048, or on a GPU most of
    what is free of the worker's share."""
    memory_limit_mib: Annotated[Number, Field(gt=0), Within(limits.MEMORY_MIB)] | None = None
    """The most that a worker may allocate, data included: training that needs more fails. If not given, 2048 more than
    twice `memory_mib`. Workers with a GPU have no limit."""
    timeout_s: Annotated[Number, Field(gt=0), Within(limits.TIMEOUT_S)] = 600
    """Seconds that a batch may train; then its worker is ended, and the batch halved until the cause is found."""
    address: Text | None = None
    """Address of a Ray cluster, host:port, or `auto` for that of this machine; without it Ray is started here."""
    cpus_per_worker: Annotated[Number, Field(ge=0.001), Within(limits.CPUS)] = 1
    """CPUs that Ray reserves for each worker; training uses one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Device on which programs are trained."""
    gpus_per_worker: Annotated[Number, Within(limits.GPUS)] = 0
    """GPUs, or a share of one, that Ray reserves for each worker; needed for the device cuda. With 0.25 four workers
    train on each GPU."""

    @property
    def memory_limit(self) -> float:
        """The most MiB that a worker may allocate."""
        return 2 * self._memory_mib + 2048 if self.memory_limit_mib is None else self.memory_limit_mib

    @property
    def _memory_mib(self) -> float:
        return MEMORY_MIB if self.memory_mib is None else self.memory_mib

    @field_validator("address")
    @classmethod
    def _not_through_a_client(cls, address: str | None) -> str | None:
        found = re.fullmatch(r"[^/\s]+:([0-9]{1,5})", address or "")
        if address not in (None, "auto") and not (found and 0 < int(found[1]) <= limits.PORT.most):
            raise ValueError("expected host:port of the head node, or auto")
        return address

    @field_validator("gpus_per_worker")
    @classmethod
    def _share_or_whole(cls, gpus: float) -> float:
        if 0 < gpus < 0.001 or (gpus > 1 and gpus % 1):
            raise ValueError("expected 0, a share from 0.001 to 1, or a whole number")
        return gpus

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


# Settings of the evaluator that may change from run to run of a search.
def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


NOT_PART_OF_HISTORY = (
    "kind", "workers", "rows", "memory_mib", "memory_limit_mib", "timeout_s", "address", "cpus_per_worker", "device",
    "gpus_per_worker",
)  # fmt: skip


class MetaValidation(Immutable):
    """Tasks that a search never trains on, on which its best program is trained from time to time."""

    tasks: TaskChoices
    """The tasks, each with its number of seeds."""
    every: Annotated[int, Within(limits.BIRTHS)] = 1000
    """Births between two evaluations."""


class Settings(Immutable):
    """One search."""

    name: SearchName
    """What the search is called in its store: letters, digits, and . _ - A file that does not say it gives its own."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """Seed of all random numbers: searches that differ in it alone are independent repetitions."""
    strategy: Strategy = Strategy()
    """How programs are made."""
    language: LanguageSetting = Language()
    """The functions that programs may have: `paper`, the default, or `extended` for all, a list of sets, or
    settings of their own, with functions of yours."""
    budget: Budget
    """When the run ends."""
    tasks: SearchTaskChoices
    """What programs are trained on."""
    aggregate: Aggregate = "mean"
    """What decides where there are several tasks: each score is the loss placed between the anchors of the task."""
    hurdles: Annotated[Hurdles | None, BeforeValidator(_off)] = Hurdles()
    """Programs that do worse are dropped during training; `off` to train every program to the end."""
    dedup: Dedup = Dedup()
    """How known programs are recognised."""
    evaluator: EvaluatorSettings = EvaluatorSettings()
    """Where programs are trained, and how many at once."""
    baselines: BaselineNames = ("torch_adamw", "adamw", "lion", "sgd_momentum")
    """Known optimizers, tuned on the tasks when the run starts."""
    meta_validation: MetaValidation | None = None
    """Evaluations on tasks that the search never trains on."""
    stop_when: Literal["overfit"] | None = None
    """End the search when its new bests are worse in meta-validation than earlier ones."""
    log: Annotated[tuple[Literal["tensorboard", "wandb", "mlflow", "csv"], ...], AfterValidator(_each_once)] = ()
    """Where else to write how the search goes, after every commit: files beside the database, or the tracker that your
    environment is logged in to. All but `csv` need the extra of that name."""
    store: Text = "sqlite:///results.db"
    """The database: `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`."""

    @model_validator(mode="wrap")
    @classmethod
    def _defaults_by_others(cls, data: Any, read: ModelWrapValidatorHandler[Settings]) -> Settings:
        """Fill in the defaults that depend on other settings, so that stored settings are explicit."""
        strategy = data.get("strategy", {}) if isinstance(data, Mapping) else None
        if not isinstance(strategy, Mapping):
            return read(data)
        kind, starts = strategy.get("kind", "evolution"), strategy.get("start", "adamw")
        starts = [starts] if isinstance(starts, str) else starts
        baselines = data.get("baselines", cls.model_fields["baselines"].default)
        listed = isinstance(starts, list | tuple) and isinstance(baselines, list | tuple)
        if "start_tuned" not in strategy and kind != "random" and listed and all(name in baselines for name in starts):
            data = {**data, "strategy": {**strategy, "start_tuned": True}}
        tasks = as_choices(data.get("tasks"))
        if kind != "evolution" and isinstance(tasks, list):
            data = {**data, "tasks": [{"seeds": 1} | one if isinstance(one, dict) else one for one in tasks]}
        found = read(data)
        if "start_tuned" not in strategy:
            found.strategy.model_fields_set.discard("start_tuned")  # where settings are changed, it follows anew
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name in self.strategy.start if self.strategy.start_tuned else ():
            if name not in self.baselines:
                raise ValueError(
                    f"start_tuned needs '{name}' among the baselines; add it there, or set start_tuned to false"
                )
        return self

    @model_validator(mode="after")
    def _raced_by_evolution(self) -> Settings:
        for choice in self.tasks:
            if not isinstance(choice.seeds, int) and self.strategy.kind != "evolution":
                raise ValueError(
                    f"tasks: '{choice.name}' races programs over seeds, which kind: {self.strategy.kind} does not do;"
                    f" set seeds: {choice.seeds.first} there, or kind: evolution"
                )
        return self

    @model_validator(mode="after")
    def _starts_in_language(self) -> Settings:
        for name in () if self.strategy.kind == "random" else self.strategy.start:
            for statement in zoo.load(name).statements:
                known = OPS[statement.function].set
                if known not in self.language.set:
                    raise ValueError(
                        f"start '{name}' has the function {statement.function} of the set '{known}', which is not in"
                        f" language: {', '.join(self.language.set)}; add it there, or choose another start"
                    )
        return self

    @property
    def functions(self) -> tuple[Op, ...]:
        """The functions that programs may have."""
        return self.language.ops

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

    @property
    def all_tasks(self) -> tuple[TaskChoice, ...]:
        """The tasks of the search and those of its meta-validation."""
        return self.tasks + (() if self.meta_validation is None else self.meta_validation.tasks)

    @property
    def task_seeds(self) -> list[TaskSeeds]:
        """The tasks with their seeds and anchors.

        Raises:
            InputError: a task cannot be loaded, or its anchors are not known.
        """
        return task_seeds(self.tasks)

    def history(self) -> dict[str, Any]:
        """Return the settings that decide the history, as plain data; the others may change between runs."""
        return self.model_dump(
            mode="json",
            exclude=dict.fromkeys(("name", "budget", "log", "store", "meta_validation", "stop_when"), True)
            | {"evaluator": {*NOT_PART_OF_HISTORY}, "strategy": {"proposals": {"timeout_s"}}},
        )


def _seen(choice: TaskChoice) -> tuple[str, ...]:
    """Return what makes two choices the same to a program: for built-in tasks data and model, whatever the length."""
    if is_users(choice.name):
        return (choice.name,)
    task = get_task(choice.name)
    return task.dataset, task.model
