"""Rows of the tables as the rest of the engine knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class IndividualRow(NamedTuple):
    """One birth, as the table `individual` holds it."""

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
    marks: Sequence[float] | None = None


class MetaValidationRow(NamedTuple):
    """How the best program of a search after some births fared on tasks that the search never sees."""

    births: int
    birth: int
    fitness: float
    meta_fitness: float | None


class SelectionRow(NamedTuple):
    """A competitor on a task of a stage, as the table `selection` holds it."""

    competitor: str
    individual_id: int | None
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


class BaselineRow(NamedTuple):
    """A tuned baseline of a search."""

    name: str
    genome: str
    key: str
    learning_rate: float
    weight_decay: float
    fitness: float | None
    trials: int
