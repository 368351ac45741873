"""What a run may meet in its database."""

from __future__ import annotations

from search.errors import RunError


class StoreError(RunError):
    """The database can no longer be used."""


class NotWritable(StoreError):  # noqa: N818 - what is the case, as in StopIteration
    """This user may read the database, but not write it."""


class LeaseLost(StoreError):  # noqa: N818 - what has happened, as in StopIteration
    """Another run has taken the search over; nothing more of this one can be written."""
