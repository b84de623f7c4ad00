"""Every field that may name a claim keeps to the same rule: what pods mount is an object's name."""

from typing import Any

import pytest

from luthier_api.customresources import CUSTOM_RESOURCES
from luthier_api.reference import rules

MESSAGE = "write pvc://CLAIM/PATH"
FIELDS = {
    "FineTuneJob": {"spec.model.uri", "spec.dataset.uri", "spec.dataset.mix[].uri"},
    "OptimizeJob": {
        "spec.source.modelUri",
        "spec.evaluation.dataset.uri",
        "spec.evaluation.dataset.mix[].uri",
    },
    "AdapterBundle": {"spec.base.uri"},
}


def schemes(schema: dict[str, Any]) -> dict[str, str]:
    """Field → the message that lists the schemes it takes."""
    return {field: text for field, text in rules(schema) if "are read from" in text}


@pytest.mark.parametrize("resource", CUSTOM_RESOURCES, ids=lambda it: str(it.kind))
def test_every_field_that_takes_a_claim_checks_its_name(resource: Any) -> None:
    schema = resource.schema()
    taking = {field for field, text in schemes(schema).items() if "pvc://" in text}
    checked = {field for field, text in rules(schema) if text.startswith(MESSAGE)}
    assert taking == checked == FIELDS[resource.kind]
