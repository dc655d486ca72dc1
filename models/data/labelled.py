"""What every source of classified examples gives: contents as a caller would send them, labels, a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from models.data.splits import Split
from models.provenance import fingerprint
from server.manifest import DataProvenance

Content = TypeVar("Content", str, bytes)


@dataclass(frozen=True, slots=True)
class Labelled(Generic[Content]):
    """Examples with one class each.

    source: where they came from; for a user's own data, what they gave as `--data`.
    contents: texts, or encoded images.
    labels: the class of each content, an index into `names`.
    names: the classes.
    split: which examples train, validate and test.
    """

    source: str
    contents: tuple[Content, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    split: Split

    def select(self, indices: Sequence[int]) -> tuple[list[Content], list[int]]:
        """The contents and labels at these indices, in their order."""
        return [self.contents[index] for index in indices], [self.labels[index] for index in indices]

    def provenance(self) -> DataProvenance:
        """For the record: the fingerprint covers contents, labels, names and the split, in order."""
        parts: list[bytes | str] = [json.dumps(self.names)]
        for name, indices in (
            ("train", self.split.train),
            ("validation", self.split.validation),
            ("test", self.split.test),
        ):
            parts.append(name)
            for index in indices:
                parts += [self.contents[index], self.names[self.labels[index]]]
        return DataProvenance(source=self.source, fingerprint=fingerprint(parts), examples=self.split.sizes())
