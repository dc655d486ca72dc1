"""The targets that are up: a cell's two sides and no others, so that nothing else takes the cores."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from benchmarks.load.requests import RequestList
from benchmarks.peers.adapter import PeerUnavailable
from benchmarks.peers.catalogue import Arm
from benchmarks.peers.target import Target


class CannotRun(Exception):
    """A cell cannot be measured; the message is the reason that stands in the results."""


@dataclass
class Running:
    """Starts targets when they are asked for, and stops those that are not needed any more."""

    make: Callable[[Arm, RequestList], Target]
    _up: dict[str, Target] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    """Arms that could not be started, with the reason: they are not tried again."""

    def target(self, arm: Arm, probe: RequestList) -> Target:
        """The target of an arm, up and answering; `probe` is what it is asked first. Raises CannotRun."""
        if arm.id in self._failed:
            raise CannotRun(self._failed[arm.id])
        if arm.id not in self._up:
            target = self.make(arm, probe)
            try:
                target.start()
            except PeerUnavailable as error:
                self._failed[arm.id] = str(error)
                raise CannotRun(str(error)) from error
            self._up[arm.id] = target
        return self._up[arm.id]

    def keep(self, arms: Collection[Arm]) -> None:
        """Stops every target but those of these arms."""
        kept = {arm.id for arm in arms}
        for name in [name for name in self._up if name not in kept]:
            self._up.pop(name).stop()
