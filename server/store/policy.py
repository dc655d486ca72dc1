"""Which versions of a model are served: `latest:N`, `all`, or `specific:1,3`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """A choice among the versions of one model."""

    latest: int | None = None
    """This many of the largest versions; None: no such bound."""
    specific: frozenset[int] | None = None
    """Only these; None: any."""

    def choose(self, versions: Collection[int], aliases: Mapping[str, int]) -> frozenset[int]:
        """The versions to serve, of those that exist; a version that an alias names is always among them."""
        aliased = set(aliases.values()) & set(versions)
        if self.specific is not None:
            chosen = self.specific & set(versions)
        elif self.latest is not None:
            chosen = frozenset(sorted(versions)[-self.latest :])
        else:
            chosen = frozenset(versions)
        return chosen | aliased


def parse_policy(text: str) -> VersionPolicy:
    """Reads a policy as it is written in the settings.

    Raises ValueError if it is none, or chooses nothing.
    """
    kind, _, argument = text.partition(":")
    numbers = argument.split(",") if argument else []
    # isdecimal alone takes digits of any script; a version is a folder name in plain ASCII.
    if all(number.isascii() and number.isdecimal() and int(number) > 0 for number in numbers):
        if kind == "all" and text == "all":
            return VersionPolicy()
        if kind == "latest" and len(numbers) == 1:
            return VersionPolicy(latest=int(numbers[0]))
        if kind == "specific" and numbers:
            return VersionPolicy(specific=frozenset(int(number) for number in numbers))
    raise ValueError(f"{text!r} is no version policy; expected latest:N, all, or specific:1,3")
