"""A wrong manifest is refused by `kubectl apply`, with the field and the remedy in its message."""

import json

import pytest
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed
from contract.wrong import Wrong
from contract.wrong_manifests import WRONG_FINE_TUNE_JOBS
from contract.wrong_packages import WRONG_ADAPTER_BUNDLES, WRONG_OPTIMIZE_JOBS

from luthier_cluster import Cluster

CASES = [
    pytest.param(manifest, wrong, id=f"{manifest['kind']}: {wrong.title}")
    for manifest, all_wrong in (
        (FINE_TUNE_JOB, WRONG_FINE_TUNE_JOBS),
        (OPTIMIZE_JOB, WRONG_OPTIMIZE_JOBS),
        (ADAPTER_BUNDLE, WRONG_ADAPTER_BUNDLES),
    )
    for wrong in all_wrong
]


@pytest.mark.parametrize(("manifest", "wrong"), CASES)
def test_refused_with_field_and_remedy(
    control_plane: Cluster, manifest: Manifest, wrong: Wrong
) -> None:
    document = json.dumps(changed(manifest, wrong.paths))
    done = control_plane.kubectl(
        "apply", "--dry-run=server", "-f", "-", input=document, check=False
    )
    assert done.returncode != 0, f"accepted: {done.stdout}"
    assert wrong.field in done.stderr
    assert wrong.words in done.stderr
