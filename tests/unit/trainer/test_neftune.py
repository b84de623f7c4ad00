"""NEFTune's noise reaches the model, whatever its architecture."""

import pytest
import torch
from unit.trainer.cells import CLASSES, batch, loss_of, main_class, source, tuned
from unit.trainer.tiny import ARCHITECTURES

from luthier_trainer.training.neftune import noise_on_embeddings


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize(
    ("architecture", "auto_class"),
    [
        *((architecture, main_class(architecture)) for architecture in ARCHITECTURES),
        *[("t5", CLASSES), ("bart", CLASSES)],
    ],
)
def test_the_loss_is_another_one_while_there_is_noise(
    architecture: str, auto_class: str, method: str
) -> None:
    model = tuned(source(architecture, auto_class), method).model.train()
    inputs = batch(architecture, auto_class)

    def loss() -> float:
        torch.manual_seed(0)
        return loss_of(model, inputs).item()

    without = loss()
    with noise_on_embeddings(model, 20):
        assert loss() != without
        model.eval()
        assert loss() == pytest.approx(without)
        model.train()
    assert loss() == without
