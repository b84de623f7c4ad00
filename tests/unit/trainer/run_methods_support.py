"""Runs of the cells, and the plainest evaluation of what they made: one row at a time."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from safetensors.torch import load_file
from torch import Tensor
from unit.trainer.run_cells import Cell, Form, Row
from unit.trainer.support import spec_maker
from unit.trainer.tiny import tiny_folder

from luthier_api.methods import Quantization
from luthier_api.runspec import RunSpec
from luthier_trainer.models.precision import Precision
from luthier_trainer.models.quantized import keep_packing, quantization_config

TRAIN_ROWS, TEST_ROWS = 12, 6
# The fewer weights a method trains, the further each has to go.
_RATES = {"full": 3e-3, "lora": 1e-2, "qlora": 1e-2}
_OTHER_RATE = 3e-2


def write_rows(form: Form, folder: Path) -> Path:
    """A dataset's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", train_rows(form)), ("test", measured_rows(form))):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def train_rows(form: Form) -> list[Row]:
    return [form.row(number) for number in range(TRAIN_ROWS)]


def measured_rows(form: Form) -> list[Row]:
    """Those that the result is measured on."""
    return [form.row(number) for number in range(100, 100 + TEST_ROWS)]


def spec_of(
    cell: Cell,
    place: Path,
    *,
    lora: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    metrics: list[str] | None = None,
    evaluation: dict[str, Any] | None = None,
    merge: bool = True,
    **training: Any,
) -> RunSpec:
    """A run of 6 steps; each sees all rows, and no dropout: their losses can be compared.

    `merge` where the method can.
    """
    form = cell.form
    method: dict[str, Any] = {"type": cell.method}
    if cell.method in ("lora", "qlora"):
        method["lora"] = lora or {"rank": 4, "alpha": 8}
    if cell.method in ("prefix", "prompt"):
        method["virtualTokens"] = {"count": 4}
    if cell.method == "adapter":
        method["adapter"] = {"reductionFactor": 4}
    method["merge"] = merge and cell.method in ("lora", "qlora", "ia3")
    make = spec_maker(tiny_folder(cell.architecture), write_rows(form, place / "data"), place)
    return make(
        task=form.task,
        dataset={"template": None, **form.dataset, **(dataset or {})},
        method=method,
        metrics=metrics or form.metrics,
        evaluation={"maxNewTokens": 4, **(evaluation or {})},
        training={
            "maxSteps": 6,
            "learningRate": _RATES.get(cell.method, _OTHER_RATE),
            "scheduler": "constant",
            "warmupRatio": 0,
            "dropout": 0.0,
            "perDeviceBatchSize": TRAIN_ROWS,
            "gradientAccumulationSteps": 1,
            "saveEverySteps": 1000,
            "logEverySteps": 1,
            **form.training,
            **training,
        },
    )


def training_losses(output: Path) -> list[float]:
    lines = (output / "report" / "metrics.jsonl").read_text().splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


@dataclass(frozen=True)
class Loaded:
    """An artifact. `merged`: the merged model, if there is one; `unquantized`: what it must
    equal, adapter and base without quantisation."""

    tokenizer: Any
    model: Any
    labels: list[str]
    merged: Any = None
    unquantized: Any = None


def load_by_card(output: Path, cell: Cell) -> Loaded:
    """By the code of the model card, run where the artifact and, as `base`, its base model are.
    The base of qlora is quantised as for the training."""
    (output / "base").symlink_to(tiny_folder(cell.architecture))
    text = (output / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    code = re.split(r"\n(?:prompt|messages|texts) = ", found[1])[0]  # what loads, not what asks
    merged = re.search(r"# Or the merged model.*\n# (.*)", code)
    space = _run(code, cell)
    model = unquantized = space["model"].eval()
    if cell.method == "qlora":
        code = code.replace('_pretrained("base"', '_pretrained("base", quantization_config=nf4')
        model = _run(code, cell)["model"].eval()
        keep_packing(model)  # tiny layers can't be packed anew
    classes = re.search(r"Its classes: (.*)\.\n", text)
    labels = re.findall(r"`([^`]+)`", classes[1]) if classes else []
    if not merged:
        return Loaded(space["tokenizer"], model, labels)
    alone = _run(code.partition("base =")[0] + merged[1], cell)
    return Loaded(space["tokenizer"], model, labels, alone["model"].eval(), unquantized)


def _run(code: str, cell: Cell) -> dict[str, Any]:
    space: dict[str, Any] = {"nf4": _nf4(cell)}
    exec(code, space)
    return space


def _nf4(cell: Cell) -> Any:
    if cell.method != "qlora":
        return None
    import transformers

    form, folder = cell.form, tiny_folder(cell.architecture)
    auto_class = form.classes[cell.kind]
    config = transformers.AutoConfig.from_pretrained(folder)
    return quantization_config(
        getattr(transformers, auto_class), config, Quantization(), Precision("fp32")
    )


def naive_loss(
    form: Form, rows: list[Row], tokenizer: Any, model: Any, labels: Sequence[str]
) -> Tensor:
    """Mean loss per target, one row at a time and without padding."""
    if form.name in ("cosine", "contrastive", "negatives"):
        return _pair_loss(form, tokenizer, model, rows)
    if form.name in ("simpo", "orpo"):
        return torch.stack([_preference_loss(form, tokenizer, model, row) for row in rows]).mean()
    losses = []
    for row in rows:
        logits, targets = _LOSSES[form.name](tokenizer, model, row, labels)
        losses.append(F.cross_entropy(logits.float(), targets, reduction="none"))
    return torch.cat(losses).mean()


def checkpoint_of(output: Path, step: int) -> dict[str, Tensor]:
    """The trained weights at a step."""
    [file] = (output / "checkpoints" / f"step-{step:06d}").glob("*.safetensors")
    state = load_file(file)
    return {n.removeprefix("model."): w for n, w in state.items() if n.startswith("model.")}


def _ask(model: Any, ids: Sequence[int], **more: Any) -> Any:
    given = torch.tensor([list(ids)])
    return model(input_ids=given, attention_mask=torch.ones_like(given), **more)


def _plain(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _continued(model: Any, given: list[int], targets: list[int]) -> tuple[Tensor, Tensor]:
    """Logits that predict `targets`, -100 where nothing counts, and what counts."""
    logits = _ask(model, given).logits[0, -len(given) :]
    wanted = torch.tensor(targets[1:])
    counted = wanted != -100
    return logits[:-1][counted], wanted[counted]


def _words(
    tokenizer: Any, model: Any, row: Row, prompt: str, completion: str
) -> tuple[Tensor, Tensor]:
    """The completion and its end token, behind the prompt."""
    if model.config.is_encoder_decoder:
        answer = tokenizer(text_target=completion)["input_ids"]
        answer += [tokenizer.eos_token_id] * (answer[-1] != tokenizer.eos_token_id)
        labels = torch.tensor([answer])
        output = _ask(model, tokenizer(prompt)["input_ids"], labels=labels)
        return output.logits[0, -len(answer) :], labels[0]
    asked = tokenizer(prompt)["input_ids"]
    answer = [*_plain(tokenizer, completion), tokenizer.eos_token_id]
    return _continued(model, asked + answer, [-100] * len(asked) + answer)


def _classes_in_words(tokenizer: Any, model: Any, row: Row, _: Any) -> tuple[Tensor, Tensor]:
    return _words(tokenizer, model, row, f"Text: {row['text']}\nColour:", f" {row['label']}")


def _completion(tokenizer: Any, model: Any, row: Row, _: Any) -> tuple[Tensor, Tensor]:
    return _words(tokenizer, model, row, row["prompt"], row["completion"])


def _json(tokenizer: Any, model: Any, row: Row, _: Any) -> tuple[Tensor, Tensor]:
    return _words(tokenizer, model, row, f"{row['text']} as JSON:", f" {row['answer']}")


def _chat(tokenizer: Any, model: Any, row: Row, _: Any) -> tuple[Tensor, Tensor]:
    ids, targets, text = list[int](), list[int](), ""
    messages = row["messages"]
    for number in range(1, len(messages), 2):
        asked = tokenizer.apply_chat_template(
            messages[:number], tokenize=False, add_generation_prompt=True
        )
        given = _plain(tokenizer, asked.removeprefix(text))
        text = tokenizer.apply_chat_template(messages[: number + 1], tokenize=False)
        answer = _plain(tokenizer, text.removeprefix(asked))
        ids += given + answer
        targets += [-100] * len(given) + answer
    return _continued(model, ids, targets)


def _classes(tokenizer: Any, model: Any, row: Row, labels: Any) -> tuple[Tensor, Tensor]:
    logits = _ask(model, tokenizer(row["text"])["input_ids"]).logits
    return logits, torch.tensor([labels.index(row["label"])])


def _tags(tokenizer: Any, model: Any, row: Row, labels: Any) -> tuple[Tensor, Tensor]:
    """The tag of a word at its first token."""
    found = tokenizer(" ".join(row["tokens"]))
    places, begin = [], 0
    for word in row["tokens"]:
        places.append(found.char_to_token(begin))
        begin += len(word) + 1
    logits = _ask(model, found["input_ids"]).logits[0, -len(found["input_ids"]) :]
    return logits[places], torch.tensor([labels.index(tag) for tag in row["tags"]])


def _spans(tokenizer: Any, model: Any, row: Row, labels: Any) -> tuple[Tensor, Tensor]:
    """Words and brackets; the span is the last word before ` (seen)`."""
    before = row["text"].removesuffix(" (seen)").split()
    tags = ["O"] * (len(before) - 1) + [f"B-{row['spans'][0]['label']}", "O", "O", "O"]
    words = [*before, "(", "seen", ")"]
    return _tags(tokenizer, model, {"tokens": words, "tags": tags}, labels)


def _vector(tokenizer: Any, model: Any, text: str) -> Tensor:
    ids = tokenizer(text)["input_ids"]
    hidden: Tensor = _ask(model, ids).last_hidden_state[0, -len(ids) :]
    return hidden.mean(dim=0)


def _pair_loss(form: Form, tokenizer: Any, model: Any, rows: list[Row]) -> Tensor:
    first, second = (
        torch.stack([F.normalize(_vector(tokenizer, model, row[name]), dim=0) for row in rows])
        for name in ("first", "second")
    )
    if form.name == "negatives":  # all rows are one batch
        scores = 20 * first @ second.T
        for one, row in enumerate(rows):
            for other, another in enumerate(rows):
                texts = (row["first"], row["second"])
                if one != other and (another["second"] in texts or another["first"] == texts[0]):
                    scores[one, other] = -torch.inf  # the same text is no negative of its own
        return F.cross_entropy(scores, torch.arange(len(rows)))
    cosines = (first * second).sum(dim=1)
    alike = torch.tensor([float(row["alike"]) for row in rows])
    if form.name == "cosine":
        return (cosines - alike).square().mean()
    apart = (cosines - 0.5).clamp(min=0)
    return torch.where(alike > 0, (1 - cosines).square(), apart.square()).mean() / 2


def _preference_loss(form: Form, tokenizer: Any, model: Any, row: Row) -> Tensor:
    """By the papers' formulas, with their authors' settings."""
    prompt = row.get("prompt") or row["chosen"].partition("Assistant:")[0] + "Assistant:"
    means = []
    for side in ("chosen", "rejected"):
        answer = row[side].removeprefix(prompt)
        logits, ids = _words(tokenizer, model, row, prompt, answer)
        means.append(-F.cross_entropy(logits.float(), ids))
    chosen, rejected = means
    if form.name == "simpo":
        return -F.logsigmoid(2 * chosen - 2 * rejected - 1)
    odds = [mean.exp() / (1 - mean.exp()) for mean in means]
    return -chosen - 0.1 * F.logsigmoid((odds[0] / odds[1]).log())


_LOSSES = {
    "classes-in-words": _classes_in_words,
    "completion": _completion,
    "chat": _chat,
    "json": _json,
    "summary": _completion,
    "classes": _classes,
    "tags": _tags,
    "spans": _spans,
}
