"""The stages that need torch: load, train, evaluate, publish."""

import time
from pathlib import Path
from typing import Any

import torch

from luthier_api.finetunejob import EvaluationResult
from luthier_api.result import RunResult
from luthier_trainer import checkpoint, modelcache, publish
from luthier_trainer.attempts import Attempts
from luthier_trainer.checkpoint import Snapshot
from luthier_trainer.checkpointwriter import CheckpointWriter
from luthier_trainer.data import Example, Examples
from luthier_trainer.errors import Interrupted, Superseded
from luthier_trainer.evaluate import Evaluator, chosen, generate, label_completions
from luthier_trainer.journal import Journal
from luthier_trainer.log import log
from luthier_trainer.loss import takes_logits_to_keep
from luthier_trainer.model import load_model, load_tokenizer, resolve_precision
from luthier_trainer.modelcache import BaseModel
from luthier_trainer.objectstore import ObjectStore
from luthier_trainer.report import curves, write_report
from luthier_trainer.run import Run
from luthier_trainer.runtime import cpu_limit
from luthier_trainer.tokens import Encoder, Tokens, learns_prompt

_SAMPLES = 3


class Stages:
    """What the stages of a fine-tuning share."""

    def __init__(
        self, run: Run, attempts: Attempts, output: ObjectStore, examples: Examples, folder: Path
    ) -> None:
        self.run = run
        self.attempts = attempts
        self.output = output
        self.examples = examples
        self.folder = folder
        self.tuning = run.spec.fine_tuning

    def execute(self, base: BaseModel, model_folder: Path) -> RunResult:
        """Raises TrainerError, Interrupted or Superseded."""
        torch.set_num_threads(cpu_limit())
        started = time.monotonic()
        self.tokenizer = load_tokenizer(model_folder)
        self.encoder = Encoder(
            self.tokenizer,
            self.tuning.training.max_length,
            learns_prompt(self.tuning.dataset.loss_on, self.tuning.task),
        )
        rows = self.encoder.encode(self.examples.train)
        eval_rows = self.encoder.encode(self.examples.eval)
        if self.encoder.truncated:
            log(f"warning: data: {self.encoder.truncated} rows are longer than maxLength: cut")
        self.precision = resolve_precision(self.tuning.training.precision, self.run.spec.gpus)
        longest = max(len(row) for row in [*rows, *eval_rows])
        self.model = load_model(model_folder, self.tuning, self.precision, longest)
        self.evaluator = self._evaluator()
        log(f"loaded in {time.monotonic() - started:.1f} s, {torch.get_num_threads()} threads")

        self._train(rows, eval_rows)
        samples = self._evaluate()
        return self._publish(base, model_folder, samples)

    def _evaluator(self) -> Evaluator:
        template = self.examples.template
        labels = self.examples.labels
        ids = self.encoder.ids([template.completion(label) for label in labels])
        eos = self.tokenizer.eos_token_id
        autocast = None if self.precision.name == "fp32" else self.precision.dtype
        return Evaluator(
            batch_size=self.tuning.evaluation.batch_size,
            pad_id=eos if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id,
            sparse=takes_logits_to_keep(self.model.get_base_model()),
            autocast_dtype=autocast,
            labels=label_completions(dict(zip(labels, ids, strict=True)), eos),
        )

    def _train(self, rows: list[Tokens], eval_rows: list[Tokens]) -> None:
        # Brings the training loop of transformers, the slowest import of all.
        from luthier_trainer.finetune import train
        from luthier_trainer.watch import Session

        found = checkpoint.read_latest(self.output)
        snapshot, ref = found or (None, None)
        resumed = snapshot.step if snapshot else 0
        self.attempts.resume_from(resumed)
        if snapshot:
            log(f"going on from the checkpoint of step {resumed}")
            self.run.reporter.set(resumed_from_step=resumed)
        writer = CheckpointWriter(
            self.output,
            self.run.spec.checkpoints.keep_last,
            self.attempts.fence,
            self._on_checkpoint,
            ref,
        )
        self.run.writer = writer
        session = Session(
            training=self.tuning.training,
            precision=self.precision,
            scratch=self.folder,
            evaluator=self.evaluator,
            interrupt=self.run.interrupt,
            reporter=self.run.reporter,
            writer=writer,
            on_tokens=self._on_tokens,
        )
        self.run.reporter.stage("Training")
        outcome = train(self.model, rows, eval_rows, session, snapshot)
        self.journal = outcome.journal
        rate = outcome.trained_tokens / max(outcome.seconds, 1e-9)
        log(f"trained to step {outcome.step} in {outcome.seconds:.1f} s, {rate:.0f} tokens/s")
        if self.run.interrupt.requested:
            if self.run.interrupt.superseded:
                raise Superseded
            raise Interrupted
        self.total_steps = outcome.total_steps

    def _on_tokens(self, count: int) -> None:
        self.run.trained_tokens = count

    def _on_checkpoint(self, snapshot: Snapshot) -> None:
        """In the writer's thread: what else is to be seen in storage after a checkpoint."""
        writer = self.run.writer
        assert writer
        journal = Journal(snapshot.document["journal"])
        for name, content in curves(journal).items():
            self.output.write(f"report/{name}", content)
        self.attempts.advance(snapshot.step, self.run.usage())
        self.run.reporter.set(
            checkpoints=writer.refs, checkpoint_cost=writer.cost, usage=self.attempts.usage
        )

    def _evaluate(self) -> list[dict[str, Any]]:
        """Measure base and tuned model; returns the samples."""
        split = self.examples.report_split
        if split is None:
            log("warning: neither eval nor test rows: the result is not measured")
            return []
        self.run.reporter.stage("Evaluating")
        started = time.monotonic()
        rows = self.examples.test if split == "test" else self.examples.eval
        rows = rows[: self.tuning.evaluation.max_samples]
        tokens = self.encoder.encode(rows)
        expected = [example.label for example in rows]
        with self.model.disable_adapter():
            base, base_labels = self.evaluator.metrics(self.model, tokens, expected)
            base_answers = self._answers(tokens, base_labels)
        tuned, tuned_labels = self.evaluator.metrics(self.model, tokens, expected)
        tuned_answers = self._answers(tokens, tuned_labels)
        names = self.tuning.evaluation.metrics
        self.run.evaluation = EvaluationResult(
            split=split,
            examples=len(rows),
            base=chosen(base, names),
            tuned=chosen(tuned, names),
        )
        self.run.reporter.set(evaluation=self.run.evaluation)
        for name in self.run.evaluation.tuned:
            log(f"{name}: base {base[name]:.4f}, tuned {tuned[name]:.4f}")
        log(f"evaluated {len(rows)} {split} rows twice in {time.monotonic() - started:.1f} s")
        return [
            _sample(example, before, after)
            for example, before, after in zip(rows, base_answers, tuned_answers, strict=False)
        ]

    def _answers(self, tokens: list[Tokens], labels: list[str]) -> list[str]:
        """The model's answers to the first rows."""
        if self.examples.labels:
            return labels[:_SAMPLES]
        limit = self.tuning.evaluation.max_new_tokens
        return [generate(self.model, self.tokenizer, t.prompt, limit) for t in tokens[:_SAMPLES]]

    def _publish(
        self, base: BaseModel, model_folder: Path, samples: list[dict[str, Any]]
    ) -> RunResult:
        self.run.reporter.stage("Publishing")
        spec = self.run.spec
        base_digest = modelcache.digest(model_folder, base)
        lora = self.model.peft_config["default"]
        artifact = self.folder / "artifact"
        publish.save_adapter(
            self.model, self.tokenizer, artifact / "adapter", spec.fine_tuning.model.uri
        )
        write_report(
            artifact,
            spec,
            self.journal,
            self.run.evaluation,
            samples,
            {
                "base_digest": base_digest,
                "dataset_digest": self.examples.digest,
                "summary": self.examples.summary,
                "targets": ", ".join(f"`{name}`" for name in sorted(lora.target_modules)),
                "steps": self.total_steps,
            },
        )
        writer = self.run.writer
        assert writer
        writer.drain(spec.storage.retry_seconds + 60)
        self.attempts.end("Succeeded", None, self.run.usage())
        details = {
            "baseModel": {"uri": spec.fine_tuning.model.uri, "digest": base_digest},
            "datasetDigest": self.examples.digest,
            "datasetWarnings": self.examples.warnings,
            "checkpointCost": writer.cost.to_json(),
            "resolved": {
                "precision": self.precision.name,
                "targetModules": sorted(lora.target_modules),
                "threads": torch.get_num_threads(),
                "truncatedRows": self.encoder.truncated,
            },
        }
        result = self.run.result("Succeeded")
        ref = publish.publish(self.output, artifact, spec, details, result, self.attempts.fence)
        log(f"published {ref.uri}")
        self.run.reporter.stage("Done")
        self.run.reporter.close()
        return result.model_copy(update={"artifact": ref, "progress": self.run.reporter.progress})


def _sample(example: Example, base: str, tuned: str) -> dict[str, Any]:
    return {
        "prompt": example.text.prompt,
        "expected": example.text.completion.strip(),
        "base": base.strip(),
        "tuned": tuned.strip(),
    }
