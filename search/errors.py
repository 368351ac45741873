"""Errors of a run that is under way, besides wrong input."""

from __future__ import annotations


class RunError(Exception):
    """The run cannot go on: says in one line what is wrong, where, and the fix. What was committed is kept."""
