"""What splits have in common, which should be nothing."""

import itertools
from typing import Any

from comem_memory.synthesis.splits import Split


def overlap(by_split: dict[Split, set[Any]]) -> set[Any]:
    assert all(by_split.values())
    return set[Any]().union(*(one & other for one, other in itertools.combinations(by_split.values(), 2)))
