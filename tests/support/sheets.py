"""A data sheet with something in every section, as `optsearch analyze` keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from programs import zoo
from programs.hashing import dataflow_hash

from search.store.data_sheets import SheetSection, SheetTable, encoded
from search.store.tables import DataSheetRow

RATES, DECAYS, MOMENTA = (1e-4, 1e-3, 1e-2, 1e-1), (0.0, 0.1, 1.0), (0.6, 0.9, 0.975)
TRANSFER = ("axis", "value", "best rate", "error in decades", "loss", "at the edge")
REGRET = ("rule", "change of the data", "setting kept", "tuned anew", "regret", "error")


def table(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], left: Sequence[str] = ()) -> SheetTable:
    """Return a table of these rows."""
    return SheetTable(name, f"title of {name}", columns, [dict(zip(columns, row, strict=True)) for row in rows], left)


def _loss(momentum: float, rate: float, decay: float) -> float | None:
    """A bowl over rate and decay that fails at the highest rate of the longest average."""
    fails = momentum > 0.95 and rate > 0.05
    return None if fails else 0.1 + 0.1 * math.log10(rate / 0.01) ** 2 + 0.02 * decay + 0.1 * abs(momentum - 0.9)


def sections() -> dict[str, SheetSection]:
    """Return the sections."""
    cells = [(m, r, d, _loss(m, r, d)) for m in MOMENTA for r in RATES for d in DECAYS]
    bests = [("batch size", 16.0 * 4**n, 1e-3 * 2**n, 0.05, 0.1, "no") for n in range(4)]
    bests += [("steps", 125.0 * 2**n, 4e-3 * 0.8**n, 0.02, 0.1, "no") for n in range(4)]
    bests += [("width", 4.0, None, None, 0.1, "yes")]
    regrets = [(rule, change, 0.2, 0.15, 0.05 * n, 0.01) for n, rule in enumerate(("lion", "torch_adamw"))
               for change in ("none", "20 % wrong labels")]  # fmt: skip
    return {
        "properties": SheetSection(
            (), [table("properties", ("property", "value", "evidence"), [
                ("odd in g", "yes", "proved"), ("zero gradients", "stays from the start", "sampled"),
            ], ("property", "value", "evidence"))],
        ),
        "family": SheetSection(["family of lion: sign-momentum; it moves weights like lion in the zoo"]),
        "stability": SheetSection(
            ["lion: lowest loss 0.10000 at learning rate 0.01, weight decay 0; stable up to 0.1, 10 times as much"],
            [table("stability", ("momentum", "learning rate", "decay", "loss"), cells)],
        ),
        "transfer": SheetSection(
            ["batch size: the best rate goes as its power 0.50 (95% from 0.45 to 0.55)"],
            [
                table("transfer", TRANSFER, bests, ("axis", "at the edge")),
                table("exponents", ("axis", "exponent", "low", "high", "told from zero", "peak of the surge"), [
                    ("batch size", 0.5, 0.45, 0.55, "yes", 300.0), ("steps", -0.3, -0.5, -0.1, "yes", None),
                ], ("axis", "told from zero")),
                table("recommended", ("change", "by the exponents", "measured"), [
                    ("8 times the batch size", 0.028, 0.03), ("both", 0.02, None),
                ], ("change",)),
                table("regret", REGRET, regrets, ("rule", "change of the data")),
            ],
        ),
        "states": SheetSection(
            ["states in 8 bits: loss +0.00123 +- 0.0004 over float32"],
            [table("states", ("states", "bytes per weight", "loss", "over float32", "error", "z"), [
                ("float32", 4.0, 0.1, None, None, None), ("8 bits", 1.01, 0.10123, 0.00123, 0.0004, 3.1),
            ], ("states",))],
        ),
        "advice": SheetSection(
            (), [table("advice", ("", "advice"), [
                ("use it", "level with AdamW"), ("not when", "nothing found against it"),
            ], ("", "advice"))],
        ),
    }  # fmt: skip


def sheet_of_lion() -> DataSheetRow:
    """Return the sheet of Lion on a task."""
    lion = zoo.load("lion")
    return DataSheetRow("lion", dataflow_hash(lion), str(lion), "digits_mlp", "f" * 32, encoded(sections()))
