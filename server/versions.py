"""What the registry knows of models and versions, and what it tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from server.servable import Servable


class VersionState(StrEnum):
    """Where a version stands."""

    UNAVAILABLE = "UNAVAILABLE"
    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One line of the repository index."""

    name: str
    version: int
    state: VersionState
    reason: str
    aliases: tuple[str, ...]
    verified: bool


class RegistryObserver(Protocol):
    """Told of every load, on the event loop's thread."""

    def version_loaded(self, model: str, version: int, seconds: float) -> None:
        """A version became READY."""
        ...

    def version_refused(self, model: str, version: int, reason: str) -> None:
        """A version could not be loaded; `reason` is a ServeError's."""
        ...

    def version_unloaded(self, model: str, version: int) -> None:
        """A version stopped serving."""
        ...


@dataclass(slots=True)
class KnownVersion:
    """What is known of one version folder."""

    state: VersionState = VersionState.UNAVAILABLE
    reason: str = "not loaded"
    servable: Servable | None = None
    failed_stamp: object | None = None
    """The folder's stamp when loading it failed."""


@dataclass(slots=True)
class KnownModel:
    """What is known of one model of the store."""

    versions: dict[int, KnownVersion] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    """Where each alias leads now: always to a READY version, even while its new target is loading."""
    problems: dict[str | int, str] = field(default_factory=dict)
    """What the last look at the store found unusable."""

    def ready(self) -> dict[int, Servable]:
        """What serves, by version."""
        return {
            number: version.servable
            for number, version in self.versions.items()
            if version.state is VersionState.READY and version.servable is not None
        }

    def move_aliases(self, wanted: Mapping[str, int]) -> None:
        """Moves each alias whose target is ready, all in one step; one whose target is not stays where it was."""
        ready = self.ready()
        moved = {alias: number for alias, number in wanted.items() if number in ready}
        stayed = {
            alias: number
            for alias, number in self.aliases.items()
            if alias in wanted and alias not in moved and number in ready
        }
        self.aliases = {**stayed, **moved}
        for number, servable in ready.items():
            servable.aliases = tuple(sorted(alias for alias, target in self.aliases.items() if target == number))
