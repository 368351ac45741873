"""How much work recognising old acquaintances saves, beside the figures of the Lion paper.

    optsearch run configs/redundancy.yaml
    python -m scripts.record.redundancy redundancy.db redundancy [--pairs 1000]

Reads a search from its store, prints a table in Markdown, and measures the false-merge rate by training pairs that
share a fingerprint but not their dataflow.
"""

from __future__ import annotations

import argparse

from search.commands.verify import show_verification
from search.store import Store, open_store

from tests.support.searches import rows_of_query

_COUNTS = """
    SELECT COUNT(*) AS births,
           SUM(CASE WHEN i.answered_by = 'training' THEN 1 ELSE 0 END) AS trained,
           SUM(CASE WHEN i.answered_by = 'hash' THEN 1 ELSE 0 END) AS by_hash,
           SUM(CASE WHEN i.answered_by = 'fingerprint' THEN 1 ELSE 0 END) AS by_fingerprint,
           SUM(CASE WHEN i.answered_by = 'in_flight' THEN 1 ELSE 0 END) AS in_flight,
           SUM(CASE WHEN i.answered_by = 'rejection' THEN 1 ELSE 0 END) AS rejected,
           COUNT(DISTINCT i.dataflow_hash) AS hashes,
           1.0 - 1.0 * SUM(i.live_statements) / SUM(i.statements) AS redundant
    FROM program i JOIN search s ON s.id = i.search_id
    WHERE s.name = :search AND i.birth >= :first
"""


def show_savings(store: Store, search: str) -> None:
    """Print the table: over the whole search, and over its last fifth, which the paper's figures are about."""
    births = rows_of_query(store, _COUNTS, search=search, first=0)[0]["births"]
    whole, late = (rows_of_query(store, _COUNTS, search=search, first=first)[0] for first in (0, births * 4 // 5))
    print(f"| of {births} births | whole search | last fifth | Lion paper, late |")
    print("|---|---|---|---|")
    rows = [
        ("redundant statements", "redundant", "69.8 %"),
        ("answered without training", None, "89.1 %"),
        ("by dataflow hash", "by_hash", ""),
        ("by fingerprint", "by_fingerprint", ""),
        ("by a twin in flight", "in_flight", ""),
        ("rejected without training", "rejected", ""),
        ("trained", "trained", "10.9 %"),
    ]
    for name, column, paper in rows:
        shares = [_share(counts, column) for counts in (whole, late)]
        print(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} | {paper} |")
    ratios = [counts["births"] / counts["trained"] for counts in (whole, late)]
    print(f"| births for each training | {ratios[0]:.1f} | {ratios[1]:.1f} | about 10 |")
    saved = 1 - whole["trained"] / whole["hashes"]
    print(
        f"\nDataflow hashes alone would leave {whole['hashes']} trainings; fingerprints and rejections leave"
        f" {whole['trained']}: a further {saved:.1%} saved."
    )


def _share(counts: dict[str, float], column: str | None) -> float:
    if column == "redundant":
        return counts["redundant"]
    return 1 - counts["trained"] / counts["births"] if column is None else counts[column] / counts["births"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("search")
    parser.add_argument("--pairs", type=int, default=1000)
    options = parser.parse_args()
    store = open_store(options.store)
    show_savings(store, options.search)
    print()
    show_verification(store, options.search, options.pairs)


if __name__ == "__main__":
    main()
