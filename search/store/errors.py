"""What a run that is under way may meet."""

from __future__ import annotations


class StoreError(Exception):
    """The database can no longer be used: says in one line what, where and the mend. What was committed is kept."""


class LeaseLost(StoreError):  # noqa: N818 - what has happened, as in StopIteration
    """Another run has taken the search over; nothing more of this one can be written."""
