"""The store: trimmed, newest wins, the dead stay dead."""

from typing import Any

from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    FINE_TUNE_JOBS,
    JOBS,
    OPTIMIZE_JOBS,
    UID_LABEL,
)
from luthier_operator.store import Store, trim


def obj(version: int, uid: str = "u1", name: str = "a", owner: str = "") -> dict[str, Any]:
    return {
        "metadata": {
            "namespace": "team",
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {UID_LABEL: owner} if owner else {},
            "managedFields": ["much"],
            "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "much",
                "luthier.dev/retry": "now",
                "luthier.dev/runspec": "x" * 1000,
            },
        },
        "spec": {"suspend": False, "template": "much"},
        "status": {"active": 1},
    }


def test_the_newest_version_wins_whoever_brings_it() -> None:
    store = Store()
    assert store.put(JOBS, obj(5))
    assert not store.put(JOBS, obj(5))
    assert not store.put(JOBS, obj(4))
    assert store.put(JOBS, obj(6))


def test_a_deleted_object_is_not_brought_back_by_a_late_answer() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    store.remove(JOBS, obj(7))
    assert not store.put(JOBS, obj(6))
    assert store.get(JOBS, ("team", "a")) is None
    assert store.put(JOBS, obj(8, uid="u2"))


def test_the_end_of_a_namesake_removes_nothing() -> None:
    store = Store()
    store.put(JOBS, obj(8, uid="u2"))
    store.remove(JOBS, obj(7, uid="u1"))
    assert store.get(JOBS, ("team", "a")) is not None


def test_children_by_owner_and_objects_by_uid() -> None:
    store = Store()
    store.put(FINE_TUNE_JOBS, obj(1, uid="owner", name="tone"))
    store.put(JOBS, obj(2, owner="owner"))
    store.put(JOBS, obj(3, uid="u9", name="b", owner="other"))
    assert [it["metadata"]["name"] for it in store.children(JOBS, "owner")] == ["a"]
    found = store.find("owner")
    assert found is not None
    assert found[0] == FINE_TUNE_JOBS
    store.remove(JOBS, obj(4))
    assert store.children(JOBS, "owner") == []


def test_who_takes_the_result_of_a_fine_tune_job() -> None:
    def bundle(version: int, *names: str) -> dict[str, Any]:
        adapters: list[dict[str, Any]] = [{"name": "by-uri", "uri": "s3://a/b"}]
        adapters += [{"name": name, "fineTuneJobRef": {"name": name}} for name in names]
        return obj(version, uid="ab", name="bundle") | {"spec": {"adapters": adapters}}

    store = Store()
    source = {"source": {"fineTuneJobRef": {"name": "tone"}}}
    optimize = obj(1, uid="opj", name="small") | {"spec": source}
    by_uri = obj(2, uid="opj2", name="other") | {"spec": {"source": {"modelUri": "s3://a/b"}}}
    store.put(OPTIMIZE_JOBS, optimize)
    store.put(OPTIMIZE_JOBS, by_uri)
    store.put(ADAPTER_BUNDLES, bundle(3, "tone", "mood"))
    small, voices = (OPTIMIZE_JOBS, ("team", "small")), (ADAPTER_BUNDLES, ("team", "bundle"))
    assert set(store.followers(("team", "tone"))) == {small, voices}
    assert store.followers(("team", "mood")) == [voices]
    assert store.followers(("elsewhere", "tone")) == []
    store.put(ADAPTER_BUNDLES, bundle(4, "mood"))
    assert store.followers(("team", "tone")) == [small]
    store.remove(OPTIMIZE_JOBS, optimize)
    store.remove(ADAPTER_BUNDLES, bundle(5, "mood"))
    assert store.followers(("team", "tone")) == store.followers(("team", "mood")) == []


def test_trimmed_to_what_is_read() -> None:
    small = trim(JOBS, obj(1))
    assert small["spec"] == {"suspend": False}
    assert small["metadata"]["annotations"] == {"luthier.dev/retry": "now"}
    assert "managedFields" not in small["metadata"]


def test_what_a_list_tells_that_the_watch_did_not() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    store.put(JOBS, obj(6, uid="u2", name="ghost"))
    store.put(JOBS, obj(99, uid="u3", name="newer-than-the-list"))
    store.put(JOBS, obj(7, uid="u4", name="gone"))
    store.remove(JOBS, obj(8, uid="u4", name="gone"))
    listed = [obj(9), obj(3, uid="u5", name="unseen"), obj(7, uid="u4", name="gone")]
    late = [it["metadata"]["name"] for it in store.behind(JOBS, listed)]
    assert late == ["a", "unseen"]
    ghosts = [it["metadata"]["name"] for it in store.ghosts(JOBS, listed, version=10)]
    assert ghosts == ["ghost"]
