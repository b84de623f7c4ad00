"""Whether a step is that of transformers.Trainer: the same batches, settings and weights end as
the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from unit.trainer.training_runs import Fit, causal_loss, course, llama, lora_llama, rows

from luthier_trainer.training.loader import Loader, take_rows
from luthier_trainer.training.session import Session


class _Reference:
    """Trains on the batches of a session with the loop of transformers."""

    def __init__(self, fit: Fit, folder: Path) -> None:
        self._fit, self._folder = fit, folder
        self.losses: list[float] = []

    def __call__(self, loader: Loader, session: Session) -> Any:
        from transformers import Trainer, TrainingArguments

        training, fit, losses = session.training, self._fit, self.losses

        class Reference(Trainer):  # type: ignore[misc]
            def get_train_dataloader(self) -> Any:
                return loader

            def compute_loss(self, model: Any, inputs: Any, *_: Any, **more: Any) -> Any:
                return causal_loss(model, inputs, more["num_items_in_batch"])

            def get_batch_samples(self, batches: Any, count: int, device: Any) -> Any:
                found = [next(batches) for _ in range(count)]
                for batch in found:
                    take_rows(batch)
                targets = sum(fit.objective.count_targets(batch) for batch in found)
                return found, torch.tensor(targets)

            def log(self, logs: dict[str, float], *_: Any) -> None:
                losses.extend([logs["loss"]] if "loss" in logs else [])

        model = fit.make_model()
        options = {"num_train_epochs": training.epochs} if training.epochs else {}
        trainer = Reference(
            model=model,
            train_dataset=list(fit.items),
            args=TrainingArguments(
                output_dir=str(self._folder),
                use_cpu=True,
                bf16=session.precision.name == "bf16",
                max_steps=training.max_steps or -1,
                learning_rate=training.learning_rate,
                lr_scheduler_type=training.scheduler,
                warmup_steps=training.warmup_ratio,
                # In one kernel, as ours.
                optim=training.optimizer.replace("adamw_torch", "adamw_torch_fused"),
                weight_decay=training.weight_decay,
                max_grad_norm=training.max_grad_norm,
                gradient_accumulation_steps=training.gradient_accumulation_steps,
                seed=training.seed,
                logging_steps=training.log_every_steps,
                logging_first_step=True,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                **options,
            ),
        )
        trainer.model_accepts_loss_kwargs = True
        trainer.train()
        return model


@pytest.mark.parametrize(
    ("make_model", "settings", "precision"),
    [
        (llama, {}, "fp32"),
        (lora_llama, {"weightDecay": 0.1, "scheduler": "cosine", "warmupRatio": 0.3}, "fp32"),
        (lora_llama, {"maxGradNorm": 0}, "bf16"),
        (lambda: llama(0.2), {"epochs": 1.5, "gradientAccumulationSteps": 4}, "fp32"),
        (llama, {"optimizer": "adafactor", "scheduler": "polynomial"}, "fp32"),
        (llama, {"optimizer": "sgd", "scheduler": "inverse_sqrt", "maxGradNorm": 0.1}, "fp32"),
        (llama, {"optimizer": "adamw_bnb_8bit", "weightDecay": 0.1}, "fp32"),
        (llama, {"optimizer": "paged_ademamix_32bit"}, "fp32"),
        (llama, {"optimizer": "lion_8bit", "learningRate": 0.001}, "fp32"),
        (llama, {"optimizer": "rmsprop_bnb"}, "fp32"),
    ],
)
def test_the_weights_are_those_of_the_trainer(
    make_model: Callable[[], Any],
    settings: dict[str, Any],
    precision: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from luthier_trainer.training import loop

    fit = Fit(
        tmp_path / "ours",
        make_model=make_model,
        settings={"logEverySteps": 1, **settings},
        items=rows(26),
        precision=precision,
    )
    reference = _Reference(fit, tmp_path / "theirs")
    made: list[tuple[Loader, Session]] = []
    make_loader = loop.train_loader

    def seen(items: Any, objective: Any, session: Session, per_step: int) -> Loader:
        made.append((make_loader(items, objective, session, per_step), session))
        return make_loader(items, objective, session, per_step)

    monkeypatch.setattr(loop, "train_loader", seen)
    ours = fit()
    loader, session = made[0]
    loader.set_epoch = loader.begin  # type: ignore[attr-defined] # as the Trainer calls it
    theirs = reference(loader, session)
    assert [entry["loss"] for entry in course(ours)] == pytest.approx(reference.losses, rel=1e-6)
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(fit.weights[name], parameter.detach(), rtol=1e-6, atol=1e-7)
