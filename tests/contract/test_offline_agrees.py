"""`luthier validate --offline` says of every manifest of these tests what the API server says."""

import json

import pytest
from contract.manifests import Manifest, changed
from contract.test_accepted import ACCEPTED
from contract.test_refused import CASES
from contract.wrong import Wrong

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.reference import rules
from luthier_cli.findings import Finding
from luthier_cli.offline import check_document
from luthier_cli.yaml import load_documents

FINE_TUNE_JOB = next(it for it in CUSTOM_RESOURCES if it.kind == "FineTuneJob")


@pytest.mark.parametrize(("manifest", "wrong"), CASES)
def test_refused(manifest: Manifest, wrong: Wrong) -> None:
    assert _check(changed(manifest, wrong.paths))


@pytest.mark.parametrize("manifest", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(manifest: Manifest) -> None:
    assert _check(manifest) == []


def test_every_rule_has_a_manifest_that_breaks_it() -> None:
    """So that test_refused has seen the API server evaluate each of them."""
    broken = {
        finding.message
        for case in CASES
        for manifest, wrong in [case.values]
        for finding in _check(changed(manifest, wrong.paths))
    }
    # pydantic says in its own words what the rule of an int-or-string says.
    unbroken = {
        message
        for _, message in rules(FINE_TUNE_JOB.schema())
        if message not in broken and not message.startswith("write a number from")
    }
    assert not unbroken


def _check(manifest: Manifest) -> list[Finding]:
    (document,) = load_documents(json.dumps(manifest))
    return check_document(document, "manifest.yaml")
