"""The offline check names the field that the API server names, for all of the contract."""

from typing import Any

import pytest
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed
from contract.wrong import Wrong
from contract.wrong_manifests import WRONG_FINE_TUNE_JOBS
from contract.wrong_packages import WRONG_ADAPTER_BUNDLES, WRONG_OPTIMIZE_JOBS

from luthier_cli.offline import check_document
from luthier_cli.yaml import Document

VALID = (FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE)
WRONG = [
    pytest.param(manifest, wrong, id=f"{manifest['kind']}: {wrong.title}")
    for manifest, all_wrong in zip(
        VALID, (WRONG_FINE_TUNE_JOBS, WRONG_OPTIMIZE_JOBS, WRONG_ADAPTER_BUNDLES), strict=True
    )
    for wrong in all_wrong
]


def document(value: dict[str, Any]) -> Document:
    return Document(value, {(): 1})


@pytest.mark.parametrize(("manifest", "wrong"), WRONG)
def test_what_the_api_server_refuses_is_a_finding_at_the_same_field(
    manifest: Manifest, wrong: Wrong
) -> None:
    findings = check_document(document(changed(manifest, wrong.paths)), "file")
    fields = [finding.field for finding in findings]
    assert any(wrong.field in field for field in fields), findings
