"""Fields of a FineTuneJob that go together: one manifest for each method, form, task and option."""

from typing import Any

from contract.manifests import REMOVED

Changes = dict[str, Any]

_CODE = {"configMapRef": {"name": "code", "key": "code.py"}, "entrypoint": "Code"}


def _columns(task: str, **columns: str) -> Changes:
    return {
        "spec.task": task,
        "spec.dataset.template": REMOVED,
        "spec.dataset.columns": columns,
    }


_PAIRS = _columns("similarity", first="one", second="other", label="score")

_METHODS: dict[str, Changes] = {
    "full": {"spec.method.type": "full"},
    "LoRA with every setting": {
        "spec.method": {
            "type": "lora",
            "merge": True,
            "lora": {
                "targetPattern": r".*\.[0-3]\.self_attn\.[qv]_proj",
                "rankStabilized": True,
                "dora": True,
                "bias": "lora_only",
                "rankPattern": {"q_proj": 4},
                "alphaPattern": {"^model.layers.0.*": 8.5},
            },
        }
    },
    "QLoRA": {
        "spec.method": {
            "type": "qlora",
            "merge": True,
            "lora": {"rank": 8, "dora": True, "bias": "all"},
            "quantization": {"type": "fp4", "double": False, "computeType": "bf16"},
        }
    },
    "QLoRA in fp16": {
        "spec.method": {"type": "qlora", "quantization": {"computeType": "fp16"}},
        "spec.placement.gpus": 1,
    },
    "all weights in bf16": {
        "spec.method": {"type": "full", "full": {"weights": "bf16"}},
        "spec.training.precision": "bf16",
    },
    "bottleneck adapter": {
        "spec.method": {
            "type": "adapter",
            "adapter": {"placement": "houlsby", "reductionFactor": 8, "activation": "gelu"},
        }
    },
    "IA3, merged": {"spec.method": {"type": "ia3", "merge": True}},
    "prefix": {"spec.method": {"type": "prefix", "virtualTokens": {"count": 8}}},
    "prompt": {"spec.method.type": "prompt"},
}

_FORMS: dict[str, Changes] = {
    "prompt and completion": {
        **_columns("summarization", prompt="text", completion="summary"),
        "spec.dataset.lossOn": "All",
        "spec.evaluation.metrics": ["rouge", "bleu", "chrf", "exact_match", "perplexity"],
    },
    "messages": {
        **_columns("generation", messages="chat"),
        "spec.dataset.lossOn": "Completion",
        "spec.training.packing": "Always",
    },
    "messages by a template of one's own": {
        **_columns("extraction", messages="chat"),
        "spec.dataset.chatTemplate": {"configMapRef": {"name": "chat", "key": "chat.jinja"}},
    },
    "instructions": {
        **_columns("generation", instruction="instruction", input="input", output="output"),
        "spec.dataset.chatTemplate": {"text": "{{ messages }}"},
        "spec.evaluation.metrics": ["rouge", "perplexity"],
    },
    "instructions without an input": _columns("summarization", instruction="i", output="o"),
    "text and label": {
        **_columns("classification", text="phrase", label="tone"),
        "spec.evaluation.metrics": ["accuracy", "f1_micro", "f1_weighted", "precision", "recall"],
        "spec.training.labelSmoothing": 0.1,
    },
    "uneven classes": {
        **_columns("classification", text="phrase", label="tone"),
        "spec.training.classification": {"classWeights": "Balanced", "focalGamma": 2},
    },
    "several classes of a text": {
        **_columns("classification", text="phrase", labels="topics"),
        "spec.dataset.labelSeparator": ";",
        "spec.training.classification": {"classWeights": "Balanced", "focalGamma": 1},
        "spec.evaluation.metrics": ["accuracy", "f1", "f1_micro", "loss"],
    },
    "how sure a class is": {
        **_columns("classification", text="phrase", label="tone"),
        "spec.evaluation.metrics": ["ece", "accuracy"],
    },
    "a number of a text": {
        **_columns("regression", text="review", label="stars"),
        "spec.evaluation.metrics": ["mse", "mae", "pearson", "spearman", "loss"],
    },
    "classes with weights of one's own": {
        **_columns("classification", text="phrase", label="tone"),
        "spec.training.classification": {"weights": {"angry": 2.5, "calm": 1}},
        "spec.training.labelSmoothing": 0.1,
    },
    "tokens and tags": {
        **_columns("extraction", tokens="words", tags="tags"),
        "spec.evaluation.metrics": ["entity_f1", "entity_precision", "entity_recall"],
    },
    "columns as people call them": {
        **_columns("classification", text="Größe: 1. Satz {neu}", label="Ton (alt)"),
        "spec.evaluation.metrics": ["accuracy"],
    },
    "text and spans": _columns("extraction", text="text", spans="entities"),
    "JSON by a template": {
        "spec.task": "extraction",
        "spec.evaluation.metrics": ["json_f1", "exact_match"],
        "spec.evaluation.maxNewTokens": 64,
    },
    "pairs": {**_PAIRS, "spec.evaluation.metrics": ["spearman", "pearson", "loss"]},
    "pairs, contrastive": {
        **_PAIRS,
        "spec.training.similarity": {"pooling": "cls", "objective": "contrastive", "margin": 0.3},
    },
    "pairs without a label": {
        **_columns("similarity", first="one", second="other"),
        "spec.training.similarity": {"objective": "in_batch_negatives", "scale": 30},
        "spec.training.perDeviceBatchSize": "auto",
    },
    "pairs and a loss of one's own": {
        **_columns("similarity", first="one", second="other"),
        "spec.training.loss": _CODE,
        "spec.training.similarity": {"pooling": "last"},
    },
}

_ANSWERS = _columns("preference", prompt="question", chosen="better", rejected="worse")
_FORMS |= {
    "answers": {
        **_ANSWERS,
        "spec.evaluation.metrics": ["preference_accuracy", "preference_margin", "kl", "loss"],
        "spec.evaluation.maxNewTokens": 64,
        "spec.training.earlyStopping": {"metric": "preference_accuracy"},
        "spec.training.evalEverySteps": 10,
        "spec.dataset.evalFraction": 0.1,
    },
    "answers that begin alike": {
        **_columns("preference", chosen="chosen", rejected="rejected"),
        "spec.dataset.chatTemplate": {"text": "{{ messages }}"},
        "spec.training.preference": {
            "objective": "dpo",
            "beta": 0.3,
            "labelSmoothing": 0.1,
            "sftWeight": 0.5,
        },
        "spec.evaluation.metrics": ["loss", "perplexity"],
    },
    "answers, simpo": {
        **_ANSWERS,
        "spec.training.preference": {"objective": "simpo", "gamma": 0.5},
        "spec.evaluation.metrics": ["reward_accuracy"],
        "spec.method": {"type": "full"},
    },
    "answers one by one": {
        **_columns("preference", prompt="question", completion="answer", label="good"),
        "spec.training.preference": {
            "objective": "kto",
            "desirableWeight": 1.5,
            "undesirableWeight": 0.5,
        },
        "spec.evaluation.metrics": ["reward_accuracy", "reward_margin"],
    },
}
_FORMS["texts in chunks"] = {
    "spec.task": "generation",
    "spec.dataset.uri": "s3://datasets/books/*.txt",
    "spec.dataset.template": "{text}",
    "spec.dataset.longRows": "Chunk",
}
_FORMS["no row too long"] = {**_PAIRS, "spec.dataset.longRows": "Refuse"}

_SOURCES: dict[str, Changes] = {
    "hub": {
        "spec.model": {
            "uri": "hf://org/model",
            "revision": "9213176",
            "tokenSecretRef": {"name": "hub", "key": "token"},
        },
        "spec.dataset.uri": "hf://org/rows/data/train.parquet",
        "spec.dataset.revision": "main",
    },
    "private dataset, own model": {
        "spec.model.tokenSecretRef": {"name": "hub", "key": "token"},
        "spec.dataset.mix": [{"uri": "hf://org/rows", "revision": "9213176"}],
    },
    "claims": {"spec.model.uri": "pvc://models/smollm2", "spec.dataset.uri": "pvc://data.v2/a.csv"},
    "ConfigMap": {"spec.dataset.uri": "configmap://phrases/train.jsonl"},
    "web, compressed": {"spec.dataset.uri": "https://example.com/a.jsonl.gz"},
    "Parquet": {"spec.dataset.uri": "s3://data/a.parquet"},
    "zstd": {"spec.dataset.uri": "s3://data/a.csv.ZST"},
    "mix": {
        "spec.dataset.mix": [
            {"uri": "s3://data/b.json", "weight": 0.5},
            {"uri": "configmap://more/c.csv", "weight": 2},
        ],
        "spec.dataset.deduplicate": True,
    },
}

_OPTIMISATION: dict[str, Changes] = {
    "rate by the method": {"spec.training.learningRate": "auto"},
    "batch size of its own choice": {"spec.training.perDeviceBatchSize": "auto"},
    "every option": {
        "spec.training.scheduler": "warmup_stable_decay",
        "spec.training.schedulerOptions": {"decayRatio": 0.2},
        "spec.training.warmupRatio": 0.1,
        "spec.training.groupByLength": False,
        "spec.training.dropout": 0.2,
        "spec.training.labelSmoothing": 0.1,
        "spec.training.neftuneNoiseAlpha": 5,
        "spec.training.evalEverySteps": 10,
        "spec.training.earlyStopping": {"metric": "f1", "patience": 2, "minDelta": 0.01},
        "spec.evaluation.metrics": ["f1"],
    },
    **{
        scheduler: {
            "spec.training.scheduler": scheduler,
            "spec.training.schedulerOptions": options,
        }
        for scheduler, options in (
            ("cosine_with_min_lr", {"minLearningRate": 1.0e-5}),
            ("cosine_warmup_with_min_lr", {"minLearningRate": 0}),
            ("cosine_with_restarts", {"cycles": 3}),
            ("polynomial", {"power": 2}),
            ("inverse_sqrt", {}),
        )
    },
    "plateau": {
        "spec.training.scheduler": "reduce_lr_on_plateau",
        "spec.training.evalEverySteps": 8,
    },
    "greedy": {"spec.training.scheduler": "greedy", "spec.training.evalEverySteps": 9},
    "stops by the loss": {
        "spec.training.evalEverySteps": 10,
        "spec.training.earlyStopping": {},
    },
    "several nodes of several GPUs": {"spec.placement": {"nodes": 256, "gpus": 16}},
    "several nodes without a GPU": {"spec.placement": {"nodes": 2}},
    "fp16 on a GPU": {"spec.training.precision": "fp16", "spec.placement.gpus": 1},
    "code of one's own": {"spec.training.loss": _CODE, "spec.evaluation.script": _CODE},
}

RIGHT_COMBINATIONS: dict[str, Changes] = {**_METHODS, **_FORMS, **_SOURCES, **_OPTIMISATION}
