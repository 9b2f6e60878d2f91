"""The space of a study: the keys that it varies, and the values of each.

`grammar` reads it from Hydra's sweep grammar, a sampler draws from its domains, and what was drawn
becomes override words again.
"""

from studperf.sweeps.space.domain import Choice, Numbers, Word, read, write
from studperf.sweeps.space.grammar import read_space
from studperf.sweeps.space.space import Dimension, Space

__all__ = ["Choice", "Dimension", "Numbers", "Space", "Word", "read", "read_space", "write"]
