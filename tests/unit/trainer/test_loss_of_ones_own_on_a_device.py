"""What a loss of one's own holds goes where the model is; it has nothing to be trained."""

from pathlib import Path

import pytest
import torch

from luthier_trainer.errors import TrainerError
from luthier_trainer.training.ownloss import load_loss

# A device that tensors can be moved to on any machine.
ELSEWHERE = torch.device("meta")
HOLDING = {
    "a module with a buffer": """
class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("weights", torch.ones(3))
        self.inner = torch.nn.CrossEntropyLoss(weight=torch.ones(3))
    def forward(self, outputs, batch):
        return where(self.weights, self.inner.weight)
""",
    "a class with tensors": """
class Loss:
    def __init__(self):
        self.weights = torch.ones(3)
        self.inner = torch.nn.CrossEntropyLoss(weight=torch.ones(3))
    def forward(self, outputs, batch):
        return where(self.weights, self.inner.weight)
""",
    "names of the file": """
weights = torch.ones(3)
inner = torch.nn.CrossEntropyLoss(weight=torch.ones(3))
def Loss(outputs, batch):
    return where(weights, inner.weight)
""",
    "a frozen model": """
class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.teacher = torch.nn.Linear(3, 3).requires_grad_(False)
    def forward(self, outputs, batch):
        return where(self.teacher.weight)
""",
    "a module with a tensor that is no buffer": """
class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.ones(3)
        self.inner = torch.nn.Module()
        self.inner.scale = torch.ones(1)
    def forward(self, outputs, batch):
        return where(self.weights, self.inner.scale)
""",
    "attributes of a class": """
class Weighted:
    weights = torch.ones(3)
class Loss(Weighted):
    inner = torch.nn.CrossEntropyLoss(weight=torch.ones(3))
    def forward(self, outputs, batch):
        return where(self.weights, self.inner.weight)
""",
    "attributes of a module's class": """
class Loss(torch.nn.Module):
    weights = torch.ones(3)
    def forward(self, outputs, batch):
        return where(self.weights)
""",
    "lists and dicts": """
from collections import namedtuple
Pair = namedtuple("Pair", "scale bias")
levels = (torch.ones(1), 2)
class Loss:
    def __init__(self):
        self.weights = [torch.ones(3)]
        self.inner = {"a": torch.nn.CrossEntropyLoss(weight=torch.ones(3))}
        self.pair = Pair(torch.ones(1), None)
    def forward(self, outputs, batch):
        return where(self.weights[0], self.inner["a"].weight, self.pair.scale, levels[0])
""",
}
_WHERE = """
import torch
def where(*tensors):
    assert {tensor.device.type for tensor in tensors} == {"meta"}, tensors
    return torch.ones(2, requires_grad=True, device="meta").mean()
"""


@pytest.mark.parametrize("text", HOLDING.values(), ids=HOLDING.keys())
def test_it_is_moved(text: str, tmp_path: Path) -> None:
    path = tmp_path / "loss.py"
    path.write_text(_WHERE + text)
    loss = load_loss(path, "Loss")
    loss.to(ELSEWHERE)
    assert loss(None, {"labels": torch.zeros(2)}).device == ELSEWHERE


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "class Loss(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.centres = torch.nn.Parameter(torch.ones(3))\n"
            "    def forward(self, outputs, batch): return outputs\n",
            "centres",
        ),
        (
            "class Loss:\n"
            "    def __init__(self): self.proxy = torch.nn.Linear(2, 2)\n"
            "    def forward(self, outputs, batch): return outputs\n",
            "proxy.weight",
        ),
        (
            "class Loss(torch.nn.Module):\n"
            "    def __init__(self):\n"
            "        super().__init__()\n"
            "        self.scales = [torch.ones(1, requires_grad=True)]\n"
            "    def forward(self, outputs, batch): return outputs\n",
            "scales",
        ),
        (
            "scale = torch.ones(1, requires_grad=True)\n"
            "def Loss(outputs, batch): return outputs * scale\n",
            "scale",
        ),
    ],
)
def test_weights_that_nobody_would_train_are_refused(text: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "loss.py"
    path.write_text(f"import torch\n{text}")
    with pytest.raises(TrainerError, match=rf"weights of its own \({name}") as caught:
        load_loss(path, "Loss")
    assert caught.value.error.code == "UserCodeFailed"
    assert "register_buffer" in caught.value.error.message
