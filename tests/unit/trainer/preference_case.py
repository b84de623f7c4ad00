"""One small model and some answers, made by arithmetic alone: the same wherever they are made.

TRL learns from them in bench/trl_preferences.py, which writes trl_preferences.json; the trainer's
own objectives in test_preference_parity.py.
"""

import math
from pathlib import Path
from typing import Any

import torch

GOLDEN = Path(__file__).with_name("trl_preferences.json")
VOCABULARY, STEPS, BATCH, RATE, PAD = 61, 4, 4, 0.02, 0
# Name → (settings of training.preference, whether answers come one by one).
CASES: dict[str, tuple[dict[str, Any], bool]] = {
    "dpo": ({"objective": "dpo", "beta": 0.3}, False),
    "dpo and sft": ({"objective": "dpo", "beta": 0.1, "sftWeight": 0.5}, False),
    "ipo": ({"objective": "ipo", "beta": 0.2}, False),
    "orpo": ({"objective": "orpo", "beta": 0.4}, False),
    "simpo": ({"objective": "simpo", "beta": 2.0, "gamma": 0.8}, False),
    "simpo, smoothed": ({"objective": "simpo", "labelSmoothing": 0.2}, False),
    "kto": ({"objective": "kto", "beta": 0.5}, True),
    "kto, weighted": ({"objective": "kto", "desirableWeight": 1.5, "undesirableWeight": 0.5}, True),
}


def model() -> Any:
    """A Llama of two layers, in fp32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=24,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    made = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for number, weight in enumerate(made.parameters()):
            places = torch.arange(weight.numel(), dtype=torch.float64)
            waves = torch.sin(places * (0.7 + 0.01 * number) + number)
            if weight.dim() == 1:  # norms
                weight.copy_((1 + 0.1 * waves).view_as(weight))
            else:
                weight.copy_((2 * waves / math.sqrt(weight.shape[1])).view_as(weight))
    return made.train()


def ids(seed: int, count: int) -> list[int]:
    """Tokens that are no special ones."""
    return [
        3 + (seed * 31 + place * place * 7 + place * 13) % (VOCABULARY - 3)
        for place in range(count)
    ]


def rows(name: str) -> list[dict[str, Any]]:
    """prompt, chosen, rejected, and of answers one by one `unrelated`: token ids. Chosen answers
    are of one length where TRL's weight of the SFT loss depends on it."""
    settings, single = CASES[name]
    found = []
    for number in range(STEPS * BATCH):
        length = 5 if settings.get("sftWeight") else 2 + number % 5
        row: dict[str, Any] = {
            "prompt": [1, *ids(number, 3 + number % 4)],
            "chosen": [*ids(100 + number, length), 2],
            "rejected": [*ids(200 + number, 2 + (number + 2) % 4), 2],
        }
        if single:
            row["rejected" if number % 3 else "chosen"] = None
            row["unrelated"] = [*ids(300 + number, 2 + number % 3), 2]
        found.append(row)
    return found


def batches(name: str) -> list[list[dict[str, Any]]]:
    whole = rows(name)
    return [whole[at : at + BATCH] for at in range(0, len(whole), BATCH)]


def padded(sequences: list[list[int]], fill: int) -> torch.Tensor:
    width = max(map(len, sequences))
    return torch.tensor([each + [fill] * (width - len(each)) for each in sequences])


def record(made: Any, loss: torch.Tensor) -> dict[str, Any]:
    """One step of plain gradient descent: its loss, and the norm of each weight's gradient."""
    torch.autograd.backward(loss)
    norms = {name: float(weight.grad.norm()) for name, weight in made.named_parameters()}
    with torch.no_grad():
        for weight in made.parameters():
            weight -= RATE * weight.grad
            weight.grad = None
    return {"loss": float(loss.detach()), "gradients": norms}
