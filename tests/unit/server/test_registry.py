import asyncio
import gc
import weakref
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from server.errors import ArtifactCorrupt, ModelNotFound, ModelNotReady, VersionNotFound
from server.registry import Registry
from server.settings import StoreSettings
from server.store.scan import ModelFolder, Stamp, StoreSnapshot, StoreUnavailable
from server.versions import VersionState


@dataclass
class FakeServable:
    """Stands where a Servable would; `close` waits for `finished`, as one with requests in flight does."""

    name: str
    version: int
    aliases: tuple[str, ...] = ()
    verified: bool = True
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False
    stopped: bool = False
    fails: bool = False

    def stop_runs(self) -> None:
        self.stopped = True

    async def close(self) -> None:
        await self.finished.wait()
        if self.fails:
            raise RuntimeError("closing broke")
        self.closed = True


class World:
    """A store, a loader and an observer that tests arrange by hand."""

    def __init__(self, **settings) -> None:
        self.models: dict[str, ModelFolder] = {}
        self.reachable = True
        self.corrupt: dict[tuple[str, int], Exception] = {}
        self.loads: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.made: dict[tuple[str, int], FakeServable] = {}
        self.busy: set[tuple[str, int]] = set()
        self.stuck: asyncio.Event | None = None
        """While it is there and not set, no load ends."""
        self.registry = Registry(self.scan, self.load, self.serve, StoreSettings(**settings), self)

    def put(self, name: str, *versions: int, stamp: str = "a", **aliases: int) -> None:
        self.models[name] = ModelFolder({n: Stamp(f"{stamp}{n}", has_manifest=True) for n in versions}, aliases)

    def scan(self) -> StoreSnapshot:
        if not self.reachable:
            raise StoreUnavailable("gone")
        return StoreSnapshot(dict(self.models))

    async def load(self, name: str, version: int):
        self.loads.append((name, version))
        if self.stuck is not None:
            await self.stuck.wait()
        if (name, version) in self.corrupt:
            raise self.corrupt[name, version]
        return SimpleNamespace(name=name, version=version), 0.5

    def serve(self, loaded) -> FakeServable:
        servable = FakeServable(loaded.name, loaded.version)
        if (loaded.name, loaded.version) not in self.busy:
            servable.finished.set()
        self.made[loaded.name, loaded.version] = servable
        return servable

    def version_loaded(self, model: str, version: int, seconds: float) -> None:
        self.told.append(f"loaded {model}/{version}")

    def version_refused(self, model: str, version: int, reason: str) -> None:
        self.told.append(f"refused {model}/{version} {reason}")

    def version_unloaded(self, model: str, version: int) -> None:
        self.told.append(f"unloaded {model}/{version}")

    def states(self) -> dict[str, str]:
        return {f"{entry.name}/{entry.version}": entry.state.value for entry in self.registry.index()}


async def test_the_latest_version_is_served_and_older_ones_are_not():
    world = World()
    world.put("m", 1, 2)
    await world.registry.start()
    assert world.registry.resolve("m").version == 2
    assert world.states() == {"m/1": "UNAVAILABLE", "m/2": "READY"}
    with pytest.raises(ModelNotReady, match="not loaded"):
        world.registry.resolve("m", version=1)


async def test_unknown_names_versions_and_aliases_are_told_apart():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    with pytest.raises(ModelNotFound):
        world.registry.resolve("n")
    with pytest.raises(VersionNotFound) as caught:
        world.registry.resolve("m", version=7)
    assert caught.value.metadata == {"versions": "1"}
    with pytest.raises(VersionNotFound):
        world.registry.resolve("m", alias="canary")


async def test_a_new_version_takes_over_in_one_step_and_the_old_one_finishes_its_requests():
    world = World()
    world.busy.add(("m", 1))
    world.put("m", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    refreshing = asyncio.ensure_future(world.registry.refresh())
    while world.states().get("m/1") != "UNLOADING":
        await asyncio.sleep(0)
    assert world.registry.resolve("m").version == 2
    await refreshing
    assert not world.made["m", 1].closed
    world.made["m", 1].finished.set()
    await settle()
    assert world.made["m", 1].closed
    assert world.told == ["loaded m/1", "loaded m/2", "unloaded m/1"]


async def test_a_corrupt_new_version_is_refused_with_its_reason_while_the_old_one_keeps_serving():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    world.corrupt["m", 2] = ArtifactCorrupt("model.onnx differs from its digest")
    world.put("m", 1, 2)
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 1
    entry = world.registry.index()[1]
    assert (entry.state, entry.reason) == (VersionState.UNAVAILABLE, "model.onnx differs from its digest")
    assert world.told[-1] == "refused m/2 ARTIFACT_CORRUPT"


async def test_a_version_that_failed_is_tried_again_only_when_its_files_change():
    world = World()
    world.corrupt["m", 1] = ArtifactCorrupt("truncated")
    world.put("m", 1)
    await world.registry.start()
    await world.registry.refresh()
    assert world.loads == [("m", 1)]
    del world.corrupt["m", 1]
    world.put("m", 1, stamp="b")
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 1


async def test_at_start_a_corrupt_latest_version_falls_back_to_the_one_before():
    world = World()
    world.corrupt["m", 3] = ArtifactCorrupt("truncated")
    world.corrupt["m", 2] = RuntimeError("a bug")
    world.put("m", 1, 2, 3)
    await world.registry.start()
    assert world.registry.resolve("m").version == 1
    assert "refused m/2 UNEXPECTED" in world.told


async def test_an_alias_is_served_beside_the_latest_and_leads_the_default():
    world = World()
    world.put("m", 1, 2, stable=1, canary=2)
    await world.registry.start()
    assert world.registry.resolve("m").version == 1
    assert world.registry.resolve("m", alias="canary").version == 2
    assert world.registry.resolve("m").aliases == ("stable",)


async def test_an_alias_moves_and_moves_back_in_one_step():
    world = World()
    world.put("m", 1, 2, stable=1)
    await world.registry.start()
    world.put("m", 1, 2, stable=2)
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 2
    world.put("m", 1, 2, stable=1)
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 1


async def test_an_alias_whose_new_target_fails_stays_where_it_was():
    world = World()
    world.put("m", 1, stable=1)
    await world.registry.start()
    world.corrupt["m", 2] = ArtifactCorrupt("truncated")
    world.put("m", 1, 2, stable=2)
    await world.registry.refresh()
    assert world.registry.resolve("m", alias="stable").version == 1


async def test_an_old_version_with_an_alias_survives_when_its_alias_cannot_move():
    world = World()
    world.put("m", 1, stable=1)
    await world.registry.start()
    world.corrupt["m", 3] = ArtifactCorrupt("truncated")
    world.put("m", 1, 2, 3, stable=3)
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 1
    assert world.registry.resolve("m", version=2).version == 2


async def test_a_store_that_disappears_keeps_what_is_loaded_and_recovers():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    world.reachable = False
    with pytest.raises(StoreUnavailable):
        await world.registry.refresh()
    assert world.registry.resolve("m").version == 1
    world.reachable = True
    world.put("m", 1, 2)
    await world.registry.refresh()
    assert world.registry.resolve("m").version == 2


async def test_a_model_that_leaves_the_store_is_unloaded_and_forgotten():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    world.models.clear()
    await world.registry.refresh()
    await settle()
    assert world.made["m", 1].closed
    with pytest.raises(ModelNotFound):
        world.registry.resolve("m")


async def test_what_hangs_together_in_cycles_goes_with_its_version_though_nobody_looks_for_garbage():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    servable = world.made.pop(("m", 1))
    servable.itself = servable
    gone = weakref.ref(servable)
    del servable
    gc.disable()
    try:
        world.models.clear()
        await world.registry.refresh()
        await settle()
        assert gone() is None
    finally:
        gc.enable()


async def test_what_was_unloaded_by_hand_is_not_reloaded_by_a_look_at_the_store():
    world = World()
    world.put("m", 1)
    world.put("n", 1)
    await world.registry.start()
    await world.registry.unload("m")
    await world.registry.refresh()
    assert world.states() == {"m/1": "UNAVAILABLE", "n/1": "READY"}
    await world.registry.load("m")
    assert world.registry.resolve("m").version == 1


async def test_explicit_control_loads_only_what_is_asked_for():
    world = World(control="explicit", models=("m",))
    world.put("m", 1)
    world.put("n", 1)
    await world.registry.start()
    assert world.states() == {"m/1": "READY", "n/1": "UNAVAILABLE"}
    await world.registry.load("n")
    assert world.registry.resolve("n").version == 1
    with pytest.raises(ModelNotFound):
        await world.registry.load("o")


async def test_loading_a_corrupt_model_by_hand_says_why():
    world = World(control="explicit")
    world.corrupt["m", 1] = ArtifactCorrupt("truncated")
    world.put("m", 1)
    await world.registry.start()
    with pytest.raises(ArtifactCorrupt, match="version 1: truncated"):
        await world.registry.load("m")


@pytest.mark.parametrize(
    ("policy", "own", "expected"),
    [("all", {}, [1, 2, 3]), ("latest:2", {}, [2, 3]), ("all", {"m": "specific:1,3"}, [1, 3])],
)
async def test_the_version_policy_chooses_and_a_models_own_wins(policy, own, expected):
    world = World(version_policy=policy, version_policies=own)
    world.put("m", 1, 2, 3)
    await world.registry.start()
    assert [servable.version for servable in world.registry.servables()] == expected


async def test_what_the_scan_found_unusable_stands_in_the_index():
    world = World()
    world.models["m"] = ModelFolder({1: Stamp("a", has_manifest=True)}, {}, None, {2: "is a link out of the store"})
    await world.registry.start()
    assert [(entry.version, entry.reason) for entry in world.registry.index()] == [
        (1, ""),
        (2, "is a link out of the store"),
    ]


async def test_listeners_hear_every_change_and_readiness_ends_with_the_drain():
    world = World()
    world.put("m", 1)
    heard: list[bool] = []
    world.registry.subscribe(lambda: heard.append(world.registry.ready()))
    await world.registry.start()
    assert heard[0] is False
    assert heard[-1] is True
    world.registry.drain()
    assert heard[-1] is False


async def test_closing_unloads_everything():
    world = World()
    world.put("m", 1)
    world.put("n", 1, 2)
    await world.registry.start()
    await world.registry.close()
    assert all(servable.closed for servable in world.made.values())


async def settle():
    """Lets callbacks that are ready run, a look at the store in its thread included."""
    for _ in range(20):
        await asyncio.sleep(0.001)


async def test_a_version_that_finishes_its_requests_holds_up_no_other_model():
    world = World()
    world.busy.add(("m", 1))
    world.put("m", 1)
    world.put("n", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    await asyncio.wait_for(world.registry.refresh(), 5)
    world.put("n", 1, 2)
    await asyncio.wait_for(world.registry.refresh(), 5)
    assert world.registry.resolve("n").version == 2
    assert world.states()["m/1"] == "UNLOADING"
    world.made["m", 1].finished.set()
    await settle()
    assert world.made["m", 1].closed
    assert world.states()["m/1"] == "UNAVAILABLE"


async def test_a_version_that_is_wanted_again_while_it_finishes_comes_back():
    world = World()
    world.busy.add(("m", 1))
    world.put("m", 1, 2, stable=1)
    await world.registry.start()
    first = world.made["m", 1]
    world.put("m", 1, 2, stable=2)
    await asyncio.wait_for(world.registry.refresh(), 5)
    world.put("m", 1, 2, stable=1)
    returning = asyncio.ensure_future(world.registry.refresh())
    await settle()
    assert world.registry.resolve("m").version == 2
    first.finished.set()
    await returning
    assert world.registry.resolve("m").version == 1
    assert world.made["m", 1] is not first
    assert world.told[-2:] == ["unloaded m/1", "loaded m/1"]


async def test_an_unload_whose_caller_goes_away_is_finished_all_the_same():
    world = World(control="explicit", models=("m",))
    world.busy.add(("m", 1))
    world.put("m", 1)
    await world.registry.start()
    unloading = asyncio.ensure_future(world.registry.unload("m"))
    await settle()
    unloading.cancel()
    await settle()
    world.made["m", 1].finished.set()
    await settle()
    assert world.made["m", 1].closed
    assert world.states() == {"m/1": "UNAVAILABLE"}
    assert world.told[-1] == "unloaded m/1"


async def test_a_load_whose_caller_goes_away_leaves_no_version_loading():
    world = World(control="explicit")
    world.put("m", 1)
    await world.registry.start()
    world.stuck = asyncio.Event()
    loading = asyncio.ensure_future(world.registry.load("m"))
    await settle()
    assert world.states() == {"m/1": "LOADING"}
    loading.cancel()
    await settle()
    assert world.states() == {"m/1": "UNAVAILABLE"}
    world.stuck = None
    await world.registry.load("m")
    assert world.registry.resolve("m").version == 1


async def test_closing_while_a_version_finishes_waits_for_it():
    world = World()
    world.busy.add(("m", 1))
    world.put("m", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    following = asyncio.ensure_future(world.registry.refresh())
    await settle()
    following.cancel()
    closing = asyncio.ensure_future(world.registry.close())
    await settle()
    assert not closing.done()
    world.made["m", 1].finished.set()
    await closing
    assert all(servable.closed for servable in world.made.values())


async def test_a_stop_of_runs_reaches_versions_that_finish_their_requests():
    world = World()
    world.busy.add(("m", 1))
    world.put("m", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    refreshing = asyncio.ensure_future(world.registry.refresh())
    await settle()
    world.registry.stop_runs()
    assert [world.made["m", version].stopped for version in (1, 2)] == [True, True]
    world.made["m", 1].finished.set()
    await refreshing


async def test_a_version_whose_closing_fails_does_not_stay_unloading(caplog):
    world = World()
    world.put("m", 1)
    await world.registry.start()
    world.made["m", 1].fails = True
    world.put("m", 1, 2)
    await world.registry.refresh()
    await settle()
    assert world.states() == {"m/1": "UNAVAILABLE", "m/2": "READY"}
    assert "broke" in caplog.text


async def test_one_models_fault_leaves_the_others_alone(caplog):
    world = World()
    world.put("n", 1)
    world.models["m"] = ModelFolder({1: Stamp("a", has_manifest=True)}, {}, "no policy at all")
    await world.registry.start()
    assert world.registry.ready()
    assert world.registry.resolve("n").version == 1
    assert "no policy at all" in caplog.text


async def test_a_load_by_hand_moves_no_other_model():
    world = World(control="explicit", models=("m", "n"))
    world.put("m", 1)
    world.put("n", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    world.put("n", 1, 2)
    world.put("o", 1)
    await world.registry.load("m")
    assert world.registry.resolve("m").version == 2
    assert world.registry.resolve("n").version == 1
    assert world.states()["o/1"] == "UNAVAILABLE"


async def test_what_comes_into_the_store_after_an_unload_by_hand_is_served():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    await world.registry.unload("m")
    world.put("n", 1)
    await world.registry.refresh()
    assert world.states() == {"m/1": "UNAVAILABLE", "n/1": "READY"}


async def test_a_load_by_hand_from_a_store_that_is_gone_may_be_tried_again():
    world = World(control="explicit")
    world.put("m", 1)
    await world.registry.start()
    world.reachable = False
    with pytest.raises(ModelNotReady, match="store"):
        await world.registry.load("m")


async def test_looks_at_the_store_are_followed_in_their_order():
    world = World()
    world.put("m", 1)
    await world.registry.start()
    world.put("m", 1, 2)
    world.stuck = asyncio.Event()
    older = asyncio.ensure_future(world.registry.refresh())
    await settle()
    newer = asyncio.ensure_future(world.registry.refresh())
    await settle()
    world.put("m", 1, 3)
    world.stuck.set()
    await asyncio.gather(older, newer)
    assert world.registry.resolve("m").version == 3


async def test_a_refusal_lists_a_bounded_number_of_versions():
    world = World()
    world.put("m", *range(1, 5000))
    await world.registry.start()
    with pytest.raises(VersionNotFound) as caught:
        world.registry.resolve("m", version=9999)
    assert len(caught.value.metadata["versions"]) < 500
    assert "4999" in caught.value.metadata["versions"]


async def test_a_drain_ends_the_following_of_the_store():
    world = World(poll_s=0.001)
    world.put("m", 1)
    await world.registry.start()
    following = asyncio.ensure_future(world.registry.follow())
    await asyncio.sleep(0)
    world.put("m", 1, 2)
    world.registry.drain()
    await asyncio.wait_for(following, 20)
    assert world.registry.resolve("m").version == 1
