"""Runs of the encode graph: sources in, the states that their rows start from out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from server.batching.collate import PaddedRows
from server.batching.cost import Work
from server.batching.request import Rows
from server.errors import InferenceFailed, ServeError
from server.manifest import Manifest, OutputSpec
from server.tensors import Array

log = logging.getLogger(__name__)

Run = Callable[[Mapping[str, Array], Sequence[str]], dict[str, Array]]
"""Runs a graph: its inputs, and the names of the outputs wanted."""
Start = Mapping[str, Array]
"""The encode graph's outputs for one row, cropped to its own lengths."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of one source."""

    start: Start
    error: ServeError | None = None


class Encoder:
    """Runs sources together, padded; where that fails, one by one, so that only the guilty one fails."""

    def __init__(self, manifest: Manifest, run: Run) -> None:
        specs = {
            state.source: OutputSpec(name=state.source, datatype=state.datatype, axes=state.axes)
            for state in manifest.states
            if state.source is not None
        }
        self.outputs = tuple(specs)
        self._layout = PaddedRows(manifest.inputs, tuple(specs.values()))
        self._run = run

    def work(self, sources: Sequence[Rows]) -> Work:
        """The size of a run, padding included: graphs that leave it out are the quicker for it, which is learned."""
        longest = max(source.length for source in sources)
        return self._layout.work(len(sources), sum(source.tokens for source in sources), longest)

    def encode(self, sources: Sequence[Rows]) -> list[Encoded]:
        """The start of each row, or why it has none; in a worker thread."""
        try:
            return self._together(sources)
        except Exception as error:
            if len(sources) > 1:
                log.warning("sources could not be encoded together; now one by one", exc_info=error)
                return [self.encode([source])[0] for source in sources]
            log.error("a source could not be encoded", exc_info=error)
            known = error if isinstance(error, ServeError) else InferenceFailed("the model failed on this input")
            return [Encoded({}, known)]

    def _together(self, sources: Sequence[Rows]) -> list[Encoded]:
        outputs = self._run(self._layout.collate(sources), self.outputs)
        return [Encoded(start) for start in self._layout.split(outputs, sources)]
