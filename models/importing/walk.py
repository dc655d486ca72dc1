"""The same tokens, fed one after another, through the export's three graphs and through the two of the bundle."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np

from models.export.failure import CandidateUnusable
from models.export.rows import Row
from models.importing.encode_graph import SOURCE_IDS, SOURCE_MASK
from models.importing.folder import Export
from models.importing.states import HIDDEN_OUTPUT, HIDDEN_STATE, MASK_STATE
from server.errors import ArtifactCorrupt, InferenceFailed
from server.manifest import LengthAxis, Manifest, RowAxis, StateSpec
from server.runtime.session import Session
from server.tensors import NUMPY_DTYPES, Array

_PAST, _PRESENT = "past_key_values.", "present."


class Exported:
    """The three graphs of the export, run as the library that made them does."""

    def __init__(self, encoder: Session, decoder: Session, with_past: Session) -> None:
        self._encoder, self._decoder, self._with_past = encoder, decoder, with_past

    def walk(self, source: Row, tokens: Array) -> Array:
        """Logits [row, token, vocabulary] after each of the tokens [row, token], for a padded batch of sources."""
        feed: dict[str, Array] = {
            MASK_STATE: source[SOURCE_MASK],
            HIDDEN_STATE: self._encoder.run(source, [HIDDEN_OUTPUT])[HIDDEN_OUTPUT],
        }
        logits: list[Array] = []
        for session, position in zip(self._sessions(tokens.shape[1]), range(tokens.shape[1]), strict=True):
            feed[SOURCE_IDS] = tokens[:, position : position + 1]
            answer = session.run({tensor.name: feed[tensor.name] for tensor in session.inputs})
            logits.append(answer.pop("logits"))
            feed |= {_PAST + name.removeprefix(_PRESENT): array for name, array in answer.items()}
        return np.concatenate(logits, axis=1)

    def _sessions(self, steps: int) -> Sequence[Session]:
        """The decoder without a past makes the first, and the keys and values of the source with it."""
        return [self._decoder, *[self._with_past] * (steps - 1)]


class Imported:
    """The two graphs of a bundle, run by what the manifest says of its states and nothing else."""

    def __init__(self, manifest: Manifest, encode: Session, step: Session) -> None:
        assert manifest.generation is not None  # noqa: S101 - an import always has it
        self._generation, self._states = manifest.generation, manifest.states
        self._encode, self._step = encode, step

    def start(self, source: Row) -> dict[str, Array]:
        """The states before the first token, for one source or a padded batch of some."""
        made = self._encode.run(source)
        return {
            state.name: made[state.source] if state.source is not None else _nothing(state, len(source[SOURCE_IDS]))
            for state in self._states
        }

    def together(self, starts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        """The states of rows that were encoded alone, zeros up to the longest."""
        return {state.name: _stacked([start[state.name] for start in starts], state) for state in self._states}

    def walk(self, states: Mapping[str, Array], tokens: Array) -> Array:
        """Logits [row, token, vocabulary] after each of the tokens [row, token], which follow on these states."""
        states = dict(states)
        logits: list[Array] = []
        for position in range(tokens.shape[1]):
            answer = self._step.run({self._generation.tokens: tokens[:, position : position + 1], **states})
            logits.append(answer[self._generation.logits][:, None])
            states |= {state.name: answer[state.output] for state in self._states if state.output is not None}
        return np.concatenate(logits, axis=1)


@contextmanager
def exported(export: Export) -> Iterator[Exported]:
    """The export's graphs, open. Raises CandidateUnusable if one does not open, or fails at a run."""
    with _opened(export.encoder) as encoder, _opened(export.decoder) as decoder, _opened(export.with_past) as with_past:
        yield Exported(encoder, decoder, with_past)


@contextmanager
def imported(bundle: Path, manifest: Manifest) -> Iterator[Imported]:
    """The bundle's graphs, open. Raises CandidateUnusable if one does not open, or fails at a run."""
    with _opened(bundle / _file(manifest, "encode")) as encode, _opened(bundle / _file(manifest, "step")) as step:
        yield Imported(manifest, encode, step)


def _file(manifest: Manifest, role: Literal["encode", "step"]) -> str:
    graph = next((graph for graph in manifest.graphs if graph.role == role), None)
    if graph is None:
        raise CandidateUnusable(f"the candidate has no {role} graph: it is no import")
    return graph.file


@contextmanager
def _opened(path: Path) -> Iterator[Session]:
    try:
        session = Session.open(path)
    except ArtifactCorrupt as error:
        raise CandidateUnusable(f"{path}: {error.message}") from error
    try:
        yield session
    except InferenceFailed as error:
        raise CandidateUnusable(f"{path.name} or a graph beside it cannot be run: {error.message}") from error
    finally:
        session.close()


def _nothing(state: StateSpec, rows: int) -> Array:
    sizes = [
        rows if isinstance(axis, RowAxis) else 0 if isinstance(axis, LengthAxis) else getattr(axis, "size", 0)
        for axis in state.axes
    ]
    return np.zeros(sizes, NUMPY_DTYPES[state.datatype])


def _stacked(arrays: Sequence[Array], state: StateSpec) -> Array:
    sizes = [max(array.shape[at] for array in arrays) for at in range(len(state.axes))]
    stacked = np.zeros((len(arrays), *sizes[1:]), NUMPY_DTYPES[state.datatype])
    for row, array in enumerate(arrays):
        box: tuple[int | slice, ...] = (row, *(slice(size) for size in array.shape[1:]))
        stacked[box] = array[0]
    return stacked
