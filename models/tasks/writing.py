"""What tasks share whose networks write token by token: a signature that is the network's, and examples as id rows."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from typing_extensions import override

from models.data.generation_tokenizers import END_ID, PADDING_ID, START_ID
from models.data.texts import Texts, read_texts
from models.networks.stepwise import TOKENS, Step, Stepwise
from models.tasks.rows import TARGET
from models.tasks.task import Batch, Config, Signature, Task, stepwise_signature
from server.manifest import CodecSpec

TOKENIZER_FILE = "tokenizer.json"
NOTHING = -100
"""A target that is padding; the loss passes over it."""
NUM_SAMPLES = 12


class Writing(Task[Config]):
    """A network that writes, learned with the text before each token given (teacher forcing).

    source: what the default data is.
    default: reads it, given a seed.
    """

    columns: tuple[str, ...]
    """Those of a user's own data."""

    def __init__(self, source: str, default: Callable[[int], Texts]) -> None:
        self._source = source
        self._default = default

    @property
    @override
    def source(self) -> str:
        return self._source

    @abstractmethod
    @override
    def build(self, config: Config) -> Stepwise: ...

    @override
    def signature(self, config: Config, codec: CodecSpec | None) -> Signature:
        with torch.device("meta"):
            return stepwise_signature(self.build(config))

    @override
    def flatten(self, output: object) -> tuple[Tensor, ...]:
        if not isinstance(output, Step):
            raise TypeError(f"expected a step of a network that writes, not {type(output).__name__}")
        return (output.logits,) + output.attention  # noqa: RUF005 - mypy 2.4 cannot type the starred form

    def texts(self, data: str | None, seed: int) -> Texts:
        """The default data, or a user's own. Raises models.data.DataError."""
        return self._default(seed) if data is None else read_texts(data, self.columns, seed)


class IdRows(Dataset[Batch]):
    """Examples in memory."""

    def __init__(self, rows: Sequence[Batch]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._rows)

    def __getitem__(self, index: int) -> Batch:
        return self._rows[index]


def forced(ids: Sequence[int]) -> dict[str, Tensor]:
    """A text as a network learns to write it: what it is given, from the start token on, and what is to follow each."""
    return {TOKENS: torch.tensor([START_ID, *ids]), TARGET: torch.tensor([*ids, END_ID])}


def pad(rows: Sequence[Batch], name: str, value: int) -> Tensor:
    """One tensor of all rows as (B,T), filled up with a value behind what is shorter."""
    return pad_sequence([row[name] for row in rows], batch_first=True, padding_value=value)


def pad_forced(rows: Sequence[Batch]) -> dict[str, Tensor]:
    """What `forced` made of several texts as one batch."""
    return {TOKENS: pad(rows, TOKENS, PADDING_ID), TARGET: pad(rows, TARGET, NOTHING)}


def sample_files(texts: Sequence[str]) -> dict[str, bytes]:
    """A few texts, spread over all, as the files of a checkpoint's samples."""
    chosen = texts[:: max(1, len(texts) // NUM_SAMPLES)][:NUM_SAMPLES]
    return {f"{number}.txt": text.encode() for number, text in enumerate(chosen)}


def tokenizer_in(directory: Path) -> Path:
    """Where the tokenizer of a run lies."""
    return directory / TOKENIZER_FILE
