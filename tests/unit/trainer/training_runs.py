"""Small real trainings: an objective, a model and a session on a folder."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from luthier_api.finetunejob import Estimate
from luthier_api.runspec import RunIdentity
from luthier_api.training import Training
from luthier_trainer.models.load import Precision
from luthier_trainer.objectives.objective import Batch, Head, Prediction
from luthier_trainer.objectives.packing import pack
from luthier_trainer.pod.interrupt import Interrupt
from luthier_trainer.pod.progress import Reporter
from luthier_trainer.storage.filestore import FileStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.checkpointwriter import CheckpointWriter
from luthier_trainer.training.loop import Outcome, train
from luthier_trainer.training.resolve import Resolved
from luthier_trainer.training.session import Packing, Session

VOCABULARY = 64
RUN = RunIdentity(namespace="team-a", name="tiny", uid="uid-1", revision="r1-0", attempt=1)


@dataclass(frozen=True)
class Tokens:
    """A row: its first two tokens are the prompt."""

    ids: list[int]

    def __len__(self) -> int:
        return len(self.ids)


def collate(items: Sequence[Tokens]) -> Batch:
    """input_ids, attention_mask, labels: int64 [examples, longest], padded at the right."""
    longest = max(map(len, items))
    padding = [[0] * (longest - len(item)) for item in items]
    ids = torch.tensor([item.ids + pad for item, pad in zip(items, padding, strict=True)])
    mask = (ids != 0).long()
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :2] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def count_targets(labels: Tensor) -> int:
    return int((labels[:, 1:] != -100).sum())


def causal_loss(model: nn.Module, batch: Mapping[str, Tensor], count: int | Tensor) -> Tensor:
    """Cross-entropy of the next token, summed and divided by `count`."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    logits = model(**inputs, use_cache=False).logits[:, :-1].float()
    total = nn.functional.cross_entropy(
        logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum"
    )
    return total / count


class Causal:
    """An objective of a language model on rows of tokens."""

    head = Head("AutoModelForCausalLM")
    answer_kind = "text"

    def __init__(self) -> None:
        self.losses: list[float] = []

    def encode(self, examples: Sequence[Any]) -> Sequence[Tokens]:
        raise NotImplementedError

    def collate(self, items: Sequence[Tokens]) -> Batch:
        return collate(items)

    def count_tokens(self, batch: Mapping[str, Tensor]) -> int:
        return int(batch["attention_mask"].sum())

    def count_targets(self, batch: Mapping[str, Tensor]) -> int:
        return count_targets(batch["labels"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], count: int | Tensor) -> Tensor:
        return causal_loss(model, batch, count)

    def predict(self, model: nn.Module, items: Sequence[Any], *, answers: bool) -> list[Prediction]:
        raise NotImplementedError

    def gold(self, example: Any) -> Any:
        raise NotImplementedError

    def show(self, example: Any) -> str:
        raise NotImplementedError


def rows(count: int, seed: int = 1) -> list[Tokens]:
    """Token rows of many lengths in which the next token follows from the last."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        start, length = rng.randrange(2, VOCABULARY), rng.randrange(4, 16)
        ids = [2 + (start + 3 * i) % (VOCABULARY - 2) for i in range(length)]
        found.append(Tokens(ids))
    return found


def llama(dropout: float = 0.0, hidden: int = 32) -> Any:
    """A Llama of two layers, all of it trainable; the same weights each time."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        attention_dropout=dropout,
        attn_implementation="eager",
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def lora_llama(dropout: float = 0.1) -> Any:
    from peft import LoraConfig, get_peft_model

    model = llama()
    torch.manual_seed(0)
    return get_peft_model(
        model,
        LoraConfig(r=4, lora_dropout=dropout, target_modules=["q_proj", "v_proj", "up_proj"]),
    )


def collate_packed(packed: Sequence[Sequence[Tokens]]) -> Batch:
    """As if the examples of a row were one text: enough to follow what was seen."""
    joined = [Tokens([token for item in row for token in item.ids]) for row in packed]
    return collate(joined)


PACKING = Packing(pack, collate_packed)


def measured_loss(model: Any, items: Sequence[Tokens]) -> dict[str, float]:
    """The loss on rows, as evaluation does it: no dropout, no gradients, mode as before."""
    was = model.training
    model.eval()
    batch = collate(items)
    with torch.inference_mode():
        loss = float(causal_loss(model, batch, count_targets(batch["labels"])))
    model.train(was)
    return {"loss": loss}


@dataclass
class Fit:
    """What a training on a folder is made of; change fields, then call it, and again to go on."""

    folder: Path
    make_model: Callable[[], Any] = llama
    settings: dict[str, Any] = field(default_factory=dict)
    items: Sequence[Tokens] = field(default_factory=lambda: rows(22))
    eval_items: Sequence[Tokens] = ()
    measure: Callable[[Any, Sequence[Any]], Mapping[str, float]] = measured_loss
    objective: Any = field(default_factory=Causal)
    packing: Packing | None = None
    keep_last: int = 100
    watched: str = "loss"
    lower_is_better: bool = True
    stop_at: int | None = None
    checkpointing: bool = False
    precision: str = "fp32"
    keep_all: bool = True  # every submitted snapshot is uploaded before training goes on

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = FileStore(self.folder / "store")
        self.model: Any = None
        self.reporter: Any = None
        self.writer: Any = None

    @property
    def training(self) -> Training:
        spec = {
            "maxSteps": 12,
            "learningRate": 0.01,
            "perDeviceBatchSize": 4,
            "gradientAccumulationSteps": 2,
            "saveEverySteps": 1,
            "logEverySteps": 2,
            "maxLength": 32,
            **self.settings,
        }
        if "epochs" in spec:
            del spec["maxSteps"]
        return Training.model_validate(spec)

    def __call__(self) -> Outcome:
        """Train from the newest checkpoint in the store, if there is one."""
        training = self.training
        self.model = self.make_model()
        if self.checkpointing:
            self.model.activation_checkpointing_enable()
        found = checkpoint.read_latest(self.store, self.folder)
        interrupt = Interrupt(30)
        self.reporter = Reporter(RUN, "pod-1", None, lambda: None)
        self.writer = _Writer(
            self.store,
            self.keep_last,
            lambda: None,
            lambda _: None,
            self.folder,
            found[1] if found else None,
        )
        self.writer.wait = self.keep_all
        if self.stop_at is not None:
            self.reporter.update = self._stopping(interrupt, self.reporter.update)
        session = Session(
            training=training,
            precision=Precision(self.precision),
            resolved=Resolved(
                batch_size=training.per_device_batch_size,
                gradient_checkpointing=self.checkpointing,
                packed=self.packing is not None,
                workers=training.dataloader_workers or 0,
                estimate=Estimate(),
                notes={},
            ),
            scratch=self.folder,
            interrupt=interrupt,
            reporter=self.reporter,
            writer=self.writer,
            on_tokens=lambda _: None,
            measure=self.measure,
            watched=self.watched,
            lower_is_better=self.lower_is_better,
            packing=self.packing,
            place="data.jsonl:{}".format,
        )
        torch.rand(3)  # what was drawn before must not matter
        outcome = train(
            self.model,
            self.objective,
            self.items,
            self.eval_items,
            session,
            found[0] if found else None,
        )
        assert self.writer.drain(60)
        return outcome

    def _stopping(self, interrupt: Interrupt, update: Any) -> Any:
        """SIGTERM comes while the step before `stop_at` ends."""

        def wrapped(**values: Any) -> None:
            update(**values)
            if values.get("step") == (self.stop_at or 0) - 1:
                interrupt._on_signal(15, None)

        return wrapped

    @property
    def weights(self) -> dict[str, Tensor]:
        return {n: p.detach() for n, p in self.model.named_parameters() if p.requires_grad}


class _Writer(CheckpointWriter):
    """Uploads each state before training goes on, so that none gives way."""

    wait = True

    def submit(self, snapshot: Snapshot, blocked_seconds: float) -> None:
        super().submit(snapshot, blocked_seconds)
        if self.wait:
            assert self.drain(60)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def course(outcome: Outcome) -> list[dict[str, float]]:
    """The journal without what clocks and processors say."""
    kept = ("step", "loss", "eval_loss", "learning_rate", "grad_norm", "epoch")
    return [{k: v for k, v in e.items() if k in kept} for e in outcome.journal.entries]
