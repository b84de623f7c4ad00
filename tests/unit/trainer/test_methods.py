"""Every method on every architecture: it learns, changes what it should, saves, and goes back."""

from pathlib import Path

import pytest
import torch
from unit.trainer.cells import (
    TRAINED,
    answers,
    batch,
    main_class,
    plain,
    reload,
    source,
    supported,
    train,
    tuned,
    weights_of,
)
from unit.trainer.tiny import ARCHITECTURES

from luthier_trainer.errors import TrainerError
from luthier_trainer.models.heads import head_modules

CELLS = [
    (architecture, main_class(architecture), method)
    for architecture in ARCHITECTURES
    for method in TRAINED
]


def check_cell(architecture: str, auto_class: str, method: str, folder: Path) -> None:
    base = source(architecture, auto_class)
    inputs = batch(architecture, auto_class)
    original = plain(base, method)
    expected = answers(original, inputs)
    heads = head_modules(original) if base.head.labels else []
    tuning = tuned(base, method)
    before = weights_of(tuning.model)
    trainable = {n for n, p in tuning.model.named_parameters() if p.requires_grad}
    part = TRAINED[method]
    assert {n for n in trainable if part not in n and not any(h in n for h in heads)} == set()
    assert {n for n in before if part in n} <= trainable
    assert not heads or any(heads[-1] in name for name in trainable)

    losses = train(tuning.model, inputs, rate=1e-3 if method == "full" else 1e-2)
    assert losses[-1] < losses[0]
    after = weights_of(tuning.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= trainable
    assert len(changed) > len(trainable) // 2

    learnt = answers(tuning.model, inputs)
    with tuning.base() as model:
        assert torch.equal(answers(model, inputs), expected)
    assert torch.equal(answers(tuning.model, inputs), learnt)
    assert all(torch.equal(p, after[n]) for n, p in tuning.model.named_parameters())

    tuning.save(folder / "saved")
    suffixes = {path.suffix for path in (folder / "saved").iterdir()}
    assert suffixes == {".json", ".safetensors"}
    again = answers(reload(base, method, folder / "saved"), inputs)
    assert torch.allclose(again, learnt, rtol=0, atol=1e-5)
    if again.shape == expected.shape:  # virtual tokens answer too
        assert not torch.allclose(again, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("architecture", "auto_class", "method"), CELLS)
def test_a_method_on_an_architecture(
    architecture: str, auto_class: str, method: str, tmp_path: Path
) -> None:
    if supported(architecture, auto_class, method):
        check_cell(architecture, auto_class, method, tmp_path)
        return
    with pytest.raises(TrainerError) as caught:
        tuned(source(architecture, auto_class), method)
    assert caught.value.error.code == "MethodNotSupported"
    assert caught.value.error.param == "method.type"
