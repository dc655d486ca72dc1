"""One version of one model that serves: its bundle, its codec, and who holds on to it."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from server.batching.request import Answer
from server.codecs import Codec, TextCodec
from server.codecs.codec import EncodedRow, Truncation
from server.errors import ParameterInvalid, SignatureMismatch, TaskNotSupported
from server.manifest import Manifest, Precision
from server.store.bundle import Bundle
from server.telemetry.statistics import ModelStatistics
from server.tensors import Tensor

INLINE_TEXT_CHARACTERS = 2048
"""A shorter text is tokenized on the event loop: the hop to a thread would cost more than the work."""


class Servable(ABC):
    """What every version that serves can do; made by the registry on the event loop."""

    max_rows: int
    """The most rows of one request in tensors."""

    def __init__(self, bundle: Bundle, codec: Codec | None, workers: Executor) -> None:
        self._bundle = bundle
        self._codec = codec
        self._workers = workers
        self.statistics = ModelStatistics()
        self.aliases: tuple[str, ...] = ()
        self._holders = 0
        self._unheld = asyncio.Event()

    @property
    def name(self) -> str:
        """The model's name."""
        return self._bundle.model

    @property
    def version(self) -> int:
        """The version's number."""
        return self._bundle.version

    @property
    def manifest(self) -> Manifest:
        """The contract of this version."""
        return self._bundle.manifest

    @property
    def verified(self) -> bool:
        """Whether the files were held against digests."""
        return self._bundle.verified

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names by index; empty where there are none."""
        return self._bundle.labels

    @property
    def codec(self) -> Codec | None:
        """What turns a caller's content into the inputs of one row, if the model has one."""
        return self._codec

    @property
    @abstractmethod
    def provider(self) -> str:
        """The execution provider of the default precision."""

    @property
    @abstractmethod
    def precisions(self) -> tuple[Precision, ...]:
        """What a request may ask for, the default first."""

    @property
    @abstractmethod
    def sessions(self) -> int:
        """Sessions of the runtime that are open."""

    @abstractmethod
    def told(self) -> Mapping[str, str]:
        """How it runs, as far as text can tell, by name; for ModelConfig."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps this version serving until a call that has found it is answered; to be entered before any await.

        Without it, a version that is replaced while the call's content is being decoded would refuse the call.
        """
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._unheld.set()

    async def encode(self, content: str | bytes, truncation: Truncation = Truncation.REFUSE) -> EncodedRow:
        """One row of inputs from a text or an encoded image.

        Raises TaskNotSupported without a codec, SignatureMismatch for content of the other kind, and what the codec
        raises.
        """
        codec = self.codec
        if codec is None:
            raise TaskNotSupported(f"model {self.name!r} has no codec; send tensors")
        if isinstance(codec, TextCodec):
            if not isinstance(content, str):
                raise SignatureMismatch(f"model {self.name!r} takes text, not images")
            if len(content) <= INLINE_TEXT_CHARACTERS:
                return codec.encode(content, truncation)
            return await asyncio.get_running_loop().run_in_executor(self._workers, codec.encode, content, truncation)
        if not isinstance(content, bytes):
            raise SignatureMismatch(f"model {self.name!r} takes images, not text")
        return await asyncio.get_running_loop().run_in_executor(self._workers, codec.encode, content)

    def check_deadline(self, deadline: float | None) -> None:  # noqa: B027 - nothing to check is an answer
        """Refuses a call that even a request of no size would come too late for, before its message is looked into.

        Raises DeadlineUnreachable, with the time after which to try again.
        """

    async def infer(
        self,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str],
        *,
        request_id: str,
        deadline: float | None = None,
        priority: int = 0,
        precision: str | None = None,
    ) -> Answer:
        """Admits, queues and answers one request; `deadline` in the clock's seconds, `precision` None for the default.

        Raises TaskNotSupported where the version does not answer at once.
        """
        raise TaskNotSupported(f"model {self.name!r} writes token by token: ask it to generate")

    def _precision(self, asked: str | None) -> Precision:
        """Raises ParameterInvalid for one that is not served."""
        if asked is None:
            return self.precisions[0]
        served = next((precision for precision in self.precisions if precision == asked), None)
        if served is None:
            raise ParameterInvalid(
                f"model {self.name!r} does not serve {asked!r} here; it serves {', '.join(self.precisions)}",
                {"parameter": "precision"},
            )
        return served

    async def _released(self) -> None:
        """Returns once no call holds this version."""
        while self._holders:
            self._unheld.clear()
            await self._unheld.wait()

    @abstractmethod
    def stop_runs(self) -> None:
        """Ends the runs in flight; for when nobody waits for their answers any more."""

    @abstractmethod
    async def close(self) -> None:
        """Finishes the calls that hold it and what was taken, then gives the sessions' memory back."""
