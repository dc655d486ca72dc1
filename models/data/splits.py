"""Which examples train, which choose between trainings, which judge the result."""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

# The shares of validation and test; the rest trains.
VALIDATION_SHARE = 0.12
TEST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the examples in each split, ascending, disjoint, together all of them."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def sizes(self) -> dict[str, int]:
        """The number of examples in each split, by name."""
        return {"train": len(self.train), "validation": len(self.validation), "test": len(self.test)}


def stratified_split(
    labels: Sequence[Hashable],
    seed: int,
    validation: float = VALIDATION_SHARE,
    test: float = TEST_SHARE,
) -> Split:
    """Splits so that every label has its share in every split, as far as it has enough examples."""
    return grouped_split(labels, range(len(labels)), seed, validation, test)


def grouped_split(
    labels: Sequence[Hashable],
    groups: Sequence[Hashable],
    seed: int,
    validation: float = VALIDATION_SHARE,
    test: float = TEST_SHARE,
) -> Split:
    """Splits so that no group, such as a module, is in two splits, and every label has about its share in each.

    A group has one label. Groups go at random to test and validation while they fit there; one that is larger than
    what is left there trains.
    """
    by_label: dict[Hashable, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (label, group) in enumerate(zip(labels, groups, strict=True)):
        by_label[label][group].append(index)
    chosen: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    # The order of first appearance, not of a hash, so that a seed means the same split in every process.
    for label, members in by_label.items():
        total = sum(len(indices) for indices in members.values())
        room = {"test": round(total * test), "validation": round(total * validation)}
        order = list(members.values())
        random.Random(f"{seed} {label}").shuffle(order)
        for indices in order:
            name = next((name for name, left in room.items() if len(indices) <= left), "train")
            chosen[name].extend(indices)
            if name != "train":
                room[name] -= len(indices)
    return Split(*(tuple(sorted(chosen[name])) for name in ("train", "validation", "test")))
