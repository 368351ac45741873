"""How many trainings are saved because duplicates are recognised, beside the figures of the Lion paper.

    optsearch run configs/redundancy.yaml
    python -m scripts.record.redundancy redundancy.db redundancy
    optsearch verify --search redundancy --store redundancy.db --pairs 1000

Prints a table in Markdown. The last command measures the share of false merges, by training pairs of programs that
share a fingerprint but not their dataflow.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing

from search.results.results import Results
from search.store import Store, open_store
from search.store.rows import Row, query


@query("""
    SELECT COUNT(*) AS births,
           CAST(SUM(CASE WHEN answered_by = 'training' THEN 1 ELSE 0 END) AS BIGINT) AS trained,
           CAST(SUM(CASE WHEN answered_by = 'hash' THEN 1 ELSE 0 END) AS BIGINT) AS by_hash,
           CAST(SUM(CASE WHEN answered_by = 'fingerprint' THEN 1 ELSE 0 END) AS BIGINT) AS by_fingerprint,
           CAST(SUM(CASE WHEN answered_by = 'in_flight' THEN 1 ELSE 0 END) AS BIGINT) AS in_flight,
           CAST(SUM(CASE WHEN answered_by = 'rejection' THEN 1 ELSE 0 END) AS BIGINT) AS rejected,
           COUNT(DISTINCT dataflow_hash) AS hashes,
           1 - CAST(SUM(live_statements) AS DOUBLE PRECISION) / SUM(statements) AS redundant
    FROM v_programs WHERE search = :search AND birth >= :first
""")
class Counts(Row):
    """Births of a search from one on, counted by what answered them."""

    births: int
    """All of them."""
    trained: int
    """Those that were trained."""
    by_hash: int
    """Those answered by a program with the same dataflow."""
    by_fingerprint: int
    """Those answered by a program with the same fingerprint."""
    in_flight: int
    """Those answered by a twin that was being trained."""
    rejected: int
    """Those that were not worth training."""
    hashes: int
    """The number of different dataflows."""
    redundant: float
    """The share of their statements without effect."""


ROWS: tuple[tuple[str, Callable[[Counts], float], str], ...] = (
    ("redundant statements", lambda c: c.redundant, "69.8 %"),
    ("answered without training", lambda c: 1 - c.trained / c.births, "89.1 %"),
    ("by dataflow hash", lambda c: c.by_hash / c.births, ""),
    ("by fingerprint", lambda c: c.by_fingerprint / c.births, ""),
    ("by a twin in flight", lambda c: c.in_flight / c.births, ""),
    ("rejected without training", lambda c: c.rejected / c.births, ""),
    ("trained", lambda c: c.trained / c.births, "10.9 %"),
)


def show_savings(store: Store, search: str) -> None:
    """Print the table: over the whole search, and over its last fifth, which the paper's figures are about."""
    births = Results(store).search(search).births
    whole, late = (store.select(Counts, search=search, first=first)[0] for first in (0, births * 4 // 5))
    print(f"| of {births} births | whole search | last fifth | Lion paper, late |\n|---|---|---|---|")
    for name, share, paper in ROWS:
        print(f"| {name} | {share(whole):.1%} | {share(late):.1%} | {paper} |")
    ratios = [counts.births / counts.trained for counts in (whole, late)]
    print(f"| births for each training | {ratios[0]:.1f} | {ratios[1]:.1f} | about 10 |")
    print(
        f"\nDataflow hashes alone would leave {whole.hashes} trainings; fingerprints and rejections leave"
        f" {whole.trained}: a further {1 - whole.trained / whole.hashes:.1%} saved."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("search")
    options = parser.parse_args()
    with closing(open_store(options.store)) as store:
        show_savings(store, options.search)


if __name__ == "__main__":
    main()
