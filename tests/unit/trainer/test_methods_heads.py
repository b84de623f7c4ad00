"""Methods with other heads than the one that an architecture is made for."""

from pathlib import Path

import pytest
from unit.trainer.cells import CLASSES, TAGS, TRAINED, VECTORS, source, supported, tuned
from unit.trainer.test_methods import check_cell

from luthier_trainer.errors import TrainerError

# One decoder with a linear layer and one with Conv1D, encoders with a plain and a deep head.
CELLS = [
    (architecture, auto_class, method)
    for architecture, auto_class in (
        ("llama", CLASSES),
        ("llama", VECTORS),
        ("gpt2", CLASSES),
        ("gpt2", TAGS),
        ("bert", TAGS),
        ("roberta", VECTORS),
        ("deberta-v2", TAGS),
        ("bart", CLASSES),
        ("t5", CLASSES),
        ("t5", TAGS),
    )
    for method in TRAINED
]


@pytest.mark.parametrize(("architecture", "auto_class", "method"), CELLS)
def test_a_method_with_a_head(
    architecture: str, auto_class: str, method: str, tmp_path: Path
) -> None:
    if supported(architecture, auto_class, method):
        check_cell(architecture, auto_class, method, tmp_path)
        return
    with pytest.raises(TrainerError) as caught:
        tuned(source(architecture, auto_class), method)
    assert caught.value.error.code == "MethodNotSupported"
    assert caught.value.error.param == "method.type"


def test_the_table_refuses_what_it_says() -> None:
    refused = {(a, c, m) for a, c, m in CELLS if not supported(a, c, m)}
    assert ("gpt2", TAGS, "prompt") in refused
    assert ("bert", TAGS, "prefix") in refused
    assert ("llama", VECTORS, "prefix") not in refused
    assert not any(method in ("full", "lora", "qlora", "adapter", "ia3") for *_, method in refused)
