"""The command `optsearch compare`: strategies against each other, as in figure 2 of the Lion paper (arXiv 2302.06675).

The settings are those of a search, with `arms`: a name for each, and what is different in it. Every arm is a search of
its own in the same store, `NAME-ARM`, with several populations side by side as its repeats; they share what has been
trained, so that no program costs twice.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from programs.errors import InputError
from programs.program import parse

from search.commands.run import shown
from search.commands.terminal import console, show_table
from search.evolution.driver import Driver
from search.settings.seeds import fresh_seeds
from search.settings.settings import Settings
from search.settings.settings_file import SettingsFile
from search.settings.tasks import TaskSeeds, load_tasks
from search.store import Store
from search.store.keys import TRAINED
from search.training.session import opened
from search.training.statistics import standard_error

FRESH_SEEDS = 8
LENGTHS_OF = "lengths_of"  # of an arm of random programs: the arm whose last members tell how long they are


class Repeat(NamedTuple):
    """One population of an arm. `best`: so far, at each of its births; `genome`: of its best program."""

    trained: list[float]
    """Programs trained by the whole arm up to each birth, for each population."""
    best: list[float]
    genome: str | None


class Arm(NamedTuple):
    """What came of an arm."""

    name: str
    search: str
    repeats: list[Repeat]

    @property
    def final(self) -> list[float]:
        """The best fitness of each population that found something that trains."""
        return [repeat.best[-1] for repeat in self.repeats if repeat.best and repeat.best[-1] > -math.inf]


def compare(config: Path, overrides: list[str], output: Path) -> bool:
    """Run all arms, or go on with them, then draw the figure and print the table; False if stopped before the end.

    Raises:
        InputError: the settings make no sense, or the figure's format is unknown.
        StoreError: the store can no longer be written.
    """
    from search.evidence.comparison_figure import check_format, draw  # imported here: Matplotlib takes a second

    check_format(output)
    file = SettingsFile(config, overrides)
    arms = _arms(file)
    base = file.read(Settings)
    load_tasks(base.tasks)
    done: list[Arm] = []
    with opened(base.store, base.evaluator) as (store, evaluator):
        for name, changes in arms.items():
            settings = _settings_of(name, file, dict(changes), store)
            console.print(f"{settings.name}: {settings.strategy.repeats} populations, {settings.strategy.kind}")
            driver = Driver(settings, store, evaluator)
            with shown(driver):
                driver.run()
            if driver.stopping:
                return False
            done.append(Arm(name, settings.name, repeats_of(store, settings)))
        fresh = _on_fresh_seeds(done, driver)
        _show(done, fresh)
        draw(base.name, done, store, output)
    console.print(f"drawn to {output}")
    return True


def _arms(file: SettingsFile) -> dict[str, Any]:
    """What is to be compared; what is left in the file are the settings of a search."""
    arms = file.data.pop("arms", None)
    if not isinstance(arms, dict) or not arms or not all(isinstance(changes, dict) for changes in arms.values()):
        raise InputError(f"{file.path}: arms: expected what is to be compared, such as 'random: {{strategy: ...}}'")
    for place, (name, changes) in enumerate(arms.items()):
        other = changes.get(LENGTHS_OF)
        if other is not None and other not in list(arms)[:place]:
            raise InputError(f"{file.path}: arms.{name}.{LENGTHS_OF}: expected an arm above it, got {other!r}")
    return arms


def _settings_of(arm: str, file: SettingsFile, changes: dict[str, Any], store: Store) -> Settings:
    other = changes.pop(LENGTHS_OF, None)
    merged = _merged(file.data, changes) | {"name": f"{file.data['name']}-{arm}"}
    if other is not None:
        merged = _merged(merged, {"strategy": {"lengths": _last_lengths(store, f"{file.data['name']}-{other}")}})
    return file.read(Settings, merged)


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _last_lengths(store: Store, search: str) -> list[int]:
    """Statements of the programs that are in the populations of a search at its end."""
    found = store.find_search(search)
    assert found is not None
    strategy = found[1]["strategy"]
    query = """SELECT statements FROM program WHERE search_id = :id ORDER BY birth DESC LIMIT :members"""
    rows = store.rows(query, id=found[0], members=strategy["population"] * strategy["repeats"])
    return sorted(row["statements"] for row in rows)


def repeats_of(store: Store, settings: Settings) -> list[Repeat]:
    """The curves of a search's populations."""
    number_of = settings.strategy.repeats
    found = store.find_search(settings.name)
    assert found is not None
    repeats = [Repeat([], [], None) for _ in range(number_of)]
    best_births: list[int | None] = [None] * number_of
    trained = 0
    query = "SELECT birth, answered_by, fitness FROM program WHERE search_id = :id ORDER BY birth"
    for row in store.rows(query, id=found[0]):
        trained += row["answered_by"] in TRAINED
        place = row["birth"] % number_of
        repeat = repeats[place]
        so_far = repeat.best[-1] if repeat.best else -math.inf
        if row["fitness"] is not None and row["fitness"] > so_far:
            so_far, best_births[place] = row["fitness"], row["birth"]
        repeat.best.append(so_far)
        repeat.trained.append(trained / number_of)
    return [
        repeat._replace(genome=None if birth is None else _genome(store, found[0], birth))
        for repeat, birth in zip(repeats, best_births, strict=True)
    ]


def _genome(store: Store, search_id: int, birth: int) -> str:
    query = "SELECT genome FROM program WHERE search_id = :id AND birth = :birth"
    return str(store.rows(query, id=search_id, birth=birth)[0]["genome"])


def _on_fresh_seeds(arms: list[Arm], driver: Driver) -> dict[str, list[float]]:
    """For each arm the fitness of its populations' best programs, each a mean over seeds that no search trains on.

    Over several tasks, the first is shown: scores between anchors are the searches' own.
    """
    tasks = [TaskSeeds(driver.tasks[0].task, fresh_seeds(FRESH_SEEDS))]
    genomes = sorted({repeat.genome for arm in arms for repeat in arm.repeats if repeat.genome is not None})
    trainings = driver.service.train([parse(genome) for genome in genomes], tasks)
    means = {genome: found[0].mean for genome, found in zip(genomes, trainings, strict=True)}
    return {
        arm.name: [means[r.genome] for r in arm.repeats if r.genome is not None and not math.isnan(means[r.genome])]
        for arm in arms
    }


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    return statistics.fmean(values) if values else math.nan, standard_error(values)


def _show(arms: list[Arm], fresh: dict[str, list[float]]) -> None:
    """The table: the first arm against each of the others, in standard errors of the difference (Welch)."""
    first_mean, first_error = _mean_and_error(fresh[arms[0].name])
    rows = []
    for arm in arms:
        births = sum(len(repeat.best) for repeat in arm.repeats)
        mean, error = _mean_and_error(arm.final)
        fresh_mean, fresh_error = _mean_and_error(fresh[arm.name])
        ahead = first_mean - fresh_mean
        z = ahead / math.hypot(first_error, fresh_error) if arm is not arms[0] else math.nan
        rows.append([
            arm.name, str(len(arm.repeats)), str(births), f"{arm.repeats[0].trained[-1]:.0f}",
            f"{mean:.4f} +- {error:.4f}", f"{fresh_mean:.4f} +- {fresh_error:.4f}",
            "-" if math.isnan(z) else f"{ahead:+.4f}", "-" if math.isnan(z) else f"{z:.1f}",
        ])  # fmt: skip
    show_table(
        f"best of each population; fresh: on {FRESH_SEEDS} seeds that no search trains on;"
        f" ahead: how far {arms[0].name} is, there",
        ["arm", "repeats", "programs", "trained", "fitness", "fresh", "ahead", "z"],
        rows,
        left=["arm"],
    )
