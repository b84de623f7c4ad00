"""`luthier validate --offline` says of every manifest of these tests what the API server says."""

import json

import pytest
from contract.manifests import Manifest, changed
from contract.test_accepted import ACCEPTED
from contract.test_refused import CASES
from contract.wrong_manifests import Wrong

from luthier_cli.findings import Finding
from luthier_cli.offline import check_document
from luthier_cli.yaml import load_documents


@pytest.mark.parametrize(("manifest", "wrong"), CASES)
def test_refused(manifest: Manifest, wrong: Wrong) -> None:
    assert _check(changed(manifest, wrong.paths))


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(manifest: Manifest) -> None:
    assert _check(manifest) == []


def _check(manifest: Manifest) -> list[Finding]:
    (document,) = load_documents(json.dumps(manifest))
    return check_document(document, "manifest.yaml")
