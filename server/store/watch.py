"""Following a store that others write to: what of a new look at it may be believed."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from server.manifest import ALIASES_FILE
from server.store.scan import ModelFolder, Stamp, StoreSnapshot

_NOTHING = ModelFolder(versions={})


class Watch:
    """Looks at the store again and again and shows only what has come to rest."""

    def __init__(self, scan: Callable[[], StoreSnapshot], *, hold_changing: bool = True) -> None:
        """Wires the watch; without `hold_changing` it shows half-copied folders too, for loads by hand."""
        self._scan = scan
        self._hold_changing = hold_changing
        self._seen: StoreSnapshot | None = None
        self._shown: StoreSnapshot | None = None

    def look(self) -> StoreSnapshot:
        """Scans the store once; the first look shows everything.

        Raises StoreUnavailable if the store cannot be read; later looks go on from what was seen before.
        """
        seen = self._scan()
        if self._shown is None or self._seen is None:
            shown = seen
        else:
            shown = settle(self._shown, self._seen, seen, hold_changing=self._hold_changing)
        self._seen, self._shown = seen, shown
        return shown


def settle(
    shown: StoreSnapshot, previous: StoreSnapshot, current: StoreSnapshot, *, hold_changing: bool = True
) -> StoreSnapshot:
    """What to show of `current`, given what the look before saw (`previous`) and what was shown of it.

    A version with a manifest arrives by a rename, whole. One without may be in the middle of being copied: it is shown
    once its files are as they were at the look before, and until then as it was shown last, if at all. What became
    unreadable, without being gone, stays as it was shown: versions, models, and where aliases pointed.
    """
    models = {name: folder for name, folder in shown.models.items() if name in current.problems}
    for name, folder in current.models.items():
        old, before = shown.models.get(name, _NOTHING), previous.models.get(name, _NOTHING)
        versions = _settled(old.versions, before.versions, folder.versions) if hold_changing else folder.versions
        unreadable = {number: stamp for number, stamp in old.versions.items() if number in folder.problems}
        versions = dict(sorted({**unreadable, **versions}.items()))
        aliases = old.aliases if ALIASES_FILE in folder.problems else folder.aliases
        if versions or not folder.versions:  # a model whose only version is being copied in is not there yet
            models[name] = replace(folder, versions=versions, aliases=aliases)
    return replace(current, models=models)


def _settled(
    shown: Mapping[int, Stamp], previous: Mapping[int, Stamp], current: Mapping[int, Stamp]
) -> dict[int, Stamp]:
    versions = {}
    for version, stamp in current.items():
        if stamp.has_manifest or previous.get(version) == stamp:
            versions[version] = stamp
        elif version in shown:
            versions[version] = shown[version]
    return versions
