"""Evolution of structures, each with the best constants known for it, on seeds that are raced.

A *structure* is a program with its live constants left open; those that move weights alike count as one. An island
holds the best structures that it knows. A birth is one of three things:

- a program on more seeds: while it may be the best of its island and has not been trained on all seeds, the best
  first, twice as many decide about it;
- a known structure with other constants, all of them moved at once (self-adapting log-normal steps with the one-fifth
  rule, Rechenberg 1973). A bandit chooses the structure: the best bound plus what few tries leave open (UCB1, Auer et
  al., Machine Learning 2002);
- a new structure: the winner of a tournament, changed by one of the proposals of `programs.proposals`. What the change
  does to the size of updates is taken back, so that a new structure does not fail for its learning rate.

What a program is worth is not what was seen of it: the best of many that were each trained once was lucky
(`knowledge.py`).

How often the kinds of births are tried follows from what they have gained (probability matching with a floor, Thierens,
GECCO 2005). All of it is a function of committed births.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from random import Random
from statistics import fmean

from programs.behaviour import distance, size_of_updates
from programs.constants import moved
from programs.hashing import structure_hash
from programs.hyperparameters import scaled
from programs.layout import Layout
from programs.liveness import live_statements, states_per_weight
from programs.program import Program
from programs.proposals import PROPOSALS, Material
from programs.simplify.cleaning import cleaned

from search.evolution.births import Batch, Birth, Genome, Proposal
from search.evolution.credit import CONSTANTS, Credit, Spending
from search.evolution.estimates import Estimate, Estimator
from search.evolution.islands import Island, Record, fittest_first
from search.evolution.knowledge import Knowledge
from search.settings.settings import Strategy as StrategySettings
from search.store.keys import Answer
from search.training.service import Score

RACE = "race"

CURIOSITY = 0.5  # weight of what few tries leave open, in spreads of the island's structures
DOUBT = 0.3  # of the share of races, for programs that do not look promising
MOST_GAIN = 3.0  # standard errors that a gain counts at most
ATTEMPTS = 20  # draws of a proposal before another kind is taken
ALIKE = 1.5  # factor by which sizes of updates may differ


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
        self.variants = _Variants(settings.scales, settings.repeats * settings.islands)
        self._fitness: dict[int, float] = {}  # of births, as far as it is known by now
        self._knowledge = [Knowledge(estimator) for _ in range(settings.repeats)]

    def judge(self, birth: Birth, new: Score) -> Score:
        """Return the score of a trained birth, on all seeds that it has been trained on, its gain shrunk."""
        known = birth.score
        if new.fitness is None or new.by_seed is None:
            return new._replace(trainings=new.trainings + (known.trainings if known else 0), by_seed=None)
        by_seed = (*((known.by_seed if known else None) or ()), *new.by_seed)
        repeat, _ = self.place(birth.number)
        worth = self._knowledge[repeat].worth(by_seed)
        error = worth.standard_error or None  # of 0 nothing is known
        return new._replace(fitness=worth.fitness, standard_error=error, trainings=len(by_seed), by_seed=by_seed)

    # --- what was committed ------------------------------------------------------------------------------------------

    def join(self, birth: Birth, score: Score) -> None:
        """Take in a committed birth."""
        repeat, island = self.place(birth.number)
        self.variants.note(birth)
        self.spent[repeat].count(birth, self.estimator)
        if birth.answered_by == Answer.REEVALUATION:
            assert birth.parent is not None
            self._fitness[birth.parent] = -math.inf if score.fitness is None else score.fitness
            self._correct(birth.key, score)
            if score.by_seed is not None:
                self._knowledge[repeat].note_race(birth.key, score.by_seed)
            self._migrate(repeat, island, birth.number)
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
        return Island(records, self.settings.population, self.settings.niche_radius)

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
        if score.fitness is not None and score.by_seed is not None:
            seen = self._knowledge[repeat].seen(score.by_seed)
            self._knowledge[repeat].note_birth(score.by_seed)
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
            fresh = Island(island.starts, island.size, island.radius)
            fresh.records = {record.key: record for record in kept}
            islands[islands.index(island)] = fresh

    # --- what is drawn -----------------------------------------------------------------------------------------------

    def draw(self, window: Sequence[Batch]) -> _Draw:
        """Return what proposes the next batch."""
        return _Draw(self, window)


class _Variants:
    """New structures with updates of other sizes, which their islands have still to try, the oldest first.

    A variant is born right after its structure, unless races or the end of a batch come between.
    """

    def __init__(self, factors: Sequence[float], islands: int) -> None:
        self._factors = [factor for factor in factors if factor != 1]
        self._waiting: list[deque[Proposal]] = [deque() for _ in range(islands)]

    def copy(self) -> _Variants:
        """Return the same variants, to be tried apart from these."""
        other = _Variants(self._factors, 0)
        other._waiting = [waiting.copy() for waiting in self._waiting]
        return other

    def next(self, number: int) -> Proposal | None:
        """Return what the island of a birth has to try first."""
        waiting = self._waiting[number % len(self._waiting)]
        return waiting[0] if waiting else None

    def note(self, birth: Birth) -> None:
        """Take in a birth of a structure or of a variant."""
        waiting = self._waiting[birth.number % len(self._waiting)]
        if " x" in birth.mutation:
            waiting.popleft()
        elif birth.answered_by == Answer.TRAINING and kind_of(birth.mutation) in PROPOSALS:
            waiting.extend(
                Proposal(scaled(birth.genome.program, factor), f"{birth.mutation} x{factor:g}", birth.parent)
                for factor in self._factors
            )


class _Draw:
    def __init__(self, strategy: StructureEvolution, window: Sequence[Batch]) -> None:
        self._strategy = strategy
        self._spent = [spent.copy() for spent in strategy.spent]
        self._in_flight: set[str] = set()
        self._tries: Counter[tuple[int, int | None]] = Counter()  # by repeat and parent
        self._races: dict[int, tuple[deque[Record], deque[Record]]] = {}
        self._ranked: dict[int, list[Record]] = {}
        self._variants = strategy.variants.copy()
        self._weights = [credit.weights(strategy.settings.adapt) for credit in strategy.credit]
        for birth in (birth for batch in window for birth in batch.births):
            self.note(birth)

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
        variant = self._variants.next(number)
        if variant is not None:
            return variant
        weights = self._weights[repeat]
        kind = _drawn(rng, list(weights), list(weights.values()))
        if kind == CONSTANTS:
            found = self._other_constants(repeat, island, rng)
            if found is not None:
                return found
        return self._new_structure(island, kind, weights, rng)

    def again(self, program: Program, rng: Random) -> Program:
        """Return the program with one more change."""
        operators = list(self._strategy.settings.operators or PROPOSALS)
        first = int(rng.random() * len(operators))
        return self._changed(program, operators[first:] + operators[:first], rng)[0]

    def note(self, birth: Birth) -> None:
        """Take in a birth; variants of a new structure are proposed next."""
        self._variants.note(birth)
        repeat, _ = self._strategy.place(birth.number)
        if birth.is_trained:
            self._in_flight.add(birth.key)
            self._spent[repeat].count(birth, self._strategy.estimator)
            if kind_of(birth.mutation) == CONSTANTS:
                self._tries[repeat, birth.parent] += 1

    # --- races -------------------------------------------------------------------------------------------------------

    def _race(self, repeat: int) -> Proposal | None:
        """Return a promising program on its next seeds, unless races have had their share.

        A part of that share is for those that do not look promising: what is believed of the seeds may be wrong.
        """
        spent, share = self._spent[repeat], self._strategy.settings.race_share
        if repeat not in self._races:
            self._races[repeat] = self._open(repeat)
        for waiting, part in zip(self._races[repeat], (1.0, DOUBT), strict=True):
            while waiting and spent.races <= part * share * spent.all:
                record = waiting.popleft()
                if record.key not in self._in_flight:
                    rung = self._strategy.estimator.rungs.reached(len(record.by_seed)) + 1
                    return Proposal(record.genome.program, RACE, record.birth, None, rung, record.score)
        return None

    def _open(self, repeat: int) -> tuple[deque[Record], deque[Record]]:
        """Return records that have seeds left: those that may be the best, and the others, each the fittest first."""
        rungs, found, others = self._strategy.estimator.rungs, dict[str, Record](), dict[str, Record]()
        for island in self._strategy.islands[repeat]:
            highest = max(record.estimate.fitness for record in island.records.values())
            for record in island.records.values():
                if record.by_seed and rungs.reached(len(record.by_seed)) < rungs.top:
                    (found if record.estimate.upper >= highest else others)[record.key] = record
        return deque(sorted(found.values(), key=fittest_first)), deque(sorted(others.values(), key=fittest_first))

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
            child = moved(program, rng, island.step(record.structure))
            if child != program:
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
            child = _matched(child, parent.genome.program, self._strategy.layouts)
        return Proposal(child, made_by, parent.birth, parent.key)

    def _changed(
        self, program: Program, kinds: Iterable[str], rng: Random, island: Island | None = None
    ) -> tuple[Program, str]:
        material = self._strategy.material
        if island is not None:
            members = [record.genome.program for record in self._ranking(island)]
            material = material._replace(donors=[*material.donors, *members])
        for kind in kinds:
            for _ in range(ATTEMPTS):
                child = PROPOSALS[kind](program, rng, material)
                if child is not None and self._differs(child, program):
                    return (cleaned(child) if self._strategy.settings.clean else child), kind
        return program, kind

    def _differs(self, child: Program, parent: Program) -> bool:
        """Return whether a child is another structure than its parent, which moves weights in another way."""
        if structure_hash(child) == structure_hash(parent):
            return False
        radius = self._strategy.settings.niche_radius
        return radius == 0 or distance(child, parent) >= radius


def kind_of(mutation: str) -> str:
    """Return the kind of a birth: what made it, without further mutations and factors."""
    return mutation.split("+")[0].split(" ")[0]


def _drawn(rng: Random, items: Sequence[str], weights: Sequence[float]) -> str:
    """Return one of the items, with probabilities in proportion to their weights."""
    at = rng.random() * sum(weights)
    for item, weight in zip(items, weights, strict=True):
        at -= weight
        if at < 0:
            return item
    return items[-1]


def _estimate(score: Score) -> Estimate:
    assert score.fitness is not None
    return Estimate(score.fitness, score.standard_error or 0.0)


def _matched(child: Program, parent: Program, layouts: Sequence[Layout]) -> Program:
    """Return the child with updates of the size of its parent's, as far as a few steps on random gradients can tell."""
    sizes = [(size_of_updates(child, layout), size_of_updates(parent, layout)) for layout in layouts]
    known = [math.log(wanted / own) for own, wanted in sizes if own and wanted]
    if not known or abs(fmean(known)) < math.log(ALIKE):
        return child
    return scaled(child, float(f"{math.exp(fmean(known)):.3g}"))
