import pytest

from server.store.scan import ModelFolder, Stamp, StoreSnapshot, StoreUnavailable
from server.store.watch import Watch


def stamp(fingerprint, *, manifest=False):
    return Stamp(fingerprint, has_manifest=manifest)


def store(aliases=None, problems=None, **versions):
    """A store of one model; `v1=stamp(...)` is its version 1."""
    numbered = {int(name[1:]): value for name, value in versions.items()}
    return StoreSnapshot({"areas": ModelFolder(numbered, aliases or {}, None, problems or {})})


def looks(*snapshots, hold_changing=True):
    """What a watch shows of these snapshots, one after the other."""
    pending = list(snapshots)
    watch = Watch(lambda: pending.pop(0), hold_changing=hold_changing)
    return [watch.look() for _ in snapshots]


def test_first_look_shows_everything():
    assert looks(store(v1=stamp("a"))) == [store(v1=stamp("a"))]


def test_new_version_with_a_manifest_is_shown_at_once():
    new = store(v1=stamp("a"), v2=stamp("b", manifest=True))
    assert looks(store(v1=stamp("a")), new)[-1] == new


def test_new_version_without_a_manifest_is_shown_once_it_rests():
    old, half, whole = (store(v1=stamp("a")), store(v1=stamp("a"), v2=stamp("b")), store(v1=stamp("a"), v2=stamp("c")))
    assert looks(old, half, whole, whole) == [old, old, old, whole]


def test_new_version_is_shown_at_once_where_loads_are_by_hand():
    new = store(v1=stamp("a"), v2=stamp("b"))
    assert looks(store(v1=stamp("a")), new, hold_changing=False)[-1] == new


def test_version_being_overwritten_is_shown_as_it_was_until_it_rests():
    shown = looks(store(v1=stamp("a")), store(v1=stamp("b")), store(v1=stamp("c")), store(v1=stamp("c")))
    assert [look.models["areas"].versions[1].fingerprint for look in shown] == ["a", "a", "a", "c"]


def test_new_model_that_is_still_being_copied_is_not_there_yet():
    empty = StoreSnapshot({})
    assert looks(empty, store(v1=stamp("a")), store(v1=stamp("a"))) == [empty, empty, store(v1=stamp("a"))]


def test_new_model_without_versions_is_shown():
    assert looks(StoreSnapshot({}), store())[-1] == store()


def test_version_and_model_that_disappear_are_gone_at_once():
    both = store(v1=stamp("a"), v2=stamp("b"))
    assert looks(both, store(v2=stamp("b")), StoreSnapshot({}))[1:] == [store(v2=stamp("b")), StoreSnapshot({})]


def test_aliases_that_became_unreadable_stay_where_they_pointed():
    good = store(aliases={"stable": 1}, v1=stamp("a"))
    bad = store(problems={"aliases.json": "not JSON"}, v1=stamp("a"))
    mended = store(aliases={"stable": 1, "canary": 1}, v1=stamp("a"))
    shown = looks(good, bad, bad, mended)
    assert [look.models["areas"].aliases for look in shown] == [
        {"stable": 1},
        {"stable": 1},
        {"stable": 1},
        {"stable": 1, "canary": 1},
    ]
    assert shown[1].models["areas"].problems == {"aliases.json": "not JSON"}


def test_version_and_model_that_became_unreadable_stay_until_they_are_removed():
    good = store(v1=stamp("a"), v2=stamp("b", manifest=True))
    half = store(v1=stamp("a"), problems={2: "cannot be read"})
    none = StoreSnapshot({}, {"areas": "cannot be read"})
    shown = looks(good, half, none, StoreSnapshot({}))
    assert [dict(look.models["areas"].versions) for look in shown[:3]] == [dict(good.models["areas"].versions)] * 3
    assert shown[1].models["areas"].problems == {2: "cannot be read"}
    assert shown[2].problems == {"areas": "cannot be read"}
    assert shown[3] == StoreSnapshot({})


def test_version_that_was_never_readable_is_not_shown():
    bad = store(v1=stamp("a"), problems={2: "cannot be read"})
    assert list(looks(bad, bad)[-1].models["areas"].versions) == [1]


def test_removed_aliases_are_gone_at_once():
    shown = looks(store(aliases={"stable": 1}, v1=stamp("a")), store(v1=stamp("a")))
    assert shown[-1].models["areas"].aliases == {}


def test_look_that_fails_changes_nothing_for_the_next():
    snapshots = [store(v1=stamp("a")), None, store(v1=stamp("a"), v2=stamp("b")), store(v1=stamp("a"), v2=stamp("b"))]

    def scan():
        if (snapshot := snapshots.pop(0)) is None:
            raise StoreUnavailable("gone")
        return snapshot

    watch = Watch(scan)
    watch.look()
    with pytest.raises(StoreUnavailable):
        watch.look()
    assert list(watch.look().models["areas"].versions) == [1]
    assert list(watch.look().models["areas"].versions) == [1, 2]
