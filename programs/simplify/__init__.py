"""From a raw winner to a rule that people would write: simplification by algebra, and equations."""

from programs.run.reference import Recording
from programs.simplify.algebra import Simplified, Step, simplify_algebra
from programs.simplify.equations import equations
from programs.simplify.evidence import Evidence

__all__ = ["Evidence", "Recording", "Simplified", "Step", "equations", "simplify_algebra"]
