"""What TRL's trainers make of tests/unit/trainer/preference_case.py, step by step, for the test
that holds the trainer's own objectives to it.

TRL is no dependency: install it beside the project's environment, and run

    python -m venv out/trl && out/trl/bin/pip install trl
    PYTHONPATH=tests:. out/trl/bin/python -m bench.trl_preferences

Two of its conventions differ from the papers, which is told where it matters: ORPO's likelihood of
the chosen answer, which TRL takes of the prompt too and over all tokens of a batch, is put here as
the paper has it; and the SFT loss beside DPO, a mean over a batch's tokens there, is compared on
answers of one length.
"""

import copy
import json
import tempfile
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast
from unit.trainer import preference_case as case


def main() -> None:
    import trl  # type: ignore[import-not-found]

    found = {name: steps(name) for name in case.CASES}
    document = {"trl": trl.__version__, "torch": torch.__version__, "cases": found}
    case.GOLDEN.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {case.GOLDEN}")


def steps(name: str) -> list[dict[str, Any]]:
    settings, _ = case.CASES[name]
    model = case.model()
    loss_of = _LOSSES[settings["objective"]](model, settings)
    return [case.record(model, loss_of(model, batch)) for batch in case.batches(name)]


def _dpo(model: Any, settings: dict[str, Any]) -> Any:
    from trl import DPOConfig, DPOTrainer

    kinds = ["ipo"] if settings["objective"] == "ipo" else ["sigmoid"]
    weights = [1.0]
    if "sftWeight" in settings:
        kinds, weights = [*kinds, "sft"], [1.0, settings["sftWeight"]]
    config = DPOConfig(**_arguments(), loss_type=kinds, loss_weights=weights, beta=settings["beta"])
    start = copy.deepcopy(model)
    trainer = DPOTrainer(
        model, start, args=config, train_dataset=_dummy("chosen"), processing_class=_tokenizer()
    )

    def loss(model: Any, batch: list[dict[str, Any]]) -> Any:
        texts = [(row["prompt"], row[side]) for side in ("chosen", "rejected") for row in batch]
        return trainer._compute_loss(model, _inputs(texts), False)

    return loss


def _kto(model: Any, settings: dict[str, Any]) -> Any:
    from trl import KTOConfig, KTOTrainer

    config = KTOConfig(
        **_arguments(),
        beta=settings.get("beta", 0.1),
        desirable_weight=settings.get("desirableWeight", 1.0),
        undesirable_weight=settings.get("undesirableWeight", 1.0),
        train_sampling_strategy="sequential",
    )
    start = copy.deepcopy(model)
    trainer = KTOTrainer(
        model, start, args=config, train_dataset=_dummy("label"), processing_class=_tokenizer()
    )

    def loss(model: Any, batch: list[dict[str, Any]]) -> Any:
        answers = [(row["prompt"], row["chosen"] or row["rejected"]) for row in batch]
        unrelated = [(row["prompt"], row["unrelated"]) for row in batch]
        inputs = {
            **_inputs(answers),
            **{f"KL_{key}": value for key, value in _inputs(unrelated).items()},
            "label": torch.tensor([row["chosen"] is not None for row in batch]),
        }
        return trainer._compute_loss(model, inputs, False)

    return loss


def _simpo(model: Any, settings: dict[str, Any]) -> Any:
    from trl.experimental.cpo import CPOConfig, CPOTrainer  # type: ignore[import-not-found]

    config = CPOConfig(
        **_arguments(),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=settings.get("beta", 2.0),
        simpo_gamma=settings.get("gamma", 1.0),
        label_smoothing=settings.get("labelSmoothing", 0.0),
    )
    trainer = CPOTrainer(
        model, args=config, train_dataset=_dummy("chosen"), processing_class=_tokenizer()
    )

    def loss(model: Any, batch: list[dict[str, Any]]) -> Any:
        return trainer.get_batch_loss_metrics(model, _by_side(batch))[0]

    return loss


def _orpo(model: Any, settings: dict[str, Any]) -> Any:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # type: ignore[import-not-found]

    config = ORPOConfig(**_arguments(), beta=settings["beta"])
    trainer = ORPOTrainer(
        model, args=config, train_dataset=_dummy("chosen"), processing_class=_tokenizer()
    )

    def loss(model: Any, batch: list[dict[str, Any]]) -> Any:
        chosen, rejected, *_ = trainer.concatenated_forward(model, _by_side(batch))
        odds, *_ = trainer.odds_ratio_loss(chosen, rejected)
        return -chosen.mean() - odds.mean()

    return loss


_LOSSES = {"dpo": _dpo, "ipo": _dpo, "kto": _kto, "simpo": _simpo, "orpo": _orpo}


def _arguments() -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": case.BATCH,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "max_length": 64,
    }


def _inputs(texts: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    ids = [prompt + answer for prompt, answer in texts]
    return {
        "input_ids": case.padded(ids, case.PAD),
        "attention_mask": case.padded([[1] * len(each) for each in ids], 0),
        "completion_mask": case.padded([[0] * len(p) + [1] * len(a) for p, a in texts], 0),
    }


def _by_side(batch: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    found = {}
    for side in ("chosen", "rejected"):
        inputs = _inputs([(row["prompt"], row[side]) for row in batch])
        masked = inputs["completion_mask"] == 0
        found[f"{side}_input_ids"] = inputs["input_ids"]
        found[f"{side}_attention_mask"] = inputs["attention_mask"]
        found[f"{side}_labels"] = inputs["input_ids"].masked_fill(masked, -100)
    return found


def _tokenizer() -> Any:
    """Of a few words: nothing is read by it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = {"<pad>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}
    made = Tokenizer(WordLevel(words, unk_token="a"))  # noqa: S106 - tokens of text
    made.pre_tokenizer = Whitespace()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def _dummy(last: str) -> Any:
    """Rows that a trainer wants to be made with; none is learnt from."""
    from datasets import Dataset  # type: ignore[import-not-found]

    rows: list[dict[str, Any]] = [{"prompt": "a ", "completion": "b", "label": True}] * 8
    if last == "chosen":
        rows = [{"prompt": "a ", "chosen": "b", "rejected": "a"}] * 8
    return Dataset.from_list(rows)


if __name__ == "__main__":
    main()
