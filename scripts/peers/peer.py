"""What a peer is: it asks for programs to be trained and is told how they fared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Peer(Protocol):
    """A search of somebody else's, on this project's engine.

    Attributes:
        evaluated: programs evaluated so far, as its authors count them.
    """

    evaluated: int

    def ask(self) -> list[str]:
        """Return the texts of programs to be trained next; an empty list ends the search."""

    def tell(self, fitness: Sequence[float]) -> None:
        """Take the fitness of each of them: higher is better, minus infinity where training failed."""
