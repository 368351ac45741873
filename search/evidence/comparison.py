"""A comparison of strategies, as in figure 2 of the Lion paper (arXiv 2302.06675).

The settings are those of a search, with `arms`: a name for each, and what is different in it. Every arm is a search of
its own in the same store, `NAME-ARM`, with several populations side by side as its repeats; they share what has been
trained, so that no program costs twice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from programs.errors import InputError
from programs.program import parse

from proxy_tasks import Task

from search.settings.seeds import fresh_seeds
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile
from search.settings.tasks import TaskSeeds
from search.store import Store
from search.store.keys import TRAINED, Answer
from search.store.store import StoredSearch
from search.store.tables import ProgramRow
from search.store.views import ProgressEntry
from search.training.service import TrainingService
from search.training.statistics import standard_error

FRESH_SEEDS = 8
LENGTHS_OF = "lengths_of"  # of an arm of random programs: the arm whose last members give the lengths of its programs


class ArmPlan(NamedTuple):
    """An arm before it has run: its name, what is different in its settings, and where its lengths come from."""

    name: str
    changes: Mapping[str, Any]
    lengths_of: str | None

    def settings(self, file: SettingsFile, store: Store | None) -> Settings:
        """Return the settings of the arm's search; without a store, as far as they are known before any arm has run.

        Raises:
            InputError: they make no sense.
        """
        base = str(file.data["name"])
        merged = _merged(file.data, self.changes) | {"name": f"{base}-{self.name}"}
        if self.lengths_of is not None and store is not None:
            lengths = _last_lengths(store, f"{base}-{self.lengths_of}")
            merged = _merged(merged, {"strategy": {"lengths": lengths}})
        return file.read(Settings, merged, ("arms", self.name))


class Repeat(NamedTuple):
    """One population of an arm."""

    trained: list[float]
    """The programs that the whole arm had trained by each birth of the population, divided by its populations."""
    best: list[float]
    """The fitness of the best program so far, as far as was known at each birth of the population."""
    genome: str | None
    """The text of its best program."""


class Arm(NamedTuple):
    """An arm that has run, and how its search went batch by batch."""

    name: str
    repeats: list[Repeat]
    progress: list[ProgressEntry]

    @property
    def final(self) -> list[float]:
        """The best fitness of each population that found something that trains."""
        return [repeat.best[-1] for repeat in self.repeats if repeat.best and repeat.best[-1] > -math.inf]


class Mean(NamedTuple):
    """A mean with its standard error; both are NaN without any value."""

    mean: float
    error: float


class Standing(NamedTuple):
    """An arm in numbers, and how far the first arm is ahead of it on fresh seeds."""

    name: str
    repeats: int
    births: int
    trained: float
    fitness: Mean
    """The fitness, in the search, of the best program of each population."""
    fresh: Mean
    """The fitness of the same programs on seeds that no search trains on."""
    ahead: float
    """How far the first arm is ahead on these; NaN for the first arm itself."""
    z: float
    """That difference in standard errors (Welch); NaN for the first arm itself."""


def read_arms(file: SettingsFile) -> list[ArmPlan]:
    """Take the arms out of a file; the settings of a search are left in it.

    Raises:
        InputError: there are none, or one takes its lengths from an arm that is not above it.
    """
    arms = file.data.pop("arms", None)
    if not isinstance(arms, dict) or not arms or not all(isinstance(changes, dict) for changes in arms.values()):
        raise InputError(f"{file.path}: arms: expected what is to be compared, such as 'random: {{strategy: ...}}'")
    plans: list[ArmPlan] = []
    for name, changes in arms.items():
        other = changes.get(LENGTHS_OF)
        if other is not None and other not in [plan.name for plan in plans]:
            raise InputError(f"{file.path}: arms.{name}.{LENGTHS_OF}: expected an arm above it, got {other!r}")
        plans.append(ArmPlan(name, {k: v for k, v in changes.items() if k != LENGTHS_OF}, other))
    return plans


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _last_lengths(store: Store, search: str) -> list[int]:
    """Return the statement counts of the programs that are in the populations of a search at its end."""
    found = _search(store, search)
    strategy = found.settings["strategy"]
    members = strategy["population"] * strategy["repeats"]
    rows = store.select(ProgramRow, "search_id = :id", order="birth DESC", limit=members, id=found.id)
    return sorted(row.statements for row in rows)


def repeats_of(store: Store, settings: Settings) -> list[Repeat]:
    """Return the curves of a search's populations."""
    number_of = settings.strategy.repeats
    repeats, met = [Repeat([], [], None) for _ in range(number_of)], [_Met() for _ in range(number_of)]
    trained = 0
    for row in store.births(_search(store, settings.name).id):
        trained += row.answered_by in TRAINED
        place = row.birth % number_of
        for other, population in enumerate(met):
            if other == place or row.answered_by == Answer.REEVALUATION:
                population.note(row, is_own=other == place)
        best = met[place].best
        fitness = None if best is None else best.fitness
        repeats[place] = repeats[place]._replace(genome=None if best is None or fitness is None else best.genome)
        repeats[place].best.append(-math.inf if fitness is None else fitness)
        repeats[place].trained.append(trained / number_of)
    return repeats


class _Met:
    """The programs that a population has met, with what is known of them, and the best: by fitness less its error."""

    def __init__(self) -> None:
        self._known: dict[str, ProgramRow] = {}
        self.best: ProgramRow | None = None

    def note(self, row: ProgramRow, is_own: bool) -> None:
        """Take in a birth, or what a race of another population says of a program."""
        if row.key not in self._known and (row.lower is None or not is_own):
            return
        if row.answered_by == Answer.REEVALUATION or row.key not in self._known:
            self._known[row.key] = row  # births in between may not know of the last race yet
        known = self._known[row.key]
        if self.best is None or _lower(known) > _lower(self.best):
            self.best = known
        elif known.key == self.best.key and _lower(known) < _lower(self.best):
            self.best = max(self._known.values(), key=_lower)  # of equals, the first


def _lower(row: ProgramRow) -> float:
    return -math.inf if row.lower is None else row.lower


def _search(store: Store, name: str) -> StoredSearch:
    """Return the search of an arm that has run."""
    found = store.find_search(name)
    assert found is not None
    return found


def fresh_fitness(arms: Sequence[Arm], service: TrainingService, task: Task) -> dict[str, list[float]]:
    """Train the best program of each population on seeds that no search trains on.

    Args:
        arms: those that have run.
        service: trains them.
        task: the task to train on. Where the searches have several, it is the first: scores over several tasks depend
            on the anchors of each search.

    Returns:
        By arm, the mean fitness of each of these programs that trains well.
    """
    tasks = [TaskSeeds(task, fresh_seeds(FRESH_SEEDS))]
    genomes = sorted({repeat.genome for arm in arms for repeat in arm.repeats if repeat.genome is not None})
    trainings = service.train([parse(genome) for genome in genomes], tasks)
    means = {genome: found[0].mean for genome, found in zip(genomes, trainings, strict=True)}
    return {
        arm.name: [means[r.genome] for r in arm.repeats if r.genome is not None and not math.isnan(means[r.genome])]
        for arm in arms
    }


def standings(arms: Sequence[Arm], fresh: Mapping[str, list[float]]) -> list[Standing]:
    """Compare the first arm with each of the others."""
    first = _mean(fresh[arms[0].name])
    found = []
    for arm in arms:
        on_fresh = _mean(fresh[arm.name])
        ahead = math.nan if arm is arms[0] else first.mean - on_fresh.mean
        error = math.hypot(first.error, on_fresh.error)
        births = sum(len(repeat.best) for repeat in arm.repeats)
        trained = arm.repeats[0].trained[-1]
        z = ahead / error if error > 0 else math.nan
        found.append(Standing(arm.name, len(arm.repeats), births, trained, _mean(arm.final), on_fresh, ahead, z))
    return found


def _mean(values: list[float]) -> Mean:
    return Mean(statistics.fmean(values) if values else math.nan, standard_error(values))
