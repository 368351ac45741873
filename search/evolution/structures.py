"""Evolution of structures, each with the best constants known for it, on seeds that are raced.

A *structure* is a program with its live constants left open. An island holds the best structures that it knows. A birth
is one of three things:

- a program on more seeds: while it may be the best of its island and has not been trained on all seeds, the best
  first, twice as many decide about it;
- a known structure with other constants, all of them moved at once (self-adapting log-normal steps with the one-fifth
  rule, Rechenberg 1973). A bandit chooses the structure: the best bound plus what few tries leave open (UCB1, Auer et
  al., Machine Learning 2002);
- a new structure: the winner of a tournament, changed by one of the proposals of `programs.proposals`. What the change
  does to the size of updates is taken back, so that a new structure does not fail for its learning rate.

What a program is worth is not what was seen of it: the best of many that were each trained once was lucky. What is seen
is shrunk towards what births of the last time were worth (an empirical Bayes estimate with a normal prior, Efron and
Morris, JASA 1973).

How often the kinds of births are tried follows from what they have gained (probability matching with a floor, Thierens,
GECCO 2005). All of it is a function of committed births.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from random import Random
from statistics import NormalDist
from typing import NamedTuple

from programs.constants import live_constants, moved
from programs.fingerprint import fingerprint
from programs.hashing import structure_hash
from programs.hyperparameters import scaled
from programs.layout import Layout
from programs.liveness import live_statements, states_per_weight
from programs.program import Program
from programs.proposals import PROPOSALS, Material
from programs.simplify.cleaning import cleaned

from search.evolution.births import Batch, Birth, Genome, Proposal
from search.evolution.estimates import Estimate, Estimator
from search.settings.settings import Strategy as StrategySettings
from search.store.keys import Answer
from search.training.service import Score

CONSTANTS = "constants"
RACE = "race"

RECORDS = 8  # programs kept of a structure
REMEMBERED = 200  # births from which the prior is fitted
LEAST_SEEN = 30  # of them, or there is none
UPPER = (0.75, 0.95)  # the quantiles to which it is fitted
FIRST_STEP = 0.5  # of constants, on their scales
STEPS = (0.02, 1.5)  # the smallest and the largest
GROWTH = 1.4  # of the step with a success; four failures take it back
LEAST_SHARE = 0.05  # of the variance of a birth, that worth has at least
CURIOSITY = 0.5  # weight of what few tries leave open, in spreads of the island's structures
FLOOR = 0.3  # share of births that all kinds have alike, whatever they have gained
MOST_GAIN = 3.0  # standard errors that a gain counts at most
MEMORY = 0.99  # weight of what earlier births of a kind have gained, from birth to birth
ATTEMPTS = 20  # draws of a proposal before another kind is taken
ALIKE = 1.5  # factor by which sizes of updates may differ


_STANDARD = NormalDist()


class Record(NamedTuple):
    """A program that trains, and what is known of it."""

    birth: int
    genome: Genome
    key: str
    structure: str
    estimate: Estimate
    by_seed: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()
    """What is to be small besides: states for each weight, live statements, as far as they are objectives."""

    @property
    def score(self) -> Score:
        """What is known of it as a score."""
        return Score("ok", self.estimate.fitness, None, len(self.by_seed), self.estimate.standard_error,
                     by_seed=self.by_seed)  # fmt: skip


class Island:
    """The structures of one population."""

    def __init__(self, starts: Sequence[Record], size: int) -> None:
        self.starts = starts
        self.size = size
        self.records: dict[str, Record] = {start.key: start for start in starts}
        self.tries: Counter[str] = Counter()
        self.wins: Counter[str] = Counter()
        self.since_gain = 0
        self.highest = -math.inf

    def best_of_structures(self) -> list[Record]:
        """Return the fittest record of each structure, best first; of equals, the oldest.

        Where sizes are objectives, records that fewer others dominate come first.
        """
        best: dict[str, Record] = {}
        for record in sorted(self.records.values(), key=_fittest_first):
            best.setdefault(record.structure, record)
        ranked = list(best.values())
        if ranked[0].sizes:
            ranks = {one.key: sum(dominates(other, one) for other in ranked) for one in ranked}
            ranked.sort(key=lambda one: ranks[one.key])
        return ranked

    def add(self, record: Record) -> None:
        """Take in a record, or a new estimate of one that is here, and drop what is beyond the size."""
        self.records[record.key] = record
        ranked = self.best_of_structures()
        highest = max(one.estimate.fitness for one in ranked)
        if highest > self.highest:
            self.highest, self.since_gain = highest, 0
        dropped = {one.structure for one in ranked[self.size :]}
        own = sorted(
            (one for one in self.records.values() if one.structure == record.structure),
            key=_fittest_first,
        )
        self.records = {
            key: one for key, one in self.records.items() if one.structure not in dropped and one not in own[RECORDS:]
        }

    def parent(self, birth: int | None) -> Record | None:
        """Return the record of a birth, if it is still here."""
        return next((one for one in self.records.values() if one.birth == birth), None)

    def step(self, structure: str) -> float:
        """Return the step of the constants of a structure."""
        wins = self.wins[structure]
        failures = self.tries[structure] - wins
        return float(min(max(FIRST_STEP * GROWTH ** (wins - failures / 4), STEPS[0]), STEPS[1]))


class Credit:
    """What kinds of births have gained for each training."""

    def __init__(self, kinds: Sequence[str], constants: float) -> None:
        self._gains = dict.fromkeys(kinds, 0.0)
        self._tried = dict.fromkeys(kinds, 0.0)
        structural = max(1, len(kinds) - 1)
        self._prior = {k: constants if k == CONSTANTS else (1 - constants) / structural for k in kinds}

    def note(self, kind: str, gain: float) -> None:
        """Count a trained birth of a kind, and what it gained."""
        if kind in self._gains:
            self._gains[kind] = MEMORY * self._gains[kind] + gain
            self._tried[kind] = MEMORY * self._tried[kind] + 1.0

    def weights(self, adapts: bool) -> dict[str, float]:
        """Return the probabilities of all kinds."""
        if not adapts:
            return self._prior
        mean = (sum(self._gains.values()) + 1.0) / (sum(self._tried.values()) + 10.0)
        worth = {
            kind: prior * (self._gains[kind] + 10 * mean) / (self._tried[kind] + 10) / mean
            for kind, prior in self._prior.items()
        }
        total = sum(worth.values())
        return {kind: FLOOR * prior + (1 - FLOOR) * worth[kind] / total for kind, prior in self._prior.items()}


def dominates(one: Record, other: Record) -> bool:
    """Return whether a record is better than another in something and worse in nothing, beyond the noise of fitness."""
    gain = one.estimate.fitness - other.estimate.fitness
    noise = math.hypot(one.estimate.standard_error, other.estimate.standard_error)
    if gain < -noise or any(a > b for a, b in zip(one.sizes, other.sizes, strict=True)):
        return False
    return gain > noise or one.sizes != other.sizes


class Prior:
    """What programs of a population are worth before anything is seen of them: normal, as far as its upper part goes.

    Two upper quantiles of what the latest births have shown give a normal distribution; less the noise of seeds, it is
    that of their worth.
    """

    def __init__(self) -> None:
        self._seen: deque[Estimate] = deque(maxlen=REMEMBERED)

    def note(self, seen: Estimate) -> None:
        """Take in what a birth has shown on its first seeds, with a fitness of minus infinity if it failed."""
        self._seen.append(seen)

    def shrunk(self, seen: Estimate) -> Estimate:
        """Return the estimate of a program of which this was seen; the same as long as few births are known."""
        prior = self._fitted()
        if prior is None or seen.standard_error == 0:
            return seen
        weight = prior.variance / (prior.variance + seen.standard_error**2)
        return Estimate(prior.mean + weight * (seen.fitness - prior.mean), math.sqrt(weight) * seen.standard_error)

    def _fitted(self) -> NormalDist | None:
        if len(self._seen) < LEAST_SEEN:
            return None
        ranked = sorted(seen.fitness for seen in self._seen)
        low, high = (ranked[int(share * len(ranked))] for share in UPPER)
        noise = math.fsum(seen.standard_error**2 for seen in self._seen) / len(self._seen)
        if not math.isfinite(low) or noise == 0:
            return None
        ends = [_STANDARD.inv_cdf(share) for share in UPPER]
        deviation = (high - low) / (ends[1] - ends[0])
        return NormalDist(low - ends[0] * deviation, math.sqrt(max(deviation**2 - noise, LEAST_SHARE * noise)))


class StructureEvolution:
    """The strategy `evolution`.

    Args:
        settings: of the strategy.
        material: functions, donors and the longest genome, for proposals.
        estimator: of fitness.
        starts: the start programs.
        keys: of their trainings.
        layouts: of the models, for numbers of states.
    """

    def __init__(
        self, settings: StrategySettings, material: Material, estimator: Estimator, starts: Sequence[Program],
        keys: Sequence[str], layouts: Sequence[Layout],
    ) -> None:  # fmt: skip
        self.settings = settings
        self.material = material
        self.estimator = estimator
        self.starts = starts
        self.layouts = layouts
        self.islands = [
            [self._island(keys, island * settings.repeats + repeat) for island in range(settings.islands)]
            for repeat in range(settings.repeats)
        ]
        kinds = [CONSTANTS] * (settings.constants > 0) + list(settings.operators or PROPOSALS)
        self.credit = [Credit(kinds, settings.constants) for _ in range(settings.repeats)]
        self.spent = [Spending() for _ in range(settings.repeats)]
        self._fitness: dict[int, float] = {}  # of births, as far as it is known by now
        self._priors = [Prior() for _ in range(settings.repeats)]
        self._spread = [estimator.spread() for _ in range(settings.repeats)]

    def judge(self, birth: Birth, new: Score) -> Score:
        """Return the score of a trained birth, on all seeds that it has been trained on, its gain shrunk."""
        known = birth.score
        if new.fitness is None or new.by_seed is None:
            return new._replace(trainings=new.trainings + (known.trainings if known else 0), by_seed=None)
        by_seed = (*((known.by_seed if known else None) or ()), *new.by_seed)
        repeat, _ = self.place(birth.number)
        shrunk = self._priors[repeat].shrunk(self.estimator.estimate(by_seed, self._spread[repeat]))
        error = shrunk.standard_error or None  # of 0 nothing is known
        return new._replace(fitness=shrunk.fitness, standard_error=error, trainings=len(by_seed), by_seed=by_seed)

    # --- what was committed ------------------------------------------------------------------------------------------

    def join(self, birth: Birth, score: Score) -> None:
        """Take in a committed birth."""
        repeat, island = self.place(birth.number)
        self.spent[repeat].count(birth, self.estimator)
        if birth.answered_by == Answer.REEVALUATION:
            assert birth.parent is not None
            self._fitness[birth.parent] = -math.inf if score.fitness is None else score.fitness
            if score.by_seed is not None:
                self._spread[repeat].note(birth.key, self.estimator.squares(score.by_seed))
            self._correct(birth.key, score)
            return
        if score.fitness is not None:
            self._fitness[birth.number] = score.fitness
        if birth.is_trained:
            self._give_credit(repeat, island, birth, score)
        known = island.records.get(birth.key)
        if score.fitness is not None and score.by_seed is not None and (known is None or not known.by_seed):
            island.add(self._record(birth, score))
        self._migrate(repeat, island, birth.number)

    def sizes(self, program: Program) -> tuple[float, ...]:
        """Return the sizes of a program that are objectives."""
        chosen = self.settings.objectives
        states = [states_per_weight(program, self.layouts)] if "states" in chosen else []
        return (*states, *([float(len(live_statements(program)))] if "statements" in chosen else []))

    def _island(self, keys: Sequence[str], first: int) -> Island:
        """Return an island of the start programs, of which the first is birth `first`."""
        turns = self.settings.islands * self.settings.repeats
        unknown = Estimate(-math.inf, 0.0)
        records = [
            Record(first + turns * number, Genome(start), key, structure_hash(start), unknown, (), self.sizes(start))
            for number, (start, key) in enumerate(zip(self.starts, keys, strict=True))
        ]
        return Island(records, self.settings.population)

    def _record(self, birth: Birth, score: Score) -> Record:
        program = birth.genome.program
        return Record(
            birth.number, birth.genome, birth.key, structure_hash(program), _estimate(score), score.by_seed or (),
            self.sizes(program),
        )  # fmt: skip

    def place(self, number: int) -> tuple[int, Island]:
        """Return the repeat and the island of a birth."""
        repeat, turn = number % self.settings.repeats, number // self.settings.repeats
        return repeat, self.islands[repeat][turn % self.settings.islands]

    def _correct(self, key: str, score: Score) -> None:
        for island in (island for islands in self.islands for island in islands):
            held = island.records.get(key)
            if held is None:
                continue
            if score.fitness is None or score.by_seed is None:
                del island.records[key]
                if not island.records:
                    island.records = {start.key: start for start in island.starts}
            elif len(score.by_seed) > len(held.by_seed):
                island.add(held._replace(estimate=_estimate(score), by_seed=score.by_seed))

    def _give_credit(self, repeat: int, island: Island, birth: Birth, score: Score) -> None:
        kind = kind_of(birth.mutation)
        island.since_gain += 1
        gain, wins = 0.0, False
        if score.fitness is None or score.by_seed is None:
            self._priors[repeat].note(Estimate(-math.inf, 0.0))
        else:
            seen = self.estimator.estimate(score.by_seed, self._spread[repeat])
            self._priors[repeat].note(seen)
            expected = None if birth.parent is None else self._fitness.get(birth.parent)
            if expected is not None:
                error = seen.standard_error or abs(seen.fitness) * 1e-3 or 1e-9
                gain = min(max(0.0, (score.fitness - expected) / error), MOST_GAIN)
                wins = seen.lower > expected
        self.credit[repeat].note(kind, gain)
        parent = island.parent(birth.parent)
        if kind == CONSTANTS and parent is not None:
            island.tries[parent.structure] += 1
            island.wins[parent.structure] += wins

    def _migrate(self, repeat: int, island: Island, number: int) -> None:
        """Send the best of the island before to this one, and let one that has come to rest begin anew."""
        islands = self.islands[repeat]
        turn = number // self.settings.repeats // len(islands)
        after = self.settings.migrate_after
        if len(islands) > 1 and after is not None and turn % after == after - 1:
            neighbour = islands[islands.index(island) - 1]
            best = neighbour.best_of_structures()[0]
            if best.by_seed and best.key not in island.records:
                island.add(best)
        rest = self.settings.restart_after
        if rest is not None and island.since_gain >= rest:
            kept = island.best_of_structures()[:1] if self.settings.restart_from == "best" else island.starts
            fresh = Island(island.starts, island.size)
            fresh.records = {record.key: record for record in kept}
            islands[islands.index(island)] = fresh

    # --- what is drawn -----------------------------------------------------------------------------------------------

    def draw(self, window: Sequence[Batch]) -> _Draw:
        """Return what proposes the next batch."""
        return _Draw(self, window)


class Spending:
    """How many trainings a population has spent, and on races, over those of a program's first rung."""

    def __init__(self) -> None:
        self.all = self.races = 0.0

    def count(self, birth: Birth, estimator: Estimator) -> None:
        """Count a birth."""
        if birth.is_trained:
            cost = estimator.rungs.added(birth.rung) / estimator.rungs.added(0)
            self.all += cost
            self.races += cost if birth.rung else 0.0

    def copy(self) -> Spending:
        """Return another that counts on from here."""
        copied = Spending()
        copied.all, copied.races = self.all, self.races
        return copied


class _Draw:
    def __init__(self, strategy: StructureEvolution, window: Sequence[Batch]) -> None:
        self._strategy = strategy
        self._spent = [spent.copy() for spent in strategy.spent]
        self._in_flight: set[str] = set()
        self._tries: Counter[tuple[int, int | None]] = Counter()  # by repeat and parent
        self._races: dict[int, deque[Record]] = {}
        self._ranked: dict[int, list[Record]] = {}
        self._variants: defaultdict[int, deque[Proposal]] = defaultdict(deque)
        self._weights = [credit.weights(strategy.settings.adapt) for credit in strategy.credit]
        for birth in (birth for batch in window for birth in batch.births):
            self._count(birth)

    def propose(self, number: int, rng: Random) -> Proposal:
        """Return a start program for the first births, then races, variants of new structures, and new programs."""
        strategy, settings = self._strategy, self._strategy.settings
        repeat, island = strategy.place(number)
        start = number // (settings.repeats * settings.islands)
        if start < len(strategy.starts):
            return Proposal(strategy.starts[start], "start")
        raced = self._race(repeat)
        if raced is not None:
            return raced
        if self._variants[repeat]:
            return self._variants[repeat].popleft()
        weights = self._weights[repeat]
        kind = rng_choice(rng, list(weights), list(weights.values()))
        if kind == CONSTANTS:
            found = self._other_constants(repeat, island, rng)
            if found is not None:
                return found
        return self._new_structure(island, kind, weights, rng)

    def again(self, program: Program, rng: Random) -> Program:
        """Return the program with one more change."""
        return self._changed(program, list(PROPOSALS), rng)[0]

    def note(self, birth: Birth) -> None:
        """Take in a birth, and propose variants of a new structure next."""
        self._count(birth)
        factors = self._strategy.settings.scales
        kind = kind_of(birth.mutation)
        if (
            len(factors) > 1
            and birth.answered_by == Answer.TRAINING
            and kind in PROPOSALS
            and " x" not in birth.mutation
        ):
            repeat, _ = self._strategy.place(birth.number)
            self._variants[repeat].extend(
                Proposal(scaled(birth.genome.program, factor), f"{birth.mutation} x{factor:g}", birth.parent)
                for factor in factors
                if factor != 1
            )

    def _count(self, birth: Birth) -> None:
        repeat, _ = self._strategy.place(birth.number)
        if birth.is_trained:
            self._in_flight.add(birth.key)
            self._spent[repeat].count(birth, self._strategy.estimator)
            if kind_of(birth.mutation) == CONSTANTS:
                self._tries[repeat, birth.parent] += 1

    # --- races -------------------------------------------------------------------------------------------------------

    def _race(self, repeat: int) -> Proposal | None:
        """Return a promising program on its next seeds, unless races have had their share."""
        spent = self._spent[repeat]
        if spent.races > self._strategy.settings.race_share * spent.all:
            return None
        if repeat not in self._races:
            self._races[repeat] = deque(self._promising(repeat))
        waiting = self._races[repeat]
        while waiting:
            record = waiting.popleft()
            if record.key not in self._in_flight:
                rung = self._strategy.estimator.rungs.reached(len(record.by_seed)) + 1
                return Proposal(record.genome.program, RACE, record.birth, None, rung, record.score)
        return None

    def _promising(self, repeat: int) -> list[Record]:
        """Return records that may be the best and have seeds left, the fittest first."""
        rungs, found = self._strategy.estimator.rungs, dict[str, Record]()
        for island in self._strategy.islands[repeat]:
            highest = max(record.estimate.fitness for record in island.records.values())
            for record in island.records.values():
                is_open = record.by_seed and rungs.reached(len(record.by_seed)) < rungs.top
                if is_open and record.estimate.upper >= highest:
                    found[record.key] = record
        return sorted(found.values(), key=_fittest_first)

    # --- programs ----------------------------------------------------------------------------------------------------

    def _ranking(self, island: Island) -> list[Record]:
        if id(island) not in self._ranked:
            self._ranked[id(island)] = island.best_of_structures()
        return self._ranked[id(island)]

    def _other_constants(self, repeat: int, island: Island, rng: Random) -> Proposal | None:
        """Return the structure that the bandit chooses, with all its constants moved; None where none has constants."""
        ranked = self._ranking(island)
        known = [record.estimate.fitness for record in ranked if math.isfinite(record.estimate.fitness)]
        spread = known[0] - known[len(known) // 2] if known else 0.0
        spread = spread or ranked[0].estimate.standard_error
        tries = {r.structure: island.tries[r.structure] + self._tries[repeat, r.birth] for r in ranked}
        total = sum(tries.values())

        def worth(record: Record) -> tuple[float, int]:
            left_open = math.sqrt(math.log(total + 2) / (tries[record.structure] + 1))
            return max(record.estimate.fitness, -1e300) + CURIOSITY * spread * left_open, -record.birth

        for record in sorted(ranked, key=worth, reverse=True):
            program = record.genome.program
            if any(constant.scale for constant in live_constants(program)):
                child = moved(program, rng, island.step(record.structure))
                return Proposal(child, CONSTANTS, record.birth, record.key)
        return None

    def _new_structure(self, island: Island, kind: str, weights: dict[str, float], rng: Random) -> Proposal:
        ranked = self._ranking(island)
        places = [int(rng.random() * len(ranked)) for _ in range(self._strategy.settings.tournament)]
        parent = ranked[min(places)]
        kinds = [kind] if kind != CONSTANTS else []
        others = [other for other in weights if other != CONSTANTS]
        child, made_by = self._changed(parent.genome.program, [*kinds, *others], rng, island)
        if self._strategy.settings.match_size:
            child = _matched(child, parent.genome.program)
        return Proposal(child, made_by, parent.birth, parent.key)

    def _changed(
        self, program: Program, kinds: Iterable[str], rng: Random, island: Island | None = None
    ) -> tuple[Program, str]:
        material = self._strategy.material
        if island is not None:
            members = [record.genome.program for record in self._ranking(island)]
            material = material._replace(donors=[*material.donors, *members])
        own = structure_hash(program)
        for kind in kinds:
            for _ in range(ATTEMPTS):
                child = PROPOSALS[kind](program, rng, material)
                if child is not None and structure_hash(child) != own:
                    return (cleaned(child) if self._strategy.settings.clean else child), kind
        return program, kind


def best_of(islands: Iterable[Island]) -> list[Record]:
    """Return the best record of each structure that trains, of all these islands, best first."""
    records = [record for island in islands for record in island.records.values()]
    best: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: (-record.estimate.lower, record.birth)):
        if math.isfinite(record.estimate.fitness):
            best.setdefault(record.structure, record)
    return list(best.values())


def kind_of(mutation: str) -> str:
    """Return the kind of a birth: what made it, without further mutations and factors."""
    return mutation.split("+")[0].split(" ")[0]


def rng_choice(rng: Random, items: Sequence[str], weights: Sequence[float]) -> str:
    """Return one of the items, with probabilities in proportion to their weights."""
    at = rng.random() * sum(weights)
    for item, weight in zip(items, weights, strict=True):
        at -= weight
        if at < 0:
            return item
    return items[-1]


def _fittest_first(record: Record) -> tuple[float, int]:
    return -record.estimate.fitness, record.birth


def _estimate(score: Score) -> Estimate:
    assert score.fitness is not None
    return Estimate(score.fitness, score.standard_error or 0.0)


@lru_cache(maxsize=4096)
def _size(program: Program) -> float | None:
    return fingerprint(program).size


def _matched(child: Program, parent: Program) -> Program:
    """Return the child with updates of the size of its parent's, as far as a fixed problem can tell."""
    own, wanted = _size(child), _size(parent)
    if not own or not wanted or 1 / ALIKE < own / wanted < ALIKE:
        return child
    return scaled(child, float(f"{wanted / own:.3g}"))
