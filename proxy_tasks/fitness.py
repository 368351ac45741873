"""What decides how well a training went."""

from __future__ import annotations

from typing import Literal

Fitness = Literal["loss", "accuracy"]
ERRORS: dict[Fitness, str] = {"loss": "validation loss", "accuracy": "validation error rate"}
"""What each kind of fitness is minus."""
