"""Rows of the tables as the rest of the engine knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class ProgramRow(NamedTuple):
    """One birth, as the table `program` holds it."""

    birth: int
    batch: int
    parent_birth: int | None
    mutation: str
    genome: str
    dataflow_hash: str
    key: str
    answered_by: str
    statements: int
    live_statements: int
    state_slots: int
    status: str
    fitness: float | None
    reason: str | None
    rounds: int
    variance: float | None
    hurdle_losses: Sequence[float] | None = None


class MetaValidationRow(NamedTuple):
    """How the best program of a search after some births fared on tasks that the search never sees."""

    births: int
    birth: int
    fitness: float
    meta_fitness: float | None


class SelectionRow(NamedTuple):
    """A competitor on a task of a stage, as the table `selection` holds it."""

    competitor: str
    program_id: int | None
    task: str
    task_fingerprint: str
    trials: int
    learning_rate: float
    weight_decay: float
    genome: str
    seeds: int
    fitness: float | None
    standard_error: float | None
    baseline: str
    ahead: float | None
    ahead_error: float | None
    z: float | None
    p: float | None
    passed: int
    stages: int


class Opening(NamedTuple):
    """For whom the locked tasks were opened, when, and when all was measured, if it has been; UTC."""

    id: int
    program_id: int
    opened: str
    finished: str | None


class ProofRow(NamedTuple):
    """A competitor on a locked task, as the table `proof` holds it."""

    competitor: str
    program_id: int | None
    task: str
    task_fingerprint: str
    genome: str
    learning_rate: float
    weight_decay: float
    trials: int
    trials_failed: int
    seeds: int
    seeds_failed: int
    fitness: float | None
    standard_error: float | None
    ahead: float | None
    ahead_error: float | None
    task_z: float | None
    steps_to_adamw: float | None
    tolerance: float | None
    one_setting: float | None
    state_per_weight: float
    step_time: float
    z: float | None
    p: float | None


class NoiseRow(NamedTuple):
    """The noise of a task: mean and standard deviation of the fitness of one optimizer over seeds, as far as training
    did not fail; none where fewer than two trainings went well."""

    task: str
    task_fingerprint: str
    key: str
    genome: str
    seeds: int
    seeds_failed: int
    mean: float | None
    sigma: float | None


class BaselineRow(NamedTuple):
    """A tuned baseline of a search."""

    name: str
    genome: str
    key: str
    learning_rate: float
    weight_decay: float
    fitness: float | None
    trials: int
