"""transformers.Trainer on the same task, in a process of its own: `python -m bench.peer CASE.json`.

What a user writes who follows the documentation of transformers and peft. Prints one line of
JSON: tokens/s without padding, over the second half of the steps, and the time from the start of
the process to the end of the first step.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

started = time.monotonic()

Row = dict[str, Any]


def encode_completion(tokenizer: Any, row: Row, case: Row) -> Row:
    """Prompt and answer; the loss counts the answer, or all."""
    prompt = tokenizer(case["prompt"].format(**row))["input_ids"]
    answer = [*tokenizer(case["answer"].format(**row))["input_ids"], tokenizer.eos_token_id]
    ids = prompt + answer
    labels = ids if case["lossOnAll"] else [-100] * len(prompt) + answer
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def encode_seq2seq(tokenizer: Any, row: Row, case: Row) -> Row:
    encoded = dict(tokenizer(case["prompt"].format(**row)))
    encoded["labels"] = [
        *tokenizer(case["answer"].format(**row))["input_ids"],
        tokenizer.eos_token_id,
    ]
    return encoded


def encode_labelled(tokenizer: Any, row: Row, case: Row) -> Row:
    encoded = dict(tokenizer(row["gloss"], truncation=True, max_length=128))
    encoded["labels"] = case["labels"].index(row["label"])
    return encoded


def load(case: Row) -> Any:
    """The model with its method, as the documentation of transformers and peft has it."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoModelForSequenceClassification,
        BitsAndBytesConfig,
    )

    options: Row = {"dtype": "float32"}
    if case["method"] == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if case["bf16"] else torch.float32,
        )
    if case["form"] == "labelled":
        classes: Any = AutoModelForSequenceClassification
        options["num_labels"] = len(case["labels"])
    else:
        classes = AutoModelForSeq2SeqLM if case["form"] == "seq2seq" else AutoModelForCausalLM
    model: Any = classes.from_pretrained(case["model"], **options)
    if case["method"] in ("lora", "qlora"):
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        if case["method"] == "qlora":
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        kind = {"labelled": "SEQ_CLS", "seq2seq": "SEQ_2_SEQ_LM"}.get(case["form"], "CAUSAL_LM")
        model = get_peft_model(
            model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type=kind)
        )
    if case["method"] == "adapter":
        attach_bottlenecks(model)
    return model


def attach_bottlenecks(model: Any) -> None:
    """Pfeiffer adapters by hooks on each layer's MLP: peft has none."""
    import torch
    from torch import nn

    model.requires_grad_(False)
    size = model.config.hidden_size

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(size, size // 16), nn.Linear(size // 16, size)
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            changed: torch.Tensor = hidden + self.up(torch.relu(self.down(hidden)))
            return changed

    for layer in model.model.layers:
        layer.mlp.adapter = Adapter()
        layer.mlp.register_forward_hook(lambda module, _, output: module.adapter(output))


def begun(model: Any, folder: Path) -> list[Row]:
    """Give the model the weights that bench.parity wrote down; the rows of its batches."""
    from safetensors.torch import load_file

    from bench.parity import BATCHES, WEIGHTS

    taken = model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    assert not taken.unexpected_keys, taken.unexpected_keys
    batches = json.loads((folder / BATCHES).read_text())
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": targets}
        for batch in batches
        for ids, targets in batch
    ]


def main() -> None:
    case: Row = json.loads(Path(sys.argv[1]).read_text())
    import torch
    from transformers import (
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        DataCollatorWithPadding,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(case["seed"])
    tokenizer: Any = AutoTokenizer.from_pretrained(case["model"])
    encode = {
        "completion": encode_completion,
        "seq2seq": encode_seq2seq,
        "labelled": encode_labelled,
    }[case["form"]]
    lines = Path(case["data"], "train.jsonl").read_text().splitlines()
    rows = [encode(tokenizer, json.loads(line), case) for line in lines]
    model = load(case)
    if "begin" in case:
        rows = begun(model, Path(case["begin"]))
    pad: Any = (
        DataCollatorWithPadding(tokenizer)
        if case["form"] == "labelled"
        else DataCollatorForSeq2Seq(tokenizer, model if case["form"] == "seq2seq" else None)
    )
    times: list[tuple[float, int]] = []
    tokens = 0

    def collate(batch: list[Row]) -> Any:
        nonlocal tokens
        tokens += sum(len(row["input_ids"]) for row in batch)
        return pad(batch)

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
            if not case["cpu"] and state.global_step in (1, case["steps"] // 2, case["steps"]):
                torch.cuda.synchronize()
            times.append((time.monotonic(), tokens))

    arguments = TrainingArguments(
        output_dir=case["folder"],
        max_steps=case["steps"],
        per_device_train_batch_size=case["batch"],
        learning_rate=case["learningRate"],
        bf16=case["bf16"],
        use_cpu=case["cpu"],
        seed=case["seed"],
        save_strategy="no",
        logging_steps=case.get("every", 500),
        train_sampling_strategy="sequential" if "begin" in case else "random",
        report_to=[],
        disable_tqdm=True,
    )
    trainer: Any = Trainer(
        model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Clock()]
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    if case.get("save"):
        model.save_pretrained(case["save"], save_embedding_layers=False)
    (first, _), (half, before), (last, after) = times[0], times[len(times) // 2 - 1], times[-1]
    rate = (after - before) / (last - half)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    measured = {"tokens_per_second": rate, "first_step_seconds": first - started, "losses": losses}
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
