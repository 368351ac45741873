"""The look-ahead: `History` against a slow restatement of its definition, with interruptions at any point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from programs import Program, parse, zoo
from programs.fingerprint import fingerprint
from programs.hashing import dataflow_hash
from programs.mutation import mutate

from proxy_tasks import Hurdle

from search.evolution.history import MOST_BIRTHS, Batch, History, HistorySettings
from search.settings.settings import Dedup, Hurdles, Strategy
from search.store import ProgramRow
from search.training.service import Candidate, Score

TOTAL = 60


HURDLES = Hurdles(at=(0.1, 0.5), better_part=0.6, quantile=0.8, after=10)


def scored(candidate: Candidate, hurdles: Sequence[Sequence[Hurdle]]) -> Score:
    """What training gives: a pure function of the key and the hurdles."""
    number = int(candidate.key[:8], 16)
    if number % 6 == 0:
        return Score("diverged", None, f"reason {number % 3}")
    hurdle_losses = (number % 7 / 7, number % 11 / 11)
    if any(mark > hurdle.bound for task in hurdles for mark, hurdle in zip(hurdle_losses, task, strict=True)):
        return Score("dropped", None, "too slow")
    return Score("ok", -(number % 97) / 97, hurdle_losses=hurdle_losses)


class Case(NamedTuple):
    """What decides a history."""

    strategy: Strategy
    dedup: Dedup
    settings: HistorySettings

    @property
    def start(self) -> Program:
        return zoo.load(self.strategy.start[0])

    def history(self) -> History:
        return History(self.strategy, self.dedup, self.settings, [self.start])


def case(size: int = 4, lookahead: int = 3, seed: int = 3, **dedup: float) -> Case:
    strategy = Strategy(kind="paper", population=8, tournament=3, start="sgd_momentum")
    return Case(strategy, Dedup.model_validate(dedup), HistorySettings(seed, size, lookahead))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Small populations and batches; short start programs, so that twins are frequent."""
    strategy = Strategy(
        kind="paper",
        population=draw(st.integers(2, 9)),
        tournament=draw(st.integers(1, 4)),
        start=draw(st.sampled_from(["sgd", "sgd_momentum", "rmsprop", "adamw"])),
        max_statements=draw(st.sampled_from([4, 64])),
    )
    dedup = Dedup(
        fingerprint=draw(st.booleans()),
        remutate=draw(st.sampled_from([0, 0, 2])),
    )
    hurdles = draw(st.sampled_from([None, HURDLES]))
    seed, batch, lookahead = draw(st.integers(0, 2**40)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    return Case(strategy, dedup, HistorySettings(seed, batch, lookahead, hurdles=hurdles))


# --- the definition ------------------------------------------------------------------------------------------------


class Born(NamedTuple):
    """A birth as the definition sees it."""

    number: int
    batch: int
    parent: int | None
    mutation: str
    program: Program
    hashed: str
    key: str
    answered_by: str
    score: Score

    @property
    def is_trained(self) -> bool:
        return self.answered_by == "training"


class MemberOf(NamedTuple):
    """A member of the population."""

    birth: int
    program: Program
    key: str
    score: Score

    @property
    def fitness(self) -> float:
        return -math.inf if self.score.fitness is None else self.score.fitness


class Stand(NamedTuple):
    """What is known when a batch is drawn."""

    members: list[MemberOf]
    key_of: dict[str, str]
    known: dict[str, Score]
    flying: dict[str, Score]
    hurdles: list[list[Hurdle]]


def defined_history(case: Case, total: int) -> list[Born]:
    """Births 0 to `total` - 1 straight from the definition.

    Batch j is drawn from the population and cache as they stand after batch j - lookahead is committed, plus its own
    births whose fitness was already known, which enter at once. A birth whose twin is in flight waits for the twin.
    """
    births: list[Born] = []
    index = 0
    while len(births) < total:
        stand = _stand(case, births, index - case.settings.lookahead)
        trained = of_batch = 0
        while trained < case.settings.batch and of_batch < MOST_BIRTHS * case.settings.batch and len(births) < total:
            birth = _born(case, len(births), index, stand)
            births.append(birth)
            of_batch += 1
            if birth.is_trained:
                trained += 1
                stand.flying[birth.key] = birth.score
            elif birth.answered_by != "in_flight":
                stand.members.append(MemberOf(birth.number, birth.program, birth.key, birth.score))
        index += 1
    return births


def _stand(case: Case, births: Sequence[Born], last_batch: int) -> Stand:
    start = MemberOf(0, case.start, _identity(case, case.start)[0], Score("ok", None))
    stand = Stand([start] * case.strategy.population, {}, {}, {}, _hurdles(case, births, last_batch))
    for birth in births:
        if birth.batch > last_batch:
            if birth.is_trained:
                stand.flying[birth.key] = birth.score
            continue
        stand.members.append(MemberOf(birth.number, birth.program, birth.key, birth.score))
        stand.key_of[birth.hashed] = birth.key
        if birth.is_trained or birth.key not in stand.known:
            stand.known[birth.key] = birth.score
    return stand


def _hurdles(case: Case, births: Sequence[Born], last_batch: int) -> list[list[Hurdle]]:
    """A quantile of the losses of the better part of what was trained to the end by that batch."""
    settings = case.settings.hurdles
    finished = [
        b.score for b in births if b.batch <= last_batch and b.answered_by == "training" and b.score.hurdle_losses
    ]
    if settings is None or len(finished) < settings.after:
        return []
    best = sorted(finished, key=lambda score: score.fitness or 0.0, reverse=True)
    better = best[: math.ceil(len(best) * settings.better_part)]
    columns = zip(*(score.hurdle_losses or () for score in better), strict=True)
    return [[Hurdle(p, _quantile(c, settings.quantile)) for p, c in zip(settings.points, columns, strict=True)]]


def _quantile(values: Sequence[float], q: float) -> float:
    """With linear interpolation between order statistics."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 2)
    return ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])


def _identity(case: Case, program: Program) -> tuple[str, str | None]:
    if case.dedup.fingerprint:
        return fingerprint(program, case.dedup.bits)[:2]
    return dataflow_hash(program), None


def _born(case: Case, number: int, batch: int, stand: Stand) -> Born:
    rng = Random((case.settings.seed << 64) | number)
    if number == 0:
        return _recognised(case, Born(0, batch, None, "start", case.start, "", "", "", Score("", None)), stand, rng)
    members = stand.members[-case.strategy.population :]
    drawn = [members[int(rng.random() * len(members))] for _ in range(case.strategy.tournament)]
    winner = max(drawn, key=lambda member: member.fitness)
    program, mutation = mutate(winner.program, rng, case.strategy.max_statements)
    birth = Born(number, batch, winner.birth, mutation, program, "", "", "", Score("", None))
    birth = _recognised(case, birth, stand, rng)
    extra = 0
    while birth.key == winner.key and extra < case.dedup.remutate:
        extra += 1
        program, _ = mutate(birth.program, rng, case.strategy.max_statements)
        birth = _recognised(case, birth._replace(program=program, mutation=f"{mutation}+{extra}"), stand, rng)
    return birth


def _recognised(case: Case, birth: Born, stand: Stand, rng: Random) -> Born:
    hashed = dataflow_hash(birth.program)
    key, rejection = _identity(case, birth.program)
    known = stand.known.get(key)
    if rejection is not None and hashed not in stand.key_of:
        answered_by, score = "rejection", Score("rejected", None, rejection)
    elif key in stand.flying:
        answered_by, score = "in_flight", stand.flying[key]
    elif known is None:
        answered_by, score = "training", scored(Candidate(key, birth.program), stand.hurdles)
    else:
        answered_by, score = "hash" if hashed in stand.key_of else "fingerprint", known
    return birth._replace(hashed=hashed, key=key, answered_by=answered_by, score=score)


def as_log(births: Sequence[Born]) -> list[tuple[object, ...]]:
    return [(b.number, b.batch, b.parent, b.mutation, str(b.program), b.hashed, b.key, b.answered_by, *b.score[:3])
            for b in births]  # fmt: skip


# --- the driver's loop without driver, evaluator and store -----------------------------------------------------------


class Session(NamedTuple):
    """A run: it is killed after some commits, or stopped then and drained, or ends at a budget of births."""

    commits: float = math.inf
    drains: bool = False
    budget: int = TOTAL


def go_on(case: Case, log: list[ProgramRow], session: Session) -> None:
    """Continue the history in the log, as the driver does."""
    history = case.history()
    history.replay(iter(log))
    commits = 0
    while True:
        stopping = commits >= session.commits
        if stopping and not session.drains:
            return
        while not stopping and len(history.window) < case.settings.lookahead and history.next_birth < session.budget:
            history.draw(session.budget)
        if not history.window:
            return
        head = history.window[0]
        if not head.committed:
            log += train(history, head)
            commits += 1
        history.fold()


def train(history: History, batch: Batch) -> list[ProgramRow]:
    return history.finish(batch, {candidate.key: scored(candidate, batch.hurdles) for candidate in batch.to_train()})


def logged(log: Sequence[ProgramRow]) -> list[tuple[object, ...]]:
    return [(*list(row.as_columns().values())[:8], row.status, row.fitness, row.reason) for row in log]


# --- laws ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(cases())
def test_the_history_is_the_defined_one(case: Case) -> None:
    log: list[ProgramRow] = []
    go_on(case, log, Session())
    assert logged(log) == as_log(defined_history(case, TOTAL))


@settings(max_examples=60)
@given(
    cases(),
    st.lists(
        st.builds(
            Session,
            commits=st.one_of(st.just(math.inf), st.integers(0, 6)),
            drains=st.booleans(),
            budget=st.integers(1, TOTAL),
        ),
        max_size=5,
    ),
)
def test_interruptions_leave_no_trace(case: Case, sessions: list[Session]) -> None:
    """Killed, stopped, cut short by a budget, even one below what is there, any number of times."""
    whole: list[ProgramRow] = []
    go_on(case, whole, Session())
    log: list[ProgramRow] = []
    for session in sessions:
        go_on(case, log, session)
        assert logged(log) == logged(whole)[: len(log)]
    go_on(case, log, Session())
    assert logged(log) == logged(whole)


@settings(max_examples=30)
@given(cases())
def test_nothing_is_trained_twice_and_twins_share_a_score(case: Case) -> None:
    log: list[ProgramRow] = []
    go_on(case, log, Session())
    first: dict[str, ProgramRow] = {}
    of_hash: dict[str, ProgramRow] = {}
    for row in log:
        twin = first.setdefault(row.key, row)
        same = of_hash.setdefault(row.dataflow_hash, row)
        assert (row.status, row.fitness) == (twin.status, twin.fitness)
        if row.answered_by == "training":
            assert row is twin
        elif row.answered_by == "in_flight":
            assert row is not twin and row.batch - twin.batch < case.settings.lookahead
        elif row.answered_by == "rejection":
            assert row.status == "rejected" and row.batch - same.batch < case.settings.lookahead
        else:
            assert row.batch - twin.batch >= case.settings.lookahead
            assert (row.batch - same.batch >= case.settings.lookahead) == (row.answered_by == "hash")


def test_the_cases_above_contain_what_they_are_about() -> None:
    """Twins in flight within a batch and across batches, every kind of answer, and failures."""
    one = case(seed=9)
    one = one._replace(strategy=Strategy(kind="paper", population=8, start="adamw"))
    births = defined_history(one, 500)
    first = {b.key: b for b in reversed(births)}
    assert {0, 1, 2} <= {b.batch - first[b.key].batch for b in births if b.answered_by == "in_flight"}
    answers = {b.answered_by for b in births}
    assert answers == {"training", "hash", "fingerprint", "in_flight", "rejection"}
    assert {b.score.status for b in births} == {"ok", "diverged", "rejected"}
    hurdled = defined_history(one._replace(settings=one.settings._replace(hurdles=HURDLES)), 200)
    assert sum(b.score.status == "dropped" and b.is_trained for b in hurdled) > 5


@pytest.mark.parametrize("commits", range(8))
def test_the_window_after_a_replay_is_the_window_before_the_next_draw(commits: int) -> None:
    log: list[ProgramRow] = []
    go_on(case(), log, Session(commits=commits, budget=1000))
    history = case().history()
    history.replay(iter(log))
    assert [batch.index for batch in history.window] == list(range(max(0, commits - 2), commits))
    assert (history.next_batch, history.next_birth) == (commits, len(log))


def test_a_batch_ends_even_if_no_birth_is_new() -> None:
    """One statement, and no more allowed: only four programs can be made, and all are known after a while."""
    strategy = Strategy(kind="paper", population=2, tournament=1, start="sgd", max_statements=1)
    history = History(strategy, Dedup(), HistorySettings(0, 2, 1), [parse("update = abs(w)")])
    sizes = []
    for _ in range(4):
        batch = history.draw()
        sizes.append(len(batch.births))
        train(history, batch)
        history.fold()
    assert sizes[-1] == 2 * MOST_BIRTHS
    assert all(size <= 2 * MOST_BIRTHS for size in sizes)


def test_rows_tell_statements_live_ones_and_states() -> None:
    start = parse("m = interp(g, m, 0.9)\nx = cosh(g)\nupdate = sign(m)\nv = v + g")
    history = History(Strategy(kind="paper"), Dedup(), HistorySettings(0, 1, 1), [start])
    (row,) = train(history, history.draw(1))
    assert (row.birth, row.parent_birth, row.mutation, row.statements) == (0, None, "start", 4)
    assert (row.live_statements, row.state_slots) == (2, 1)
    assert row.genome == str(start)


def test_a_search_of_another_seed_is_another_search() -> None:
    def keys(seed: int) -> Iterator[str]:
        log: list[ProgramRow] = []
        go_on(case(seed=seed), log, Session())
        return (row.key for row in log)

    assert list(keys(1)) != list(keys(2))
