"""Whatever labels, annotations and owners an object carries: the store and what reads it hold."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.operator.builders import NOW, job_of, observed, pod_of, resource
from unit.operator.test_reports import scrape

from luthier_api.revision import is_revision, revision_number
from luthier_operator.finetunejob.decide import decide
from luthier_operator.finetunejob.status import compute
from luthier_operator.reports import Reports
from luthier_operator.resources import FINE_TUNE_JOBS, JOBS, PODS, Obj
from luthier_operator.run.model import Revision
from luthier_operator.store import ANNOTATION_LENGTH, Store, trim

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
ODD = ["", "0", "²", "9" * 60, "r1-x", "r" + "9" * 60, "-"]
WORDS = st.text(max_size=70) | st.sampled_from(ODD)
KEYS = ("uid", "revision", "attempt", "kind", "retry", "pool", "x")
NAMES = st.sampled_from([*(f"luthier.dev/{key}" for key in KEYS), "kueue.x-k8s.io/queue-name"])
MAPS = st.none() | st.dictionaries(NAMES | st.text(max_size=20), WORDS, max_size=8)
OWNERS = st.none() | st.lists(
    st.fixed_dictionaries({"uid": WORDS}, optional={"controller": st.none() | st.booleans()}),
    max_size=4,
)


def with_metadata(obj: Obj, labels: Any, annotations: Any, owners: Any) -> Obj:
    own = obj["metadata"]
    more = {"labels": labels, "annotations": annotations, "ownerReferences": owners}
    return obj | {"metadata": own | {name: it for name, it in more.items() if it is not None}}


@QUICK
@given(MAPS, MAPS, OWNERS)
def test_what_others_wrote_on_a_job_and_its_pod(labels: Any, annotations: Any, owners: Any) -> None:
    first = Revision("r1-00000000", 1, "")
    store, reports = Store(), Reports()
    owner, job = resource(), job_of(first)
    pod = with_metadata(pod_of(job), labels, annotations, owners)
    store.put(FINE_TUNE_JOBS, with_metadata(owner, labels, annotations, owners))
    store.put(JOBS, with_metadata(job, labels, annotations, owners))
    store.put(PODS, pod)
    for kind in (JOBS, PODS):
        for _, kept in store.all(kind):
            store.owner(kept)
            metadata = kept["metadata"]
            assert len(metadata.get("labels", {})) <= 7
            assert len(metadata.get("ownerReferences", [])) <= 1
            assert all(
                len(it) <= ANNOTATION_LENGTH for it in metadata.get("annotations", {}).values()
            )
            assert trim(kind, kept) == kept
    stored = store.get(FINE_TUNE_JOBS, ("team", "tone"))
    assert stored is not None
    jobs = [it for _, it in store.all(JOBS)]
    seen = observed(stored, jobs=jobs, pods=[it for _, it in store.all(PODS)])
    compute(seen, decide(seen)).to_json()
    assert scrape(store, reports, NOW)
    for kind in (JOBS, PODS, FINE_TUNE_JOBS):
        for _, kept in list(store.all(kind)):
            store.remove(kind, kept)
    assert not store._children


@QUICK
@given(WORDS)
def test_the_name_of_a_revision(name: str) -> None:
    if is_revision(name):
        assert 0 < revision_number(name) < 10**9
        return
    with pytest.raises(ValueError, match="not a revision") as error:
        revision_number(name)
    assert len(str(error.value)) < 500
