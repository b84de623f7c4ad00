"""Fields that are right by themselves, and wrong together: nothing is dropped in silence."""

from typing import Any

from contract.manifests import REMOVED
from contract.wrong import Wrong, wrong

from luthier_api.optimizers import NEEDS_GPU, REFUSED

_CODE = {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": "Code"}


def _columns(**columns: str) -> dict[str, Any]:
    """Columns in place of the template."""
    return {"dataset.template": REMOVED, "dataset.columns": columns}


_WORDS = {"task": "generation"}
_CLASSES = _columns(text="phrase", label="tone")
_TAGS = {"task": "extraction", **_columns(tokens="words", tags="tags")}
_PAIRS = {"task": "similarity", **_columns(first="one", second="other", label="score")}
_UNLABELLED = {"task": "similarity", **_columns(first="one", second="other")}

_SOURCES = [
    wrong("claim", {"model.uri": "pvc://My_Claim/m"}, "spec.model.uri", "a PersistentVolumeClaim"),
    wrong("claim of data", {"dataset.uri": "pvc://_/a.csv"}, "spec.dataset.uri", "pvc://CLAIM"),
    wrong("ConfigMap", {"dataset.uri": "configmap://data"}, "dataset.uri", "configmap://NAME/KEY"),
    wrong(
        "path in a ConfigMap",
        {"dataset.uri": "configmap://data/a/b.csv"},
        "spec.dataset.uri",
        "one of its keys",
    ),
    wrong(
        "key without a format",
        {"dataset.uri": "configmap://data/rows"},
        "spec.dataset.uri",
        "end the URI with .jsonl",
    ),
    wrong(
        "page of the web",
        {"dataset.uri": "https://example.com/data"},
        "spec.dataset.uri",
        "name one file",
    ),
    wrong("zip", {"dataset.uri": "s3://data/a.zip"}, "spec.dataset.uri", "convert it to .jsonl"),
    wrong("text.gz", {"dataset.uri": "s3://data/a.txt.gz"}, "dataset.uri", "convert it to .jsonl"),
    wrong(
        "Parquet packed twice",
        {"dataset.uri": "s3://data/a.parquet.gz"},
        "spec.dataset.uri",
        "or .parquet",
    ),
    wrong("data from nowhere", {"dataset.uri": "gs://data/a.csv"}, "dataset.uri", "copy it to one"),
    wrong("dataset's revision", {"dataset.revision": "main"}, "dataset.revision", "remove it"),
    wrong(
        "mixed with a sheet",
        {"dataset.mix": [{"uri": "s3://data/b.xlsx"}]},
        "spec.dataset.mix[0].uri",
        "convert it to .jsonl",
    ),
    wrong(
        "mixed with nothing of it",
        {"dataset.mix": [{"uri": "s3://data/b.csv", "weight": 0}]},
        "spec.dataset.mix[0].weight",
        "greater than 0",
    ),
    wrong(
        "token without a hub",
        {"model.tokenSecretRef": {"name": "hub", "key": "token"}},
        "spec.model.tokenSecretRef",
        "storage.secretName",
    ),
    wrong(
        "key of a Secret",
        {"model.uri": "hf://org/m", "model.tokenSecretRef": {"name": "hub", "key": "the token"}},
        "spec.model.tokenSecretRef.key",
        "a key holds",
    ),
]

_FORMS = [
    wrong(
        "template and columns",
        {"dataset.columns": {"text": "phrase", "label": "tone"}},
        "spec.dataset.template",
        "either template",
    ),
    wrong(
        "prompt alone",
        {**_WORDS, **_columns(prompt="question")},
        "spec.dataset.columns",
        "prompt and completion",
    ),
    wrong(
        "messages and label",
        _columns(messages="chat", label="tone"),
        "spec.dataset.columns",
        "columns that go together",
    ),
    wrong("no columns", _columns(), "spec.dataset.columns", "columns that go together"),
    wrong(
        "column of a sentence",
        _columns(text="the phrase", label="tone"),
        "spec.dataset.columns.text",
        "rename the column",
    ),
    wrong(
        "classes of a conversation",
        _columns(messages="chat"),
        "spec.dataset.columns",
        "columns.text and columns.label",
    ),
    wrong(
        "similarity by a template",
        {"task": "similarity"},
        "spec.dataset.columns",
        "columns.first and columns.second",
    ),
    wrong(
        "extraction of classes",
        {**_CLASSES, "task": "extraction"},
        "spec.dataset.columns",
        "columns.tokens and columns.tags",
    ),
    wrong(
        "summary of classes",
        {**_CLASSES, "task": "summarization"},
        "spec.dataset",
        "columns.completion",
    ),
    wrong(
        "pairs without a label",
        _UNLABELLED,
        "spec.dataset.columns",
        "in_batch_negatives",
    ),
    wrong(
        "loss on the completion of a class",
        {**_CLASSES, "dataset.lossOn": "Completion"},
        "spec.dataset.lossOn",
        "remove it",
    ),
]

_METHODS = [
    wrong(
        "rank of a full run",
        {"method": {"type": "full", "lora": {"rank": 8}}},
        "spec.method.lora",
        "the types lora and qlora",
    ),
    wrong(
        "modules of IA3",
        {"method": {"type": "ia3", "lora": {"targetModules": ["q_proj"]}}},
        "spec.method.lora",
        "the types lora and qlora",
    ),
    wrong(
        "ranks of a prompt",
        {"method": {"type": "prompt", "lora": {"rankPattern": {"q_proj": 4}}}},
        "spec.method.lora",
        "remove it, or change type",
    ),
    wrong(
        "pattern of an adapter",
        {"method": {"type": "adapter", "lora": {"targetPattern": ".*q_proj"}}},
        "spec.method.lora",
        "remove it, or change type",
    ),
    wrong(
        "modules and pattern",
        {"method.lora": {"targetModules": ["q_proj"], "targetPattern": ".*v_proj"}},
        "spec.method.lora.targetPattern",
        "keep one",
    ),
    wrong(
        "quantised LoRA",
        {"method.quantization": {"type": "nf4"}},
        "spec.method.quantization",
        "set type to qlora",
    ),
    wrong(
        "quantised to 8 bits",
        {"method": {"type": "qlora", "quantization": {"type": "int8"}}},
        "spec.method.quantization.type",
        '"nf4"',
    ),
    wrong(
        "adapter beside LoRA",
        {"method.adapter": {"placement": "houlsby"}},
        "spec.method.adapter",
        "set type to adapter",
    ),
    wrong(
        "virtual tokens of LoRA",
        {"method.virtualTokens": {"count": 8}},
        "spec.method.virtualTokens",
        "the types prefix and prompt",
    ),
    *(
        wrong(
            f"merged {kind}",
            {"method": {"type": kind, "merge": True}},
            "spec.method.merge",
            "set merge to false",
        )
        for kind in ("full", "adapter", "prefix", "prompt")
    ),
    wrong(
        "fp16 base on CPU",
        {"method": {"type": "qlora", "quantization": {"computeType": "fp16"}}},
        "spec.method.quantization.computeType",
        "set placement.gpus",
    ),
    *(
        wrong(
            f"packed {kind}",
            {**_WORDS, "method.type": kind, "training.packing": "Always"},
            "spec.training.packing",
            "Auto or Never",
        )
        for kind in ("prompt", "prefix")
    ),
    wrong(
        "recomputed prefix",
        {"method.type": "prefix", "training.gradientCheckpointing": "Always"},
        "spec.training.gradientCheckpointing",
        "Auto or Never",
    ),
    wrong(
        "noise on a prompt",
        {"method.type": "prompt", "training.neftuneNoiseAlpha": 5},
        "spec.training.neftuneNoiseAlpha",
        "remove neftuneNoiseAlpha",
    ),
]

_OPTIMISATION = [
    *(
        wrong(
            f"batch size {size}",
            {"training.perDeviceBatchSize": size},
            "spec.training.perDeviceBatchSize",
            "write a number from 1 to 4096, or auto",
        )
        for size in (0, 5000, "large", "8")
    ),
    wrong(
        "half a row",
        {"training.perDeviceBatchSize": 1.5},
        "spec.training.perDeviceBatchSize",
        "integer",
    ),
    *(
        wrong(name, {"training.optimizer": name}, "spec.training.optimizer", reason)
        for name, reason in REFUSED.items()
    ),
    *(
        wrong(
            f"{name} on CPU",
            {"training.optimizer": name},
            "spec.training.optimizer",
            "or set placement.gpus",
        )
        for name in sorted(NEEDS_GPU - REFUSED.keys())
    ),
    wrong(
        "stops without looking",
        {"training.earlyStopping": {}},
        "spec.training.earlyStopping",
        "set evalEverySteps",
    ),
    wrong(
        "stops by what isn't measured",
        {"training.evalEverySteps": 10, "training.earlyStopping": {"metric": "f1"}},
        "spec.training.earlyStopping.metric",
        "add the metric there",
    ),
    wrong(
        "stops by perplexity of classes",
        {
            **_CLASSES,
            "training.evalEverySteps": 10,
            "training.earlyStopping": {"metric": "perplexity"},
        },
        "spec.training.earlyStopping.metric",
        "use eval_loss",
    ),
    wrong(
        "plateau without looking",
        {"training.scheduler": "reduce_lr_on_plateau"},
        "spec.training.scheduler",
        "set evalEverySteps",
    ),
    wrong(
        "plateau with warm-up",
        {
            "training.scheduler": "reduce_lr_on_plateau",
            "training.evalEverySteps": 10,
            "training.warmupRatio": 0.1,
        },
        "spec.training.warmupRatio",
        "remove warmupRatio",
    ),
    *(
        wrong(
            f"{option} of a cosine",
            {"training.schedulerOptions": {option: value}},
            f"spec.training.schedulerOptions.{option}",
            "remove it, or change scheduler",
        )
        for option, value in (
            ("minLearningRate", 1e-5),
            ("cycles", 2),
            ("power", 2),
            ("decayRatio", 0.1),
        )
    ),
    *(
        wrong(
            f"{scheduler} without {option}",
            {"training.scheduler": scheduler},
            "spec.training.scheduler",
            f"schedulerOptions.{option}",
        )
        for scheduler, option in (
            ("cosine_with_min_lr", "minLearningRate"),
            ("cosine_warmup_with_min_lr", "minLearningRate"),
            ("warmup_stable_decay", "decayRatio"),
        )
    ),
    wrong(
        "ends above its peak",
        {
            "training.scheduler": "cosine_with_min_lr",
            "training.schedulerOptions": {"minLearningRate": 0.1},
        },
        "spec.training.schedulerOptions.minLearningRate",
        "below learningRate",
    ),
    wrong(
        "more than all steps",
        {
            "training.scheduler": "warmup_stable_decay",
            "training.warmupRatio": 0.6,
            "training.schedulerOptions": {"decayRatio": 0.6},
        },
        "spec.training.schedulerOptions.decayRatio",
        "lower one",
    ),
    wrong(
        "smoothed loss of one's own",
        {"training.loss": _CODE, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
    wrong(
        "packed loss of one's own",
        {**_WORDS, "training.loss": _CODE, "training.packing": "Always"},
        "spec.training.packing",
        "Auto or Never",
    ),
    wrong(
        "loss by a path",
        {"training.loss": {**_CODE, "entrypoint": "losses.Code"}},
        "spec.training.loss.entrypoint",
        "plain Python name",
    ),
    wrong(
        "loss outside its ConfigMap",
        {"training.loss": {**_CODE, "configMapRef": {"name": "code", "key": "..code"}}},
        "spec.training.loss.configMapRef.key",
        "rename it",
    ),
    wrong(
        "loss without a key",
        {"training.loss": {"configMapRef": {"name": "code"}, "entrypoint": "Code"}},
        "spec.training.loss.configMapRef.key",
        "Required value",
    ),
    wrong(
        "packed classes",
        {**_CLASSES, "training.packing": "Always"},
        "spec.training.packing",
        "set packing to Auto",
    ),
]

_SIMILARITY = [
    wrong(
        "similarity of classes",
        {"training.similarity": {"pooling": "cls"}},
        "spec.training.similarity",
        "remove it, or change task",
    ),
    wrong(
        "margin of a cosine",
        {**_PAIRS, "training.similarity": {"margin": 0.2}},
        "spec.training.similarity.margin",
        "change objective",
    ),
    wrong(
        "scale of a cosine",
        {**_PAIRS, "training.similarity": {"scale": 5}},
        "spec.training.similarity.scale",
        "change objective",
    ),
    wrong(
        "two objectives",
        {
            **_PAIRS,
            "training.loss": _CODE,
            "training.similarity": {"objective": "contrastive"},
        },
        "spec.training.similarity.objective",
        "keep one",
    ),
    wrong(
        "smoothed similarity",
        {**_PAIRS, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
]

_METRICS = [
    wrong(
        "accuracy of tags",
        {**_TAGS, "evaluation.metrics": ["accuracy"]},
        "spec.evaluation.metrics",
        "need the task classification",
    ),
    wrong(
        "entities of a text",
        {"task": "extraction", "evaluation.metrics": ["entity_f1"]},
        "spec.evaluation.metrics",
        "columns.tags or columns.spans",
    ),
    wrong(
        "bleu of a class",
        {"evaluation.metrics": ["bleu"]},
        "spec.evaluation.metrics",
        "compare generated text",
    ),
    wrong(
        "rouge of tags",
        {**_TAGS, "evaluation.metrics": ["rouge"]},
        "spec.evaluation.metrics",
        "compare generated text",
    ),
    wrong(
        "JSON of a story",
        {**_WORDS, "evaluation.metrics": ["json_f1"]},
        "spec.evaluation.metrics",
        "needs the task extraction",
    ),
    wrong(
        "correlation of classes",
        {"evaluation.metrics": ["spearman"]},
        "spec.evaluation.metrics",
        "the task similarity",
    ),
    wrong(
        "correlation without a label",
        {
            **_UNLABELLED,
            "training.similarity": {"objective": "in_batch_negatives"},
            "evaluation.metrics": ["pearson"],
        },
        "spec.evaluation.metrics",
        "columns.label",
    ),
    wrong(
        "perplexity of tags",
        {**_TAGS, "evaluation.metrics": ["perplexity"]},
        "spec.evaluation.metrics",
        "a language model's",
    ),
]

WRONG_COMBINATIONS: list[Wrong] = [
    *_SOURCES,
    *_FORMS,
    *_METHODS,
    *_OPTIMISATION,
    *_SIMILARITY,
    *_METRICS,
]
