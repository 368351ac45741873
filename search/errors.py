"""What a run that is under way may meet, beside mistakes in what it was given."""

from __future__ import annotations


class RunError(Exception):
    """The run cannot go on: says in one line what, where and the mend. What was committed is kept."""
