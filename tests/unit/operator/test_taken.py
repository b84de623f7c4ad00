"""What others of a namespace have taken."""

from typing import Any

from unit.operator.builders import fine_tune_job, owned

from luthier_operator.resources import (
    ADAPTER_BUNDLES,
    FINE_TUNE_JOBS,
    OPTIMIZE_JOBS,
    Obj,
    Resource,
)
from luthier_operator.run.taken import taken_in
from luthier_operator.store import Store

ROOT = "s3://artifacts/models/team/tone"


def store_of(*objects: tuple[Resource, Obj]) -> Store:
    store = Store()
    for resource, obj in objects:
        obj["metadata"].setdefault("resourceVersion", "1")
        store.put(resource, obj)
    return store


def test_what_others_have_taken_or_name() -> None:
    optimized: dict[str, Any] = {"source": {"fineTuneJobRef": {"name": "tone"}}}
    by_uri = {"source": {"modelUri": "s3://models/m", "adapterUri": f"{ROOT}/r2-00000002/adapter"}}
    bundled = {
        "adapters": [
            {"name": "tone", "fineTuneJobRef": {"name": "tone"}},
            {"name": "old", "uri": f"{ROOT}/r3-00000003"},
        ]
    }
    included = [{"name": "tone", "uri": f"{ROOT}/r4-00000004", "state": "Included"}]
    follower = fine_tune_job("more")
    follower["status"]["source"] = {"uri": f"{ROOT}/r5-00000005"}
    elsewhere = owned("OptimizeJob", "far", optimized, status={"source": {"uri": "s3://x/far"}})
    elsewhere["metadata"]["namespace"] = "other"
    store = store_of(
        (
            OPTIMIZE_JOBS,
            owned(
                "OptimizeJob",
                "a",
                optimized,
                status={"source": {"uri": f"{ROOT}/r1-00000001", "revision": "r1-00000001"}},
            ),
        ),
        (OPTIMIZE_JOBS, owned("OptimizeJob", "b", by_uri)),
        (ADAPTER_BUNDLES, owned("AdapterBundle", "c", bundled, status={"adapters": included})),
        (FINE_TUNE_JOBS, follower),
        (OPTIMIZE_JOBS, elsewhere),
    )
    assert sorted(taken_in(store, "team")) == [
        "s3://artifacts/models/team/tone/r1-00000001",
        "s3://artifacts/models/team/tone/r2-00000002/adapter",
        "s3://artifacts/models/team/tone/r3-00000003",
        "s3://artifacts/models/team/tone/r4-00000004",
        "s3://artifacts/models/team/tone/r5-00000005",
        "s3://models/m",
    ]
