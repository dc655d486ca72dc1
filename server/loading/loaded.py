"""A version read, verified and measured, not yet serving."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from server.batching.variant import Variant
from server.codecs import Codec
from server.loading.generation.loaded import LoadedGeneration
from server.manifest import Precision
from server.runtime.precision import PrecisionError
from server.runtime.session import Session
from server.store.bundle import Bundle


@dataclass(frozen=True, slots=True, eq=False)
class LoadedVersion:
    """What a servable is made of."""

    bundle: Bundle
    codec: Codec | None
    variants: tuple[Variant, ...]
    """Those that are worth running by what was measured; the first runs rows, with attention maps where there are."""
    sessions: tuple[Session, ...]
    """All that are open, to be closed with the version."""
    precision: Precision
    """What answers a request that asks for none."""
    errors: Mapping[str, PrecisionError] = field(default_factory=dict)
    """By precision other than fp32: how far its answers are from the golden ones."""
    together: bool = True
    """Whether requests may share a run: batching is on, and rows answered alike alone and in company."""
    reason_alone: str = ""
    """Why they may not."""
    calibrated: bool = False
    """Whether costs were measured; rough figures stand in for them otherwise."""

    @property
    def provider(self) -> str:
        """The execution provider of the default precision."""
        return next(variant.provider for variant in self.variants if variant.precision == self.precision)

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What a request may ask for, the default first."""
        return tuple(dict.fromkeys([self.precision, *(variant.precision for variant in self.variants)]))

    def close(self) -> None:
        """Gives the sessions' memory back; runs in flight finish first."""
        for session in self.sessions:
            session.close()


Loaded = LoadedVersion | LoadedGeneration
"""What loading gives: a version that answers at once, or one that writes token by token."""
