"""Every mechanism by name: what it computes, who described it, what it costs, and how to build one.

The table in the README, the pages in docs/mechanisms, the parity tests and the benchmark all walk this list, so that a
mechanism is either in all of them or in none. One module a family; `entry.py` says what an entry holds.
"""

from models.attention.catalogue.blocks import BLOCKS
from models.attention.catalogue.entry import SMALL, Catalogued, Family, Scale, Sizes
from models.attention.catalogue.heads import HEADS
from models.attention.catalogue.images import IMAGES
from models.attention.catalogue.inputs import NEAR_PAIR_AXES, near_pairs
from models.attention.catalogue.long_inputs import LONG_INPUTS
from models.attention.catalogue.positions import POSITIONS
from models.attention.catalogue.queries import QUERIES
from models.attention.catalogue.recurrent import RECURRENT
from models.attention.catalogue.scores import SCORES

__all__ = ["MECHANISMS", "NEAR_PAIR_AXES", "SMALL", "Catalogued", "Family", "Scale", "Sizes", "mechanism", "near_pairs"]

MECHANISMS: tuple[Catalogued, ...] = (
    *SCORES,
    *HEADS,
    *POSITIONS,
    *LONG_INPUTS,
    *RECURRENT,
    *BLOCKS,
    *QUERIES,
    *IMAGES,
)


def mechanism(name: str) -> Catalogued:
    """The mechanism of this name. Raises KeyError with the names that there are."""
    for entry in MECHANISMS:
        if entry.name == name:
            return entry
    raise KeyError(f"no mechanism is called {name!r}; those are {', '.join(entry.name for entry in MECHANISMS)}")
