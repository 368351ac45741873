"""What a report asks the database: the views alone, and no more rows than a page can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from programs.errors import InputError

from search.store import Store
from search.store.encoding import foreign_data_error, from_json
from search.store.validation import checked_curve, checked_settings

MOST_REASONS = 25
MOST_LEADERS = 100
MOST_STEPS = 1000  # of a simplification
MOST_TRAININGS = 2000  # whose curves are read
LONGEST_LINE = 20_000  # ancestors
MOST_KEYS = 500  # in one query


class Training(NamedTuple):
    """One training of a program."""

    key: str
    task: str
    task_fingerprint: str
    seed: int
    fitness: float | None
    steps: int
    curve: list[float]


class Reading:
    """A search as the views of its database tell it.

    Args:
        store: open for reading.
        name: of the search; without one, the search written last.

    Raises:
        InputError: there is no such search, or none at all.
    """

    def __init__(self, store: Store, name: str | None = None) -> None:
        self._store = store
        self.searches = store.rows("SELECT * FROM v_searches")
        found = [row for row in self.searches if name in (None, row["search"])]
        if not self.searches:
            raise InputError(f"{store.location}: holds no search yet; `optsearch run CONFIG` starts one")
        if not found:
            names = ", ".join(row["search"] for row in self.searches)
            raise InputError(f"{store.location}: no search '{name}'; there are: {names}")
        self.row = max(found, key=lambda row: row["last_written"])
        self.search: str = self.row["search"]

    @property
    def location(self) -> str:
        """Of the database."""
        return self._store.location

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Of the search, as far as `checked_settings` looks into them."""
        return checked_settings(self._json(self.row["settings"], "settings of a search"), self.location)

    @property
    def tasks(self) -> list[str]:
        """Names of those that the search trains on."""
        return [task["name"] for task in self.settings.get("tasks", [])]

    @property
    def fitness_is(self) -> str:
        """What a fitness of this search says, for axes."""
        if len(self.tasks) > 1:
            return "score: 0 baseline, 1 best"
        return "minus validation loss"

    def time(self, text: str) -> datetime:
        """A time of a view, UTC.

        Raises:
            InputError: it is none.
        """
        try:
            return datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            raise foreign_data_error(self.location, f"{text[:40]!r} as a time") from None

    @cached_property
    def best(self) -> dict[str, Any] | None:
        """The row of the program with the highest fitness."""
        rows = self._of_search("SELECT * FROM v_leaderboard WHERE search = :search LIMIT 1")
        return rows[0] if rows else None

    @cached_property
    def leaders(self) -> list[dict[str, Any]]:
        """Rows of the best programs."""
        return self._of_search("SELECT * FROM v_leaderboard WHERE search = :search LIMIT :most", most=MOST_LEADERS)

    def leader(self, program_id: int) -> dict[str, Any] | None:
        """The row of a program that trained well."""
        rows = self._of_search("SELECT * FROM v_leaderboard WHERE search = :search AND id = :id", id=program_id)
        return rows[0] if rows else None

    @cached_property
    def distinct(self) -> int:
        """Programs that trained well."""
        query = "SELECT COUNT(*) AS programs FROM v_leaderboard WHERE search = :search"
        return int(self._of_search(query)[0]["programs"])

    @cached_property
    def sizes(self) -> list[dict[str, Any]]:
        """The best fitness for each number of live statements and state slots."""
        return self._of_search(
            """SELECT live_statements, state_slots, MAX(fitness) AS fitness, COUNT(*) AS programs
               FROM v_leaderboard WHERE search = :search GROUP BY live_statements, state_slots
               ORDER BY state_slots, live_statements"""
        )

    @cached_property
    def baselines(self) -> list[dict[str, Any]]:
        """Tuned baselines, best first; those that trained nowhere well last."""
        rows = self._of_search("SELECT * FROM v_baselines WHERE search = :search")
        return sorted(rows, key=lambda row: (row["fitness"] is None, -(row["fitness"] or 0.0)))

    @cached_property
    def progress(self) -> list[dict[str, Any]]:
        """The batches of the search."""
        return self._of_search("SELECT * FROM v_progress WHERE search = :search ORDER BY batch")

    @cached_property
    def pace(self) -> list[dict[str, Any]]:
        """When the trainings of batches were written."""
        return self._of_search("SELECT * FROM v_pace WHERE search = :search ORDER BY batch")

    @cached_property
    def meta_validation(self) -> list[dict[str, Any]]:
        """Looks at the search's best on tasks that it never sees."""
        return self._of_search("SELECT * FROM v_meta_validation WHERE search = :search ORDER BY births")

    @cached_property
    def failures(self) -> list[dict[str, Any]]:
        """How many programs failed, by status."""
        return self._of_search(
            """SELECT status, CAST(SUM(programs) AS BIGINT) AS programs FROM v_failures WHERE search = :search
               GROUP BY status ORDER BY SUM(programs) DESC, status"""
        )

    @cached_property
    def reasons(self) -> list[dict[str, Any]]:
        """The reasons given most often."""
        return self._of_search("SELECT * FROM v_failures WHERE search = :search LIMIT :most", most=MOST_REASONS)

    @cached_property
    def funnel(self) -> list[dict[str, Any]]:
        """Rows of the funnel that this search went through last."""
        last = "SELECT funnel FROM v_funnel WHERE search = :search"
        names = [row["funnel"] for row in self._of_search(last)]
        return self._of_funnel(names[-1]) if names else []

    def _of_funnel(self, name: str) -> list[dict[str, Any]]:
        return self._of_search("SELECT * FROM v_funnel WHERE search = :search AND funnel = :funnel", funnel=name)

    @cached_property
    def proof(self) -> list[dict[str, Any]]:
        """Rows of the proof of this search's last finalist."""
        finalists = self._store.rows("SELECT DISTINCT finalist FROM v_proof")
        ours = [row["finalist"] for row in finalists if self._is_ours(row["finalist"])]
        if not ours:
            return []
        return self._store.rows("SELECT * FROM v_proof WHERE finalist = :finalist", finalist=max(ours))

    def _is_ours(self, program_id: int) -> bool:
        return bool(self._of_search("SELECT id FROM v_lineage WHERE search = :search AND id = :id", id=program_id))

    @cached_property
    def noise(self) -> list[dict[str, Any]]:
        """How much one training of a task says."""
        return self._store.rows("SELECT * FROM v_noise")

    def line(self, birth: int) -> list[dict[str, Any]]:
        """A birth and its ancestors, the first of them first."""
        line: list[dict[str, Any]] = []
        at: int | None = birth
        while at is not None and len(line) < LONGEST_LINE:
            rows = self._of_search("SELECT * FROM v_lineage WHERE search = :search AND birth = :birth", birth=at)
            line += rows[:1]
            parent = rows[0]["parent_birth"] if rows else None
            at = parent if parent is not None and parent < at else None
        return line[::-1]

    def children(self, births: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Births whose parents are these."""
        for start in range(0, len(births), MOST_KEYS):
            some = {f"birth{n}": birth for n, birth in enumerate(births[start : start + MOST_KEYS])}
            places = ", ".join(f":{name}" for name in some)
            query = (
                "SELECT birth, parent_birth, fitness, gain FROM v_lineage WHERE search = :search AND parent_birth IN"
            )
            yield from self._of_search(f"{query} ({places})", **some)

    def trainings(self, keys: Sequence[str]) -> list[Training]:
        """What programs of these keys went through, on whatever task.

        Raises:
            InputError: a loss curve is none.
        """
        found = []
        for key in keys:
            rows = self._store.rows(
                """SELECT key, task, task_fingerprint, seed, fitness, steps, curve FROM v_trainings
                   WHERE key = :key AND status = 'ok' LIMIT :most""",
                key=key,
                most=MOST_TRAININGS,
            )
            for row in rows:
                curve = checked_curve(self._json(row.pop("curve"), "a curve"), self.location)
                found.append(Training(**row, curve=curve))
        return found

    def simplification(self, program_id: int) -> list[dict[str, Any]]:
        """The steps by which a program was simplified."""
        return self._of_search(
            """SELECT step, kind, before, after, accepted FROM v_simplification
               WHERE search = :search AND id = :id ORDER BY step LIMIT :most""",
            id=program_id,
            most=MOST_STEPS,
        )

    def _of_search(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        return self._store.rows(query, search=self.search, **parameters)

    def _json(self, text: Any, what: str) -> Any:
        try:
            return from_json(text)
        except (ValueError, RecursionError):
            raise foreign_data_error(self.location, what) from None
