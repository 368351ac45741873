"""Optimizers that searches of this project have found, as PyTorch classes: `from programs.zoo.found import NormDecay`.

Each stands here twice: NAME.txt is the program in the language, NAME.py the file that `optsearch export NAME` makes of it,
which needs nothing but torch. docs/gallery.md says where they come from and what they are worth.
"""

from programs.zoo.found.norm_decay import NormDecay
from programs.zoo.found.root_normuon import RootNormuon
from programs.zoo.found.root_scion import RootScion
from programs.zoo.found.two_signs import TwoSigns

__all__ = ["NormDecay", "RootNormuon", "RootScion", "TwoSigns"]
