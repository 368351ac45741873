"""Results as notebooks show them: a data frame, a figure, and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from programs.errors import InputError

from search.results.text import printable
from search.store.rows import Row

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from search.store.views import BaselineEntry, LeaderboardEntry, ProgressEntry

COLUMNS = ("search", "id", "fitness", "standard_error", "trainings", "over_adamw", "live_statements", "state_slots")
"""What HTML shows of the leaderboard."""


def frame_of(kind: type[Row], rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows of one class as a data frame with a column for each of their fields.

    Raises:
        InputError: pandas is not installed.
    """
    try:
        import pandas as pd  # here: it is an extra
    except ModuleNotFoundError:
        raise InputError("to_frame: pandas is not installed; pip install 'optsearch[notebook]'") from None
    return pd.DataFrame([row.as_columns() for row in rows], columns=list(kind.kinds))


def plot_of(progress: Sequence[ProgressEntry], baselines: Sequence[BaselineEntry], ax: Axes | None) -> Axes:
    """Draw the best fitness over births, a line for each search, and tuned baselines as broken lines.

    Args:
        progress: the batches of the searches.
        baselines: of the searches.
        ax: what to draw on; a new figure without it.
    """
    import matplotlib.pyplot as plt  # here: who prints results draws nothing

    if ax is None:
        _, ax = plt.subplots()
    for name in dict.fromkeys(batch.search for batch in progress):
        known = [
            (batch.births_so_far, batch.best_so_far)
            for batch in progress if batch.search == name and batch.best_so_far is not None
        ]  # fmt: skip
        ax.plot([births for births, _ in known], [best for _, best in known], label=name)
    for baseline in baselines:
        if baseline.fitness is not None:
            ax.axhline(baseline.fitness, linestyle="--", linewidth=1, color="grey")
            ax.annotate(f"tuned {baseline.name}", (1, baseline.fitness), xycoords=("axes fraction", "data"), ha="right")
    ax.set_xlabel("births")
    ax.set_ylabel("best fitness less its standard error")
    ax.legend()
    return ax


def html_of(title: str, rows: Sequence[LeaderboardEntry]) -> str:
    """Return the best programs as a table of HTML, whatever their texts hold."""
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in COLUMNS)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(getattr(row, name))}</td>' for name in COLUMNS)}</tr>" for row in rows)
    return f"<p>{escape(printable(title))}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.5g}" if isinstance(value, float) else escape(printable(str(value)))
