"""(model, version) -> what serves it: follows the store, loads off the serving path, switches in one step.

A version goes UNAVAILABLE -> LOADING -> READY -> UNLOADING -> UNAVAILABLE. The version that a name or an alias leads
to changes only once the new one is READY; requests in flight finish on the old one, and nobody else waits for them.
A version that fails to load keeps its reason, is not tried again until its files change, and the version policy
chooses among the others.
"""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass

from server.errors import ArtifactCorrupt, ModelNotFound, ModelNotReady, ServeError, VersionNotFound
from server.loading.loaded import Loaded
from server.servable import Servable
from server.settings import StoreSettings
from server.store.policy import parse_policy
from server.store.scan import ModelFolder, StoreSnapshot, StoreUnavailable
from server.versions import IndexEntry, KnownModel, KnownVersion, RegistryObserver, VersionState

log = logging.getLogger(__name__)

DEFAULT_ALIAS = "stable"
"""A call that names neither version nor alias goes where this alias points, if the model has it."""

UNVERIFIED = "unverified: a folder without a manifest, so nothing was held against a digest"
"""The reason beside READY in the index."""

MAX_LISTED = 32
"""How many names a refusal lists: a status travels in HTTP/2 headers, which clients bound."""


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A version out of service that still answers what it has taken."""

    servable: Servable
    task: "asyncio.Task[None]"
    """Ends when its memory has been given back; belongs to the registry, whoever asked for the unload."""


class Registry:
    """All models of one process; every method runs on the event loop's thread."""

    def __init__(
        self,
        scan: Callable[[], StoreSnapshot],
        load: Callable[[str, int], Awaitable[tuple[Loaded, float]]],
        serve: Callable[[Loaded], Servable],
        settings: StoreSettings,
        observer: RegistryObserver,
    ) -> None:
        """Wires the registry.

        `load` reads, verifies and warms a version off the event loop and tells the seconds that it took; it raises
        ServeError, most often ArtifactCorrupt, with a reason for the operator. `serve` makes it take requests.
        """
        self._scan = scan
        self._load = load
        self._serve = serve
        self._settings = settings
        self._observer = observer
        self._models: dict[str, KnownModel] = {}
        self._leaving: dict[tuple[str, int], _Leaving] = {}
        self._chosen: set[str] | None = set(settings.models) if settings.models else None
        if settings.control == "explicit":
            self._chosen = set(settings.models)
        self._unloaded: set[str] = set()
        """Unloaded by hand: not to come back by themselves."""
        self._listeners: list[Callable[[], None]] = []
        self._lock = asyncio.Lock()
        self._store_reachable = True
        self.started = False
        self.draining = False

    # --- questions --------------------------------------------------------------------------------------------

    def resolve(self, name: str, version: int | None = None, alias: str | None = None) -> Servable:
        """What serves this version, this alias, or by default the alias `stable` or else the latest version.

        Raises ModelNotFound, VersionNotFound, or ModelNotReady with the reason.
        """
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(f"no model named {_shown(name)}")
        if version is None:
            version = self._target(name, model, alias)
        known = model.versions.get(version)
        if known is None:
            raise VersionNotFound(f"model {name!r} has no version {version}", {"versions": _listed(model.versions)})
        if known.state is not VersionState.READY or known.servable is None:
            raise ModelNotReady(f"model {name!r} version {version} is {known.state.lower()}: {known.reason}")
        return known.servable

    @staticmethod
    def _target(name: str, model: KnownModel, alias: str | None) -> int:
        if alias is not None:
            if alias not in model.aliases:
                raise VersionNotFound(
                    f"model {name!r} has no alias {_shown(alias)} on a ready version",
                    {"aliases": _listed(model.aliases)},
                )
            return model.aliases[alias]
        if DEFAULT_ALIAS in model.aliases:
            return model.aliases[DEFAULT_ALIAS]
        ready = model.ready()
        if not ready:
            reasons = "; ".join(f"version {n}: {v.reason}" for n, v in sorted(model.versions.items()))
            raise ModelNotReady(f"model {name!r} has no ready version ({reasons or 'no version in the store'})")
        return max(ready)

    def index(self) -> tuple[IndexEntry, ...]:
        """Every version of every model in the store, loaded or not, with its state and its reason."""
        entries = []
        for name, model in sorted(self._models.items()):
            for number, version in sorted(model.versions.items()):
                aliases = tuple(sorted(a for a, target in model.aliases.items() if target == number))
                verified = version.servable is not None and version.servable.verified
                entries.append(IndexEntry(name, number, version.state, version.reason, aliases, verified))
        return tuple(entries)

    def servables(self) -> tuple[Servable, ...]:
        """Everything that is READY."""
        return tuple(servable for model in self._models.values() for servable in model.ready().values())

    def ready(self) -> bool:
        """Whether new requests are welcome: the first look at the store is done and no drain has begun."""
        return self.started and not self.draining

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Calls `listener` after every change of state."""
        self._listeners.append(listener)

    def drain(self) -> None:
        """From now on nothing is ready, and calls are refused; what is in flight goes on."""
        self.draining = True
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    # --- following the store ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Loads what the settings ask for; a version that fails is refused, the others serve.

        Raises StoreUnavailable where the store cannot be read.
        """
        async with self._lock:
            await self._reconcile(await asyncio.to_thread(self._scan))
        self.started = True
        self._changed()

    async def follow(self) -> None:
        """Looks at the store every `poll_s` seconds until the drain; a store that disappears keeps what is loaded."""
        while True:
            await asyncio.sleep(self._settings.poll_s)
            if self.draining:
                return
            try:
                await self.refresh()
            except StoreUnavailable:
                continue
            except Exception:
                log.exception("a look at the store failed; trying again")

    async def refresh(self) -> None:
        """Looks at the store once and follows it; StoreUnavailable, logged once, where it cannot be read."""
        async with self._lock:  # around the look too: an older one must not be followed after a newer one
            await self._reconcile(await self._look())

    async def load(self, name: str) -> None:
        """Loads a model by hand, or brings it up to date; no other model is touched.

        Raises ModelNotFound where the store has none of this name, ArtifactCorrupt where no version of it loads,
        ModelNotReady where the store cannot be read now.
        """
        async with self._lock:
            try:
                snapshot = await self._look()
            except StoreUnavailable as error:
                raise ModelNotReady(f"model {_shown(name)} cannot be loaded: the store cannot be read now") from error
            if name not in snapshot.models:
                raise ModelNotFound(f"the store has no model named {_shown(name)}")
            self._unloaded.discard(name)
            if self._chosen is not None:
                self._chosen.add(name)
            for version in self._models.get(name, KnownModel()).versions.values():
                version.failed_stamp = None
            await self._reconcile(snapshot, only=name)
            model = self._models[name]
            if not model.ready():
                reasons = "; ".join(f"version {n}: {v.reason}" for n, v in sorted(model.versions.items()))
                raise ArtifactCorrupt(f"model {name!r} did not load: {reasons or 'it has no version'}")

    async def unload(self, name: str) -> None:
        """Unloads a model by hand, and returns once its requests are answered; it comes back only by `load`.

        Raises ModelNotFound where no such model is known.
        """
        async with self._lock:
            if name not in self._models:
                raise ModelNotFound(f"no model named {_shown(name)}")
            self._unloaded.add(name)
            if self._chosen is not None:
                self._chosen.discard(name)
            self._dismiss(name)
        await self._left(leaving for (model, _), leaving in self._leaving.items() if model == name)

    def stop_runs(self) -> None:
        """Ends all runs in flight, also of versions that are out of service; for when nobody waits for them."""
        for servable in (*self.servables(), *(leaving.servable for leaving in self._leaving.values())):
            servable.stop_runs()

    async def close(self) -> None:
        """Unloads everything, and returns once all requests are answered."""
        async with self._lock:
            for name in self._models:
                self._dismiss(name)
        await self._left(self._leaving.values())

    async def _look(self) -> StoreSnapshot:
        try:
            snapshot = await asyncio.to_thread(self._scan)
        except StoreUnavailable as error:
            if self._store_reachable:
                log.warning("the store cannot be read; serving what is loaded", extra={"problem": str(error)})
            self._store_reachable = False
            raise
        if not self._store_reachable:
            log.info("the store can be read again")
        self._store_reachable = True
        return snapshot

    async def _reconcile(self, snapshot: StoreSnapshot, only: str | None = None) -> None:
        """Brings the models, or `only` one of them, to what the snapshot asks for."""
        for name in set(self._models) - set(snapshot.models):
            if only is None:
                self._dismiss(name)
                del self._models[name]
        for name, folder in snapshot.models.items():
            self._note(name, folder)
        followed = [name for name in snapshot.models if only in (None, name)]
        # Every outcome is awaited: what still loads must not go on beside the next look.
        outcomes = await asyncio.gather(
            *(self._follow_model(name, snapshot.models[name]) for name in followed), return_exceptions=True
        )
        for name, outcome in zip(followed, outcomes, strict=True):
            if isinstance(outcome, Exception):
                log.error("a model could not be followed", exc_info=outcome, extra={"model": name})
            elif isinstance(outcome, BaseException):
                raise outcome
        self._changed()

    async def _follow_model(self, name: str, folder: ModelFolder) -> None:
        """Loads what the policy wants, falling back past versions that fail, then lets go of the rest."""
        model = self._models[name]
        while True:
            wanted = set() if not self._is_chosen(name) else self._wanted(name, model, folder)
            missing = [number for number in sorted(wanted) if model.versions[number].state is not VersionState.READY]
            if not missing:
                break
            await asyncio.gather(*(self._bring_up(name, number, folder) for number in missing))
        model.move_aliases(folder.aliases)
        wanted |= set(model.aliases.values()) & set(model.ready())
        self._dismiss(name, keep=wanted)
        for number in set(model.versions) - set(folder.versions) - set(folder.problems) - wanted:
            del model.versions[number]

    def _wanted(self, name: str, model: KnownModel, folder: ModelFolder) -> set[int]:
        sound = {
            number
            for number, stamp in folder.versions.items()
            if model.versions[number].failed_stamp is None or model.versions[number].failed_stamp != stamp
        }
        aliases = {alias: number for alias, number in folder.aliases.items() if number in sound}
        own = self._settings.version_policies.get(name) or folder.version_policy
        return set(parse_policy(own or self._settings.version_policy).choose(sound, aliases))

    def _is_chosen(self, name: str) -> bool:
        return name not in self._unloaded and (self._chosen is None or name in self._chosen)

    def _note(self, name: str, folder: ModelFolder) -> None:
        """What the scan found stands in the index; what is unusable with its reason, and in the log once."""
        model = self._models.setdefault(name, KnownModel())
        for number in folder.versions:
            model.versions.setdefault(number, KnownVersion())
        for place, problem in folder.problems.items():
            if isinstance(place, int):
                version = model.versions.setdefault(place, KnownVersion())
                if version.servable is None:
                    version.reason = problem
            if model.problems.get(place) != problem:
                log.warning("unusable in the store", extra={"model": name, "place": str(place), "problem": problem})
        model.problems = dict(folder.problems)

    async def _bring_up(self, name: str, number: int, folder: ModelFolder) -> None:
        version = self._models[name].versions[number]
        await self._left(leaving for key, leaving in self._leaving.items() if key == (name, number))
        version.state, version.reason = VersionState.LOADING, "loading"
        self._changed()
        try:
            loaded, seconds = await self._load(name, number)
            version.servable = self._serve(loaded)
        except ServeError as error:
            self._refuse(name, number, version, error.message, error.reason)
            version.failed_stamp = folder.versions[number]
        except Exception:
            log.exception("a version failed to load", extra={"model": name, "version": number})
            self._refuse(name, number, version, "failed to load; the log has the cause", "UNEXPECTED")
            version.failed_stamp = folder.versions[number]
        except asyncio.CancelledError:  # the caller has gone, or the server stops: what comes of it is dropped
            version.state, version.reason = VersionState.UNAVAILABLE, "not loaded"
            self._changed()
            raise
        else:
            version.state, version.failed_stamp = VersionState.READY, None
            version.reason = "" if version.servable.verified else UNVERIFIED
            log.info("version ready", extra={"model": name, "version": number, "seconds": round(seconds, 3)})
            self._observer.version_loaded(name, number, seconds)
        self._changed()

    def _refuse(self, name: str, number: int, version: KnownVersion, message: str, reason: str) -> None:
        version.state, version.reason = VersionState.UNAVAILABLE, message
        log.error("version refused", extra={"model": name, "version": number, "problem": message})
        self._observer.version_refused(name, number, reason)

    def _dismiss(self, name: str, keep: Container[int] = ()) -> None:
        """Takes every loaded version that is not in `keep` out of service; what it has taken is finished aside."""
        model = self._models[name]
        leaving = False
        for number, version in model.versions.items():
            servable = version.servable
            if servable is None or number in keep:
                continue
            leaving = True
            version.state, version.reason, version.servable = VersionState.UNLOADING, "unloading", None
            task = asyncio.ensure_future(self._let_go(name, version, servable))
            self._leaving[name, number] = _Leaving(servable, task)
        model.aliases = {alias: target for alias, target in model.aliases.items() if target in model.ready()}
        if leaving:
            self._changed()

    async def _let_go(self, name: str, version: KnownVersion, servable: Servable) -> None:
        number = servable.version
        try:
            await servable.close()
        except Exception:
            log.exception("a version could not be closed", extra={"model": name, "version": number})
        del self._leaving[name, number]
        version.state, version.reason = VersionState.UNAVAILABLE, "not loaded"
        self._observer.version_unloaded(name, number)
        log.info("version unloaded", extra={"model": name, "version": number})
        self._changed()
        # What it was made of hangs together in cycles, for which a process that serves looks seldom.
        asyncio.get_running_loop().call_soon(gc.collect)

    @staticmethod
    async def _left(leaving: Iterable[_Leaving]) -> None:
        """Returns once these are gone; they go on leaving if the caller is cancelled meanwhile."""
        tasks = [one.task for one in leaving]
        if tasks:
            await asyncio.wait(tasks)


def _listed(names: Iterable[str] | Iterable[int]) -> str:
    """The last of them in order: of versions the latest."""
    ordered = sorted(names)
    more = ["..."] if len(ordered) > MAX_LISTED else []
    return ", ".join([*more, *(str(name) for name in ordered[-MAX_LISTED:])])


def _shown(name: str) -> str:
    return repr(name if len(name) <= 64 else name[:61] + "...")
