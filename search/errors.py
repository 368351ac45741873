"""Errors of a run that is under way, as opposed to errors in its input."""

from __future__ import annotations


class RunError(Exception):
    """The run cannot go on: says in one line what is wrong, where, and how to mend it. What was committed is kept."""
