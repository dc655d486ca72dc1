"""Examples that are nothing but text: texts by themselves, or sources with their targets; with a split."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from models.data.errors import DataError
from models.data.external import load_tables, split_by_origin
from models.data.splits import Split
from models.provenance import fingerprint
from server.manifest import DataProvenance

FEWEST_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Texts:
    """Examples of one text in each column.

    source: where they came from; for a user's own data, what they gave as `--data`.
    columns: such as `text`, or `source` and `target`.
    rows: one text a column, each.
    split: which examples train, validate and test.
    """

    source: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    split: Split

    def select(self, indices: Sequence[int]) -> list[tuple[str, ...]]:
        """The rows at these indices, in their order."""
        return [self.rows[index] for index in indices]

    def provenance(self) -> DataProvenance:
        """For the record: the fingerprint covers columns, texts and the split, in order."""
        parts: list[bytes | str] = [json.dumps(self.columns)]
        for name, indices in (
            ("train", self.split.train),
            ("validation", self.split.validation),
            ("test", self.split.test),
        ):
            parts.append(name)
            for row in self.select(indices):
                parts += row
        return DataProvenance(source=self.source, fingerprint=fingerprint(parts), examples=self.split.sizes())


def read_texts(data: str, columns: tuple[str, ...], seed: int) -> Texts:
    """A user's own data: a local file or folder or a hub name, with these columns.

    It is split here unless it brings a `test` split; rows whose first column is the same are in one split.
    Raises DataError if nothing is there, it cannot be read, a column is missing (naming those found and expected), a
    text is empty, or there are too few different examples.
    """
    rows: list[tuple[str, ...]] = []
    origins: list[str] = []
    for split, table in load_tables(data).items():
        if any(name not in table.column_names for name in columns):
            raise DataError(
                f"{data} has the columns {', '.join(table.column_names) or 'none'}; expected {' and '.join(columns)}"
            )
        for number, row in enumerate(table, start=1):
            empty = [name for name in columns if row[name] is None or row[name] == ""]
            if empty:
                raise DataError(f"{data}: row {number} of {split} has an empty {empty[0]}")
            rows.append(tuple(str(row[name]) for name in columns))
            origins.append(split)
    different = len({row[0] for row in rows})
    if different < FEWEST_EXAMPLES:
        raise DataError(f"{data} has {different} different examples; at least {FEWEST_EXAMPLES} are needed")
    drawn = split_by_origin([""] * len(rows), origins, seed, groups=[row[0] for row in rows])
    return Texts(data, columns, tuple(rows), drawn)
