"""The operator beside trainers of the releases before, and of one that is newer (docs/adr/0013)."""

import json
from typing import Any

import pytest
from contract.golden_documents import GOLDEN, KINDS
from contract.test_golden import VERSIONS, with_unknown_fields
from integration.kube import Kube, Obj, eventually
from integration.kubelet import Kubelet
from integration.operatorprocess import OperatorProcess
from integration.test_progress import post, token
from integration.user import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Kind, User, order_of

SPECS: list[tuple[Kind, Obj]] = [
    (FINE_TUNE_JOB, {}),
    (OPTIMIZE_JOB, {"source": {"modelUri": "s3://models/smollm2"}}),
    (ADAPTER_BUNDLE, {"adapters": [{"name": "tone", "uri": "s3://adapters/tone"}]}),
]


def document(of: str, kind: str, name: str, *, newer: bool) -> Obj:
    """What that version wrote, with every field set; or as one wrote it that knows more."""
    written: Obj = json.loads((GOLDEN / of / kind / f"{name}.json").read_text())
    if newer:
        written = with_unknown_fields(written, KINDS[kind][name].read(written))
    return written


@pytest.mark.parametrize(("kind", "spec"), SPECS, ids=[kind.name for kind, _ in SPECS])
@pytest.mark.parametrize("of", VERSIONS)
def test_reports_and_results_are_taken(
    operator: OperatorProcess,
    kube: Kube,
    namespace: str,
    kubelet: Kubelet,
    of: str,
    kind: Kind,
    spec: Obj,
) -> None:
    user = User(kube, namespace, kind)
    names = {"of-before": False, "of-later": True}
    uids = {name: user.create(name, **spec)["metadata"]["uid"] for name in names}
    for name, newer in names.items():
        job = user.job(name)
        pod = kubelet.run(job["metadata"]["name"])
        status = user.phase("Running", name)
        told = document(of, kind.name, "report", newer=newer)
        told["run"] |= order_of(job)["run"] | {"uid": uids[name]}
        told["pod"] = pod["metadata"]["name"]
        assert post(operator, token(kube, pod), json.dumps(told).encode()) == 204

        def shown(name: str = name) -> Any:
            return user.status(name)["restarts"]["disruptions"] == 7

        eventually(shown)
        end = document(of, kind.name, "result", newer=newer)
        end |= {name: status[name] for name in ("revision", "attempt")}
        end |= {"outcome": "Succeeded", "error": None}
        end["artifact"] |= {"uri": order_of(job)["output"]}
        kubelet.end(pod, 0, end)
        complete = user.phase("Complete", name)
        assert complete["inUse"]["uri"] == order_of(job)["output"]
        assert complete["usage"]["cpuSeconds"] == 7
    # The same comes of both: what isn't known costs nothing of what is.
    before, later = (user.status(name) for name in names)
    for field in ("evaluation", "dataset", "candidates", "adapters", "usage", "restarts"):
        assert before.get(field) == later.get(field), field
