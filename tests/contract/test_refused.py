"""A wrong manifest is refused by `kubectl apply`, with the field and the remedy in its message."""

import json

import pytest
from contract.applied import answers
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
PAIRS: list[tuple[Manifest, Wrong]] = [case.values for case in CASES]


@pytest.fixture(scope="module")
def said(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `kubectl apply` says against each case, by its id."""
    manifests = [json.dumps(changed(manifest, wrong.paths)) for manifest, wrong in PAIRS]
    found = answers(control_plane, manifests, tmp_path_factory.mktemp("refused"))
    return {str(case.id): words for case, words in zip(CASES, found, strict=True)}


@pytest.mark.parametrize(("manifest", "wrong"), CASES)
def test_refused_with_field_and_remedy(
    said: dict[str, str], manifest: Manifest, wrong: Wrong
) -> None:
    words = said[f"{manifest['kind']}: {wrong.title}"]
    assert words, "accepted"
    assert wrong.field in words
    assert wrong.words in words
