"""The store: trimmed, newest wins, the dead stay dead."""

from dataclasses import replace
from typing import Any

from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    FINE_TUNE_JOBS,
    JOB_SETS,
    JOB_UID_LABEL,
    JOBS,
    OPTIMIZE_JOBS,
    PODS,
    UID_LABEL,
    WORKLOADS,
)
from luthier_operator.store import MESSAGE_LENGTH, MOST_CONDITIONS, Store, trim


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
    assert store.put(JOBS, {**obj(6), "spec": {"suspend": True}})


def test_a_version_in_which_nothing_that_is_read_has_changed_is_no_news() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    counted = obj(6)
    counted["status"] = {"active": 0, "ready": 1, "uncountedTerminatedPods": {}}
    assert not store.put(JOBS, counted)
    kept = store.get(JOBS, ("team", "a"))
    assert kept is not None
    assert kept["metadata"]["resourceVersion"] == "6", "a write names the newest"
    assert not store.put(JOBS, {**obj(5), "spec": {"suspend": True}}), "it is an older one"
    leaving = obj(7)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert store.put(JOBS, leaving)


def test_a_deleted_object_is_not_brought_back_by_a_late_answer() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    store.remove(JOBS, obj(7))
    store.advance(JOBS, None, 7)
    assert not store.put(JOBS, obj(6))
    assert store.get(JOBS, ("team", "a")) is None
    assert store.put(JOBS, obj(8, uid="u2"))


def test_an_answer_that_comes_before_its_watch_event_is_kept() -> None:
    store = Store()
    store.advance(JOBS, "team", 7)
    assert store.put(JOBS, obj(8))
    assert store.remove_unlisted(JOBS, "team", set(), 7) == []
    assert store.newest(JOBS, "team") == 8
    assert store.newest(JOBS, "other") == 0


def test_an_object_that_leaves_the_watch_and_comes_back_is_taken_again() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    store.remove(JOBS, obj(6))
    store.advance(JOBS, None, 6)
    assert store.put(JOBS, obj(9))


def test_a_namesakes_late_answer_replaces_nothing() -> None:
    store = Store()
    store.put(JOBS, obj(8, uid="u2"))
    assert not store.put(JOBS, obj(6, uid="u1"))
    found = store.get(JOBS, ("team", "a"))
    assert found is not None
    assert found["metadata"]["uid"] == "u2"


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
    assert [it["metadata"]["name"] for it in store.children(JOBS, "team", "owner")] == ["a"]
    found = store.find("owner")
    assert found is not None
    assert found[0] == FINE_TUNE_JOBS
    store.remove(JOBS, obj(4))
    assert store.children(JOBS, "team", "owner") == []


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
    further = {"model": {"uri": "s3://a/b", "adapter": {"fineTuneJobRef": {"name": "mood"}}}}
    store.put(FINE_TUNE_JOBS, obj(3, uid="ftj", name="further") | {"spec": further})
    assert (FINE_TUNE_JOBS, ("team", "further")) in store.followers(("team", "mood"))
    store.remove(FINE_TUNE_JOBS, obj(4, uid="ftj", name="further") | {"spec": further})
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


def test_what_a_list_lacks_is_forgotten() -> None:
    store = Store()
    store.put(JOBS, obj(5))
    store.put(JOBS, obj(6, uid="u2", name="ghost"))
    store.put(JOBS, obj(99, uid="u3", name="newer-than-the-list"))
    elsewhere = obj(6, uid="u4", name="elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    store.put(JOBS, elsewhere)
    gone = store.remove_unlisted(JOBS, "team", {"u1"}, version=10)
    assert [it["metadata"]["name"] for it in gone] == ["ghost"]
    assert {key[1] for key, _ in store.all(JOBS)} == {"a", "newer-than-the-list", "elsewhere"}


def test_what_is_listed_is_there_whatever_was_told_before() -> None:
    store = Store()
    store.advance(JOBS, "team", 10)
    assert not store.put(JOBS, obj(5))
    assert store.put(JOBS, obj(5), listed=True)


def test_a_namespace_that_is_not_served_any_more_takes_no_late_answers() -> None:
    store = Store()
    store.put(JOBS, obj(5, owner="owner"))
    assert [it["metadata"]["name"] for it in store.close(JOBS, "team")] == ["a"]
    assert store.children(JOBS, "team", "owner") == []
    assert not store.put(JOBS, obj(1_000))
    store.open(JOBS, "team")
    assert store.put(JOBS, obj(5))


def workload(version: int, job_uid: str = "job") -> dict[str, Any]:
    long = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "m" * 5000}
    return {
        "metadata": {
            "namespace": "team",
            "name": "job-tone-1a2b3",
            "uid": "w1",
            "resourceVersion": str(version),
            "labels": {JOB_UID_LABEL: job_uid, "other": "x"},
            "ownerReferences": [{"uid": job_uid, "controller": True, "kind": "Job"}],
        },
        "spec": {"active": True, "priority": 3, "queueName": "gpus", "podSets": ["much"]},
        "status": {"conditions": [long | {"lastTransitionTime": "t"}] * 40, "admission": "much"},
    }


def test_a_workload_is_found_by_its_job_and_belongs_to_its_owner() -> None:
    store = Store()
    store.put(FINE_TUNE_JOBS, obj(1, uid="owner", name="tone"))
    store.put(JOBS, obj(2, uid="job", owner="owner"))
    store.put(WORKLOADS, workload(3))
    (kept,) = store.children(WORKLOADS, "team", "job")
    found = store.owner(kept)
    assert found is not None
    assert found[1]["metadata"]["name"] == "tone"
    assert kept["spec"] == {"active": True, "priority": 3, "queueName": "gpus"}
    assert kept["metadata"]["labels"] == {JOB_UID_LABEL: "job"}
    assert len(kept["status"]["conditions"]) == MOST_CONDITIONS
    assert kept["status"]["conditions"][0] == {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": "m" * MESSAGE_LENGTH,
    }
    assert trim(WORKLOADS, kept) == kept
    store.remove(WORKLOADS, workload(4))
    assert store.children(WORKLOADS, "team", "job") == []
    assert store.owner(workload(5, "unknown")) is None


def test_a_kind_is_the_same_in_every_version() -> None:
    store = Store()
    store.put(replace(WORKLOADS, version="v1beta2"), workload(3))
    assert store.get(WORKLOADS, ("team", "job-tone-1a2b3")) is not None


def test_pods_are_found_by_the_name_that_they_run_for() -> None:
    store = Store()
    labels = {"luthier.dev/kind": "FineTuneJob", "luthier.dev/name": "tone"}
    for uid in ("a", "b"):
        metadata = {"namespace": "team", "name": uid, "uid": uid, "resourceVersion": "1"}
        store.put(PODS, {"metadata": metadata | {"labels": labels | {"luthier.dev/uid": uid}}})
    found = store.pods_for("FineTuneJob", "team", "tone")
    assert {pod["metadata"]["uid"] for pod in found} == {"a", "b"}
    assert store.pods_for("FineTuneJob", "other", "tone") == []
    assert store.pods_for("OptimizeJob", "team", "tone") == []
    for pod in found:
        store.remove(PODS, pod)
    assert store.pods_for("FineTuneJob", "team", "tone") == []


def job_set(version: int, **spec: Any) -> dict[str, Any]:
    found = obj(version, uid="job-set", name="tone-1", owner="owner")
    job = {"completions": 2, "template": "much"}
    replicated = [{"name": "node", "template": {"spec": job}}, {"name": "more"}]
    policy = {"maxRestarts": 3, "rules": ["much"]}
    found["spec"] = {"suspend": False, "replicatedJobs": replicated, "failurePolicy": policy} | spec
    found["status"] = {
        "restarts": 1,
        "conditions": [{"type": "Suspended", "status": "False"}, {"type": "RestartingJobSet"}],
        "replicatedJobsStatus": "much",
    }
    return found


def test_of_a_jobset_what_is_read_is_kept() -> None:
    kept = trim(JOB_SETS, job_set(3, ttlSecondsAfterFinished=7))
    assert kept["spec"] == {
        "suspend": False,
        "ttlSecondsAfterFinished": 7,
        "failurePolicy": {"maxRestarts": 3},
        "replicatedJobs": [{"template": {"spec": {"completions": 2}}}],
    }
    assert kept["status"] == {
        "restarts": 1,
        "conditions": [{"type": "Suspended", "status": "False"}],
    }
    assert trim(JOB_SETS, kept) == kept


def test_when_a_job_began_is_kept() -> None:
    began = obj(3) | {"status": {"startTime": "2026-01-02T03:00:00Z", "active": 1}}
    assert trim(JOBS, began)["status"] == {"startTime": "2026-01-02T03:00:00Z"}


def test_a_jobset_and_its_workload_belong_to_their_owner() -> None:
    store = Store()
    store.put(FINE_TUNE_JOBS, obj(1, uid="owner", name="tone"))
    store.put(JOB_SETS, job_set(2))
    store.put(WORKLOADS, workload(3, "job-set"))
    [kept] = store.children(JOB_SETS, "team", "owner")
    [admission] = store.children(WORKLOADS, "team", "job-set")
    for child in (kept, admission):
        found = store.owner(child)
        assert found is not None
        assert found[1]["metadata"]["name"] == "tone"


def test_a_run_of_several_nodes_takes_one_place() -> None:
    store = Store()
    store.put(JOB_SETS, job_set(2))
    inner = obj(3, uid="inner", name="tone-1-node-0", owner="owner")
    store.put(JOBS, inner)
    assert store.live.owners("team") == {"owner"}
    store.remove(JOBS, inner)
    assert store.live.owners("team") == {"owner"}, "between two Jobs, too"
    ended = job_set(4)
    ended["status"] = {"conditions": [{"type": "Completed", "status": "True"}]}
    store.put(JOB_SETS, ended)
    assert store.live.owners("team") == set()
    store.put(JOB_SETS, job_set(5, suspend=True))
    assert store.live.owners("team") == set()
