"""What shapes the result of a fine-tuning run.

These fields, and the output's place, make a revision; the operator hands them to
the trainer as they are. A default never changes within an API version: defaults
are applied to stored objects, so a changed one would retrain every resource.
"""

from typing import ClassVar, Literal

from pydantic import Field

from luthier_api.dataset import TWO_COLUMNS, Dataset
from luthier_api.evaluation import (
    CALIBRATION_METRICS,
    CLASS_METRICS,
    ENTITY_METRICS,
    NUMBER_METRICS,
    PAIR_METRICS,
    PREFERENCE_METRICS,
    REWARD_METRICS,
    TEXT_METRICS,
    Evaluation,
)
from luthier_api.meta import Model, ObjectRef, Rule, SecretKeyRef
from luthier_api.methods import Bottleneck, Lora, Method, Quantization, VirtualTokens
from luthier_api.optimizers import WHOLE_WEIGHTS
from luthier_api.search import Search
from luthier_api.training import FSDP_METHODS, Training
from luthier_api.uris import MODEL_SCHEMES, OBJECT_RULES, Uri, scheme_rule

__all__ = [
    "Bottleneck",
    "Dataset",
    "Evaluation",
    "FineTuning",
    "Lora",
    "Method",
    "ModelSource",
    "Quantization",
    "Task",
    "Training",
    "VirtualTokens",
]


class AdapterSource(Model):
    """What the training goes on from, in place of new weights."""

    fine_tune_job_ref: ObjectRef | None = Field(
        default=None,
        description="A FineTuneJob of this namespace; its result in use is taken, and each newer "
        "one.",
    )
    uri: Uri | None = Field(
        default=None,
        description="Folder of an adapter, or of a FineTuneJob's result: s3://BUCKET/PREFIX.",
    )

    rules = (
        Rule(
            "has(self.fineTuneJobRef) != has(self.uri)",
            "name what the training goes on from: either fineTuneJobRef or uri",
        ),
        Rule(
            "!has(self.uri) || self.uri.startsWith('s3://') || self.uri.startsWith('file://')",
            "adapters are read from s3:// (file:// with `luthier run`): copy it there",
            field=".uri",
        ),
    )


class ModelSource(Model):
    """The base model."""

    uri: Uri = Field(
        description="Where the model is: a folder of safetensors with config and tokenizer. "
        "hf:// s3:// pvc:// file:// (file only where a pool allows it)."
    )
    revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Revision of a model on a hub; a commit hash makes the run reproducible.",
    )
    token_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The token for private or gated models and datasets on a hub."
    )
    adapter: AdapterSource | None = Field(
        default=None,
        description="Go on from an adapter on this base (of method full: from its model). The "
        "method and its settings must be those that it was trained with.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run the Python code that the model's folder brings. Needs the platform's "
        "consent too.",
    )

    rules = (
        scheme_rule("models", MODEL_SCHEMES),
        *OBJECT_RULES,
        Rule(
            "!self.uri.matches('(?i)[.](safetensors|gguf|bin|pt|pth|onnx|zip|tar|gz|tgz)$')",
            "a model is a folder with config.json, tokenizer and .safetensors: name the folder, "
            "not a file",
            field=".uri",
        ),
        Rule(
            "!has(self.revision) || self.uri.startsWith('hf://')",
            "revision is for models on a hub (hf://): remove it, or put the version into the URI's "
            "path",
            field=".revision",
        ),
        Rule(
            "!self.trustRemoteCode",
            "trustRemoteCode isn't built yet: use a model that transformers knows, and set it to "
            "false",
            field=".trustRemoteCode",
        ),
    )


Task = Literal[
    "generation",
    "classification",
    "regression",
    "extraction",
    "summarization",
    "similarity",
    "preference",
]

# Forms of examples that a language model learns: it says the answer in words.
_IN_WORDS = (
    "(has(self.dataset.template) || (has(self.dataset.columns) && "
    "(has(self.dataset.columns.prompt) || has(self.dataset.columns.messages) || "
    "has(self.dataset.columns.instruction))))"
)
# The same, where the loss is that of a text.
_LANGUAGE = f"(self.task != 'preference' && {_IN_WORDS})"
# Answers that are preferred or not: two to a prompt, or one by one.
_TWO_ANSWERS = "(has(self.dataset.columns) && has(self.dataset.columns.chosen))"
_ONE_ANSWER = (
    "(has(self.dataset.columns) && has(self.dataset.columns.prompt) && "
    "has(self.dataset.columns.label))"
)
_KTO = "(has(self.training.preference) && self.training.preference.objective == 'kto')"


def _metrics(names: tuple[str, ...], needs: str, message: str) -> Rule:
    """Refuses `names` unless the CEL expression `needs` holds."""
    listed = ", ".join(f"'{name}'" for name in names)
    return Rule(
        f"({needs}) || !self.evaluation.metrics.exists(m, m in [{listed}])",
        message,
        field=".evaluation.metrics",
    )


def _quoted(names: tuple[str, ...]) -> str:
    """A list in CEL."""
    return f"[{', '.join(repr(name) for name in names)}]"


class FineTuning(Model):
    """All that shapes a fine-tuned model, but for where it goes."""

    model: ModelSource = Field(description="The base model.")
    task: Task = Field(description="What the model is to do; decides how it is evaluated.")
    dataset: Dataset = Field(description="The examples.")
    method: Method = Field(default=Method(), description="How the base model is changed.")
    training: Training = Field(description="The optimisation.")
    evaluation: Evaluation = Field(default=Evaluation(), description="What is measured.")
    search: Search | None = Field(default=None, description="Hyper-parameter search.")

    rules: ClassVar[tuple[Rule, ...]] = (
        _metrics(
            CLASS_METRICS,
            "self.task == 'classification'",
            "accuracy, precision, recall and f1 need the task classification: change task, or "
            "measure what fits it",
        ),
        _metrics(
            ENTITY_METRICS,
            "self.task == 'extraction' && has(self.dataset.columns) && "
            "(has(self.dataset.columns.tags) || has(self.dataset.columns.spans))",
            "entity metrics need the task extraction with columns.tags or columns.spans: set them, "
            "or measure what fits",
        ),
        _metrics(
            TEXT_METRICS,
            f"self.task != 'classification' && {_LANGUAGE}",
            "exact_match, bleu, chrf and rouge compare generated text: they need the task "
            "generation, summarization or extraction, with a template, prompt and completion, or "
            "messages",
        ),
        _metrics(
            ("json_f1",),
            f"self.task == 'extraction' && {_IN_WORDS}",
            "json_f1 compares the fields of generated JSON objects: it needs the task extraction "
            "with a template, or prompt and completion",
        ),
        _metrics(
            PAIR_METRICS,
            "self.task == 'regression' || (self.task == 'similarity' && has(self.dataset.columns) "
            "&& has(self.dataset.columns.label))",
            "spearman and pearson need the task similarity with columns.label, or regression: "
            "change task, or measure what fits",
        ),
        _metrics(
            NUMBER_METRICS,
            "self.task == 'regression'",
            "mse and mae compare numbers: they need the task regression",
        ),
        _metrics(
            CALIBRATION_METRICS,
            "self.task == 'classification' && has(self.dataset.columns) && "
            "has(self.dataset.columns.label)",
            "ece compares how sure a head is of its class with how often it is right: it needs the "
            "task classification with columns.text and columns.label",
        ),
        _metrics(
            ("perplexity",),
            # The default metrics hold perplexity: where it means nothing it is left out.
            f"{_LANGUAGE} || self.evaluation.metrics == ['loss', 'perplexity']",
            "perplexity is a language model's: it needs a template, prompt and completion, or "
            "messages; measure loss",
        ),
        _metrics(
            PREFERENCE_METRICS,
            f"self.task == 'preference' && {_TWO_ANSWERS}",
            "preference_accuracy and preference_margin compare two answers: they need the task "
            "preference with columns.chosen and columns.rejected; measure what fits",
        ),
        _metrics(
            REWARD_METRICS,
            "self.task == 'preference'",
            "reward_accuracy, reward_margin and kl need the task preference: change task, or "
            "measure what fits it",
        ),
        _metrics(
            ("kl",),
            "self.method.type != 'full' && !has(self.model.adapter)",
            "kl compares with the model that the training begins with, token by token, which is "
            "there beside an adapter on the base: of method full, and of what goes on from an "
            "adapter, measure reward_margin",
        ),
        Rule(
            "self.evaluation.maxNewTokens == 128 || self.task == 'preference' || "
            "(self.task != 'classification' && "
            f"{_IN_WORDS})",
            "maxNewTokens is for generated answers, which classification, regression, similarity, "
            "tags and spans don't have: remove it",
            field=".evaluation.maxNewTokens",
        ),
        Rule(
            "!has(self.training.earlyStopping) || "
            "self.training.earlyStopping.metric == 'eval_loss' || "
            "(self.evaluation.metrics.exists(m, m == self.training.earlyStopping.metric) && "
            f"(self.training.earlyStopping.metric != 'perplexity' || {_LANGUAGE}))",
            "early stopping watches eval_loss or one of evaluation.metrics that this task has: "
            "add the metric there, or use eval_loss",
            field=".training.earlyStopping.metric",
        ),
        Rule(
            "self.task != 'classification' || !has(self.dataset.template) || "
            f"self.dataset.template.matches(r'{TWO_COLUMNS}')",
            "classification needs two columns in the template: what is classified, and last the "
            'label, e.g. "{text}\\nCategory: {label}"',
            field=".dataset.template",
        ),
        Rule(
            "self.task != 'classification' || has(self.dataset.template) || "
            "(has(self.dataset.columns) && has(self.dataset.columns.text) && "
            "(has(self.dataset.columns.label) || has(self.dataset.columns.labels)))",
            "classification needs columns.text and columns.label (or labels), or a template with "
            "the label last",
            field=".dataset.columns",
        ),
        Rule(
            "self.task != 'regression' || (has(self.dataset.columns) && "
            "has(self.dataset.columns.text) && has(self.dataset.columns.label))",
            "regression learns a number of a text: set columns.text and columns.label",
            field=".dataset.columns",
        ),
        Rule(
            "self.task != 'similarity' || (has(self.dataset.columns) && "
            "has(self.dataset.columns.first))",
            "similarity needs two texts in each row: set columns.first and columns.second",
            field=".dataset.columns",
        ),
        Rule(
            "self.task != 'extraction' || has(self.dataset.template) || "
            "(has(self.dataset.columns) && !has(self.dataset.columns.label) && "
            "!has(self.dataset.columns.labels) && !has(self.dataset.columns.first))",
            "extraction needs columns.tokens and columns.tags, columns.text and columns.spans, or "
            "a template whose last column holds the answer",
            field=".dataset.columns",
        ),
        Rule(
            f"!(self.task == 'generation' || self.task == 'summarization') || {_IN_WORDS}",
            "generation and summarization need a template, columns.prompt and "
            "columns.completion, columns.messages, or columns.instruction and columns.output",
            field=".dataset",
        ),
        Rule(
            "!has(self.training.similarity) || self.task == 'similarity'",
            "training.similarity is for the task similarity: remove it, or change task",
            field=".training.similarity",
        ),
        Rule(
            "!has(self.training.classification) || (self.task == 'classification' && "
            "has(self.dataset.columns) && has(self.dataset.columns.text))",
            "training.classification is for classes that a head learns: set task to "
            "classification, and columns.text and columns.label (or labels) in place of a "
            "template; or remove it",
            field=".training.classification",
        ),
        Rule(
            "self.task != 'similarity' || !has(self.dataset.columns) || "
            "has(self.dataset.columns.label) || has(self.training.loss) || "
            "(has(self.training.similarity) && "
            "self.training.similarity.objective == 'in_batch_negatives')",
            "cosine and contrastive learn from a label: set columns.label, or "
            "training.similarity.objective to in_batch_negatives",
            field=".dataset.columns",
        ),
        Rule(
            "!has(self.training.similarity) || "
            "self.training.similarity.objective != 'in_batch_negatives' || "
            "self.evaluation.batchSize != 1",
            "in_batch_negatives compares a text with the others of its batch, and the loss of one "
            "pair is always 0: raise evaluation.batchSize",
            field=".evaluation.batchSize",
        ),
        Rule(
            "!(self.task in ['similarity', 'regression'] || (has(self.dataset.columns) && "
            "has(self.dataset.columns.labels))) || self.training.labelSmoothing == 0.0",
            "label smoothing is for tokens and for one class of several, which similarity, "
            "regression and columns.labels don't have: remove labelSmoothing",
            field=".training.labelSmoothing",
        ),
        Rule(
            f"self.task != 'preference' || {_TWO_ANSWERS} || {_ONE_ANSWER}",
            "preference needs answers that are better and worse: set columns.chosen and "
            "columns.rejected, or columns.prompt, columns.completion and columns.label",
            field=".dataset.columns",
        ),
        Rule(
            f"self.task == 'preference' || !({_TWO_ANSWERS} || {_ONE_ANSWER})",
            "columns.chosen and columns.rejected, and prompt and completion with a label, are for "
            "the task preference: change task, or columns",
            field=".dataset.columns",
        ),
        Rule(
            f"self.task != 'preference' || !{_ONE_ANSWER} || {_KTO}",
            "only kto learns from answers one by one: set training.preference.objective to kto, or "
            "columns.chosen and columns.rejected",
            field=".dataset.columns",
        ),
        Rule(
            "!has(self.training.preference) || self.task == 'preference'",
            "training.preference is for the task preference: remove it, or change task",
            field=".training.preference",
        ),
        Rule(
            "self.task != 'preference' || self.training.labelSmoothing == 0.0",
            "labelSmoothing is for classes and tokens: remove it, or set "
            "training.preference.labelSmoothing",
            field=".training.labelSmoothing",
        ),
        Rule(
            "self.task != 'preference' || !has(self.training.loss)",
            "a loss of your own has no answers to compare: remove loss, or change task",
            field=".training.loss",
        ),
        Rule(
            "!has(self.search) || !(self.search.objective.metric in ['eval_loss', 'loss']) || "
            "!self.search.space.exists(path, path.startsWith('preference.'))",
            "settings of preference change what the loss measures, so that trials can't be "
            "compared by it: let search.objective.metric be preference_accuracy or reward_accuracy",
            field=".search.objective.metric",
        ),
        Rule(
            "!has(self.model.tokenSecretRef) || self.model.uri.startsWith('hf://') || "
            "self.dataset.uri.startsWith('hf://') || "
            "self.dataset.mix.exists(source, source.uri.startsWith('hf://'))",
            "tokenSecretRef is for models and datasets on a hub (hf://): remove it; S3 is read "
            "with storage.secretName",
            field=".model.tokenSecretRef",
        ),
        Rule(
            "self.training.packing != 'Always' || "
            "!(self.method.type == 'prompt' || self.method.type == 'prefix')",
            "the virtual tokens of prompt and prefix stand before a row, so that only the first of "
            "several examples in it would follow them: set packing to Auto or Never",
            field=".training.packing",
        ),
        Rule(
            "!has(self.method.full) || self.method.full.weights != 'bf16' || "
            "self.training.precision in ['auto', 'bf16']",
            "weights in bf16 are computed with in bf16: set precision to auto or bf16, or "
            "method.full.weights to fp32",
            field=".training.precision",
        ),
        Rule(
            "self.training.gradientCheckpointing != 'Always' || self.method.type != 'prefix'",
            "prefix tuning can't recompute activations: set gradientCheckpointing to Auto or Never",
            field=".training.gradientCheckpointing",
        ),
        Rule(
            f"self.training.parallel != 'fsdp' || self.method.type in {_quoted(FSDP_METHODS)}",
            "fsdp shares out the methods full and lora: set parallel to Auto or ddp, or take one "
            "of these",
            field=".training.parallel",
        ),
        Rule(
            "self.training.parallel != 'fsdp' || self.method.type != 'full' || "
            f"!(self.training.optimizer in {_quoted(WHOLE_WEIGHTS)})",
            "fsdp gives each process a part of each weight, and adafactor and optimisers of 8 "
            "bits go by whole ones: take adamw_torch, or set parallel to Auto or ddp",
            field=".training.optimizer",
        ),
        Rule(
            "self.training.parallel != 'fsdp' || self.method.type != 'full' || "
            "self.training.precision != 'fp16'",
            "full fine-tuning by fsdp computes in bf16 or fp32: set precision to auto, or parallel "
            "to Auto or ddp",
            field=".training.precision",
        ),
        Rule(
            "self.training.parallel != 'fsdp' || !has(self.search)",
            "each trial of a search is one process, which has nobody to share with: set parallel "
            "to Auto",
            field=".training.parallel",
        ),
        Rule(
            f"self.training.packing != 'Always' || {_LANGUAGE}",
            "packing joins texts of a language model: set packing to Auto",
            field=".training.packing",
        ),
        Rule(
            "self.dataset.longRows != 'Chunk' || self.task == 'generation'",
            "longRows Chunk is for texts that are learnt as a whole, which is the task "
            "generation: set task to it, or longRows to Cut or Refuse",
            field=".dataset.longRows",
        ),
        Rule(
            f"self.dataset.lossOn == 'Auto' || {_LANGUAGE}",
            "lossOn is for examples in words (template, prompt and completion, messages) whose "
            "loss counts tokens: remove it",
            field=".dataset.lossOn",
        ),
        Rule(
            "!has(self.training.evalEverySteps) || has(self.dataset.eval) || "
            "has(self.dataset.evalFraction)",
            "evalEverySteps needs rows to measure on: set dataset.evalFraction or dataset.eval",
            field=".training.evalEverySteps",
        ),
        Rule(
            "!has(self.training.neftuneNoiseAlpha) || "
            "!(self.method.type == 'prompt' || self.method.type == 'prefix')",
            "NEFTune's noise goes on the embeddings of the text: the methods prompt and prefix "
            "train their own; remove neftuneNoiseAlpha",
            field=".training.neftuneNoiseAlpha",
        ),
        Rule(
            "!has(self.search) || has(self.dataset.eval) || has(self.dataset.evalFraction)",
            "a search measures its trials on eval: set dataset.evalFraction or dataset.eval",
            field=".search",
        ),
        Rule(
            "!has(self.search) || self.search.objective.metric in ['eval_loss', 'loss'] || "
            "(self.evaluation.metrics.exists(m, m == self.search.objective.metric) && "
            f"(self.search.objective.metric != 'perplexity' || {_LANGUAGE}))",
            "a search looks for the best eval_loss or one of evaluation.metrics that this task "
            "has: add the metric there, or use eval_loss with direction minimize",
            field=".search.objective.metric",
        ),
        Rule(
            "!has(self.search) || !has(self.search.prune) || !has(self.training.maxSteps) || "
            "'maxSteps' in self.search.space || self.search.prune.minSteps < "
            "self.training.maxSteps",
            "the first rung comes after the last step, so that no trial would end early: lower "
            "minSteps, or raise training.maxSteps",
            field=".search.prune.minSteps",
        ),
    )
