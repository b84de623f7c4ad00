"""The stages that need torch: rows as tokens, the model, training; then results.py."""

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from luthier_api.result import RunResult
from luthier_trainer.data.examples import Example, Examples
from luthier_trainer.distributed.world import World
from luthier_trainer.errors import Interrupted, PeersLost, Superseded, measuring
from luthier_trainer.evaluation import metrics, script
from luthier_trainer.evaluation.measure import eval_metrics
from luthier_trainer.evaluation.memory import evaluation_bytes
from luthier_trainer.evaluation.progress import RowProgress
from luthier_trainer.finetune import inspection
from luthier_trainer.finetune.report import curves
from luthier_trainer.finetune.results import Results
from luthier_trainer.finetune.run import Run
from luthier_trainer.finetune.startfrom import fetch_start
from luthier_trainer.finetune.tokencache import TokenCache, shape_of
from luthier_trainer.log import log
from luthier_trainer.machine import device, memory
from luthier_trainer.machine.runtime import has_tcmalloc, resident_bytes, threads
from luthier_trainer.methods.apply import check_modules, trained_type, tune
from luthier_trainer.methods.merge import merging_bytes
from luthier_trainer.models import cache
from luthier_trainer.models.architecture import describe
from luthier_trainer.models.cache import BaseModel
from luthier_trainer.models.load import BaseSource, base_config, load_tokenizer
from luthier_trainer.models.precision import resolve_precision
from luthier_trainer.models.vocabulary import check_vocabulary
from luthier_trainer.objectives.causal import Causal
from luthier_trainer.objectives.choose import batching, choose
from luthier_trainer.objectives.items import lengths, were_estimated
from luthier_trainer.objectives.objective import Item
from luthier_trainer.objectives.outputlayer import remember_plain_head
from luthier_trainer.objectives.owntemplate import use_own_template
from luthier_trainer.objectives.packing import pack
from luthier_trainer.objectives.positions import positions_of
from luthier_trainer.objectives.specials import special_token_warnings
from luthier_trainer.objectives.tokens import pad_token
from luthier_trainer.objectives.unfold import unfolded
from luthier_trainer.pages.data import write_page
from luthier_trainer.pages.numbers import expected
from luthier_trainer.pod import usercode
from luthier_trainer.pod.attempts import Ledger
from luthier_trainer.storage.objectstore import ObjectStore
from luthier_trainer.training import checkpoint
from luthier_trainer.training.checkpoint import Snapshot
from luthier_trainer.training.checkpointwriter import CheckpointWriter
from luthier_trainer.training.journal import Journal
from luthier_trainer.training.rate import notes as rate_notes
from luthier_trainer.training.rate import with_rate
from luthier_trainer.training.resolve import resolve
from luthier_trainer.training.usercode import load_loss

if TYPE_CHECKING:
    from luthier_trainer.training.loop import Outcome

_PAGE = "report/data.html"

# By what decides how rows are read: those of train and eval as tokens, and what was found of them.
Encodings = dict[tuple[str, int], tuple[Sequence[Item], Sequence[Item], inspection.Inspection]]


@dataclass(frozen=True)
class Trying:
    """What a search asks of a training. `metric`: measured on eval at each evaluation, and handed
    to `goes_on` (session.py)."""

    metric: str
    goes_on: Callable[[int, Mapping[str, float]], bool]


class Stages:
    """What the stages of a fine-tuning share."""

    def __init__(
        self,
        run: Run,
        attempts: Ledger,
        output: ObjectStore,
        examples: Examples,
        folder: Path,
        *,
        target: ObjectStore | None = None,
        trial: Trying | None = None,
        encodings: Encodings | None = None,
        world: World | None = None,
    ) -> None:
        """`output`: where its checkpoints are; `target`: where the result goes, if not there too.

        `trial`: of a training that is one of a search's. `encodings`: kept of one for the next.
        `world`: the processes that train the model together.
        """
        self.run = run
        self.attempts = attempts
        self.output = output
        self.target = target or output
        self.trial = trial
        self.world = world or World()
        self._encodings = {} if encodings is None else encodings
        self.examples = examples
        self.folder = folder
        self.artifact = folder / "artifact"  # what will be published
        self.tuning = run.spec.fine_tuning

    def execute(
        self,
        base: BaseModel,
        model_folder: Path,
        details: Mapping[str, Any] = MappingProxyType({}),
    ) -> RunResult:
        """`details`: of the manifest. Raises TrainerError, Interrupted or Superseded."""
        self._prepare(base, model_folder)
        self._show()
        self._train()
        return Results(self, base, model_folder, details).execute()

    def train(self, base: BaseModel, model_folder: Path) -> "Outcome":
        """The training alone, whose checkpoints stay. Raises as `execute`."""
        self._prepare(base, model_folder)
        self._train()
        return self.outcome

    def _prepare(self, base: BaseModel, model_folder: Path) -> None:
        device.decide(self.run.spec.gpus)
        torch.set_num_threads(threads())
        started = time.monotonic()
        self._check_code()
        self._encode(model_folder)
        self._load(model_folder, base)
        allocator = "tcmalloc" if has_tcmalloc() else "the C library's malloc"
        log(
            f"loaded in {time.monotonic() - started:.1f} s, {torch.get_num_threads()} threads, "
            f"{allocator}"
        )

    def _check_code(self) -> None:
        """The user's code, before anything that costs."""
        loss, evaluation = self.tuning.training.loss, self.tuning.evaluation.script
        self.custom_loss = self.script = None
        if loss:
            source = usercode.source_of(loss, self.run.spec, "training.loss")
            self.custom_loss = load_loss(source, loss.entrypoint)
        if evaluation:
            self.script = usercode.source_of(evaluation, self.run.spec, "evaluation.script")
            script.load(self.script, evaluation.entrypoint)

    def _encode(self, model_folder: Path) -> None:
        """Rows as tokens, and what the user is told about them."""
        tuning = self.tuning
        self.tokenizer = load_tokenizer(model_folder)
        architecture = describe(model_folder)
        check_vocabulary(model_folder, self.tokenizer)
        use_own_template(self.tokenizer, self.run.spec)
        self.objective = choose(
            tuning,
            self.examples,
            self.tokenizer,
            architecture,
            positions=positions_of(base_config(model_folder)),
            custom=self.custom_loss,
            now=self.run.pod.began,
        )
        check_modules(tuning, model_folder, self.objective.head)
        self.examples = unfolded(self.objective, self.examples)
        special = special_token_warnings(self.objective, self.tokenizer)
        for warning in special:
            log(f"warning: model: {warning}")
        self.examples = replace(self.examples, warnings=[*self.examples.warnings, *special])
        self.values = metrics.chosen(tuning.evaluation.metrics, self.objective)
        self._check_gold(self.values, self.examples.reported)
        stopping = tuning.training.early_stopping
        self.watched, self.lower_is_better = metrics.watched(
            stopping.metric if stopping else "loss", self.objective
        )
        self.on_eval = [self.watched]
        if self.trial:
            sought, _ = metrics.watched(
                self.trial.metric, self.objective, "search.objective.metric"
            )
            self.on_eval = list(dict.fromkeys([self.watched, sought]))
        self._check_gold(self.on_eval, self.examples.watched)
        spec = self.run.spec
        self.cache = TokenCache(
            Path(spec.cache_dir, "tokens"),
            self.folder,
            shape_of(
                spec,
                self.examples,
                self.objective,
                self.tokenizer,
                model_folder,
                self.run.pod.began,
            ),
        )
        self._encode_rows()
        self.facts = self.inspection.complete(self.examples.facts)
        self.run.reporter.set(dataset=self.facts)

    def _encode_rows(self) -> None:
        """Once for all trainings of this process whose objective reads the rows alike."""
        key = (type(self.objective).__name__, self.objective.max_length)
        if known := self._encodings.get(key):
            self.items, self.eval_items, self.inspection = known
            return
        self.items = self.encoded("train", self.examples.train)
        self.inspection = found = inspection.inspect(self.objective, self.items)
        self.eval_items = self.encoded("watched", self.examples.watched)
        if self.tuning.dataset.long_rows == "Refuse":
            self._refuse_long_rows()
        self._encodings[key] = (self.items, self.eval_items, found)
        if found.truncated:
            share = 100 * found.truncated / len(found.lengths)
            log(
                f"warning: data: {share:.1f}% of the rows are longer than "
                f"{self.objective.max_length:,} tokens, up to {found.lengths.max():,}: cut"
            )
        for line in found.told:
            log(line)

    def encoded(self, part: str, examples: Sequence[Example]) -> Sequence[Item]:
        """Examples as tokens; `part`: train, watched or reported."""
        if part != "train":  # drawn
            part = f"{part} {self.tuning.evaluation.max_samples} {self.tuning.training.seed}"
        told = RowProgress(
            self.run.reporter, "Preparing rows", len(examples), self.run.interrupt.check
        )
        stage = self.run.reporter.progress.stage
        items = self.cache.items(part, self.objective, examples, told)
        self.run.reporter.update(stage=stage)
        return items

    def _refuse_long_rows(self) -> None:
        """Also those that the result is measured on, which are else encoded at the end."""
        for examples, items in (
            (self.examples.train, self.items),
            (self.examples.watched, self.eval_items),
            (self.examples.reported, self.encoded("reported", self.examples.reported)),
        ):
            if failure := inspection.check_whole(examples, items, self.objective.max_length):
                self.run.refuse_data()
                raise failure

    def _check_gold(self, values: Sequence[str], rows: Sequence[Example]) -> None:
        gold = [self.objective.gold(rows[index]) for index in range(len(rows))]
        metrics.check_gold(values, gold, [rows[i].place for i in range(len(rows))])

    def _load(self, model_folder: Path, base: BaseModel) -> None:
        """Base model and method, and what `auto` comes to."""
        wish = self.tuning.training
        kind = describe(model_folder).kind
        self.training = training = with_rate(wish, self.tuning.method.type, kind)
        weights = trained_type(self.tuning.method)
        # What is in bf16 is computed with in bf16.
        arithmetic = training.precision if weights == torch.float32 else "bf16"
        self.precision = resolve_precision(arithmetic, self.run.spec.gpus)
        self.autocast = self.precision.autocast
        self.source = BaseSource(
            folder=model_folder,
            head=self.objective.head,
            longest=max(max(lengths(self.items)), max(lengths(self.eval_items), default=0)),
            seed=training.seed,
            dropout=training.dropout,
            pad_id=pad_token(self.tokenizer),
        )
        found = checkpoint.read_latest(self.output, self.folder)
        self.snapshot: Snapshot | None = found[0] if found else None
        self.found_checkpoint = found[1] if found else None
        # A checkpoint has all that is trained: what the run began with may be gone since.
        start = None if found else self._start(base)
        self.tuned = tune(self.tuning, self.source, self.precision, start)
        self.kind = self.tuned.artifact
        if self.objective.head.auto_class.endswith("LM"):
            remember_plain_head(self.tuned.model, self.autocast)
        if self.custom_loss:
            self.custom_loss.to(self.tuned.model.device)
        self.memory_limit = memory.limit_bytes(self.run.spec.memory_bytes)
        kept = self.snapshot.document["resolved"] if self.snapshot else {}
        if self.snapshot and "lengths" not in kept and were_estimated(self.examples.train):
            # Its batches were others: who goes on says so.
            self.snapshot.document["environment"]["lengths"] = "estimated"
        if not self.world.is_first:  # the first one has measured what fits, and read the snapshot
            kept = self._follow()
        batches = batching(
            self.tuning,
            self.objective,
            self.tuned.model,
            on_gpu=device.on_gpu(),
            autocast=self.autocast,
            kept=kept.get("packing"),
        )
        if batches != "padded":
            assert isinstance(self.objective, Causal)
            self.objective = self.objective.without_padding()
        self.resolved = resolve(
            self.tuned.model,
            self.objective,
            self.items,
            training,
            self.precision,
            self.memory_limit,
            batching=batches,
            may_checkpoint=self.tuning.method.type != "prefix",
            kept=kept,
            evaluation=evaluation_bytes(
                self.tuned.model,
                self.objective,
                self.eval_items,
                self.tuning.evaluation.batch_size,
                self.tuning.evaluation.max_new_tokens,
                self.precision.dtype,
            ),
            machine=memory.machine_bytes(self.run.spec.memory_bytes),
            processes=self.world.size,
        )
        if self.world.is_first:
            self.world.share({"step": self._resumed_step, "kept": self.resolved.kept})
        if self.tuning.method.merge:
            self._expect_merge(model_folder)
        self.notes = {
            "precision": self.precision.name,
            "threads": str(torch.get_num_threads()),
            **rate_notes(wish, training),
            **self.resolved.notes,
            **self.tuned.resolved,
        }
        if self.objective.max_length < training.max_length:
            self.notes["maxLength"] = str(self.objective.max_length)
            log(f"maxLength is {self.objective.max_length:,}: the model reads no more")
        self.run.reporter.set(estimate=self.resolved.estimate, resolved=self.notes)

    @property
    def _resumed_step(self) -> int:
        return self.snapshot.step if self.snapshot else 0

    def _follow(self) -> dict[str, str]:
        """What the first process resolved. Raises Interrupted where it goes on from another
        checkpoint: it may be the only one that could read the newest."""
        told = self.world.share()
        if told["step"] != self._resumed_step:
            log(f"the first process goes on from step {told['step']}, not {self._resumed_step}")
            raise PeersLost
        kept: dict[str, str] = told["kept"]
        return kept

    def _start(self, base: BaseModel) -> Path | None:
        """The weights that the training begins with, where it goes on from earlier ones."""
        start = self.run.pod.started_from
        if start is None:
            return None
        digest = cache.digest(self.source.folder, base)
        return fetch_start(start, self.run.spec, self.objective.head, digest, self.folder / "start")

    def release(self) -> None:
        """Let the tuned model go: it is saved, and another one needs its memory."""
        del self.tuned
        gc.collect()
        if device.on_gpu():
            torch.cuda.empty_cache()

    def _expect_merge(self, model_folder: Path) -> None:
        """What merging will need of the machine's memory at the end."""
        needed = resident_bytes() + merging_bytes(model_folder)
        room = memory.machine_bytes(self.run.spec.memory_bytes)
        told = f"merging at the end needs about {needed / 1e9:.1f} GB of the machine's memory"
        if needed > room:
            log(
                f"warning: {told}, and there are {room / 1e9:.1f} GB: use a pool with more memory, "
                "or set method.merge to false and merge the adapter elsewhere"
            )
        else:
            log(told)
        if not device.on_gpu():
            estimate = self.resolved.estimate
            most = max(needed, estimate.memory_bytes or 0)
            self.resolved = replace(
                self.resolved, estimate=estimate.model_copy(update={"memory_bytes": most})
            )

    def _show(self) -> None:
        """What was found of the data and what training will need, to be read while it trains."""
        needs = expected(self.resolved.estimate, self.memory_limit)
        log(f"expected: {needs}")
        page = self.artifact / _PAGE
        write_page(
            page,
            self.examples,
            self.facts,
            self.inspection.lengths,
            self.inspection.shown,
            self.inspection.told,
            max_length=self.objective.max_length,
            expected=needs,
        )
        self.attempts.fence()
        self.target.upload(_PAGE, page)

    def _train(self) -> None:
        from luthier_trainer.training.loop import train
        from luthier_trainer.training.session import Packing, Session

        rows = inspection.rows_of(self.items)
        resumed = self._resumed_step
        self.attempts.resume_from(resumed)
        if self.snapshot:
            log(f"going on from the checkpoint of step {resumed}")
            self.run.reporter.set(resumed_from_step=resumed)
        self.run.writer = CheckpointWriter(
            self.output,
            self.run.spec.checkpoints.keep_last,
            self.attempts.fence,
            self._on_checkpoint,
            self.folder,
            self.found_checkpoint,
            self.run.interrupt.seconds_left(),
        )
        session = Session(
            training=self.training,
            precision=self.precision,
            resolved=self.resolved,
            scratch=self.folder,
            interrupt=self.run.interrupt,
            reporter=self.run.reporter,
            writer=self.run.writer,
            on_tokens=self._on_tokens,
            measure=self._measure_eval,
            watched=self.watched,
            lower_is_better=self.lower_is_better,
            place=lambda index: self.examples.train[int(rows[index])].place,
            packing=Packing(pack, self.objective.collate) if self.resolved.packed else None,
            goes_on=self.trial.goes_on if self.trial else None,
            world=self.world,
        )
        self.run.reporter.stage("Training")
        outcome = train(
            self.tuned.model, self.objective, self.items, self.eval_items, session, self.snapshot
        )
        self.snapshot = None
        self.outcome = outcome
        rate = outcome.trained_tokens / max(outcome.seconds, 1e-9)
        log(f"trained to step {outcome.step} in {outcome.seconds:.1f} s, {rate:.0f} tokens/s")
        if outcome.stopped or self.run.interrupt.requested:
            raise Superseded if self.run.interrupt.superseded else Interrupted
        estimate = self.resolved.estimate.model_copy(
            update={
                "measured_memory_bytes": outcome.peak_memory_bytes,
                "measured_duration_seconds": outcome.learning_seconds,
            }
        )
        self.run.reporter.set(estimate=estimate)

    def _measure_eval(self, model: Any, items: Sequence[Item]) -> Mapping[str, float]:
        batch_size = self.tuning.evaluation.batch_size
        with measuring(batch_size):
            found = eval_metrics(
                model,
                self.objective,
                items,
                self.examples.watched,
                self.on_eval,
                batch_size=batch_size,
                autocast=self.autocast,
                on_rows=RowProgress(
                    self.run.reporter,
                    "Evaluating",
                    math.ceil(len(items) / self.world.size),
                    self.run.interrupt.check,
                ),
                world=self.world,
            )
        self.run.reporter.update(stage="Training")
        return found

    def _on_tokens(self, count: int) -> None:
        self.run.pod.trained_tokens = count

    def _on_checkpoint(self, snapshot: Snapshot) -> None:
        """In the writer's thread: what else is to be seen in storage after a checkpoint."""
        writer = self.run.writer
        assert writer
        journal = Journal(snapshot.document["journal"])
        for name, content in curves(journal).items():
            self.output.write(f"report/{name}", content)
        self.attempts.advance(snapshot.step, self.run.pod.usage())
        self.run.reporter.set(
            checkpoints=writer.refs, checkpoint_cost=writer.cost, usage=self.attempts.usage
        )
