"""FineTuneJobs that must be refused, by field. Combinations are in wrong_combinations.py."""

from contract.manifests import REMOVED
from contract.wrong import wrong as _wrong
from contract.wrong_combinations import WRONG_COMBINATIONS
from contract.wrong_search import SEARCHES
from contract.wrong_splits import SPLITS
from contract.wrong_tracking import TRACKING

_MODEL = [
    _wrong("no model", {"model": REMOVED}, "spec.model", "Required value"),
    _wrong(
        "unknown scheme",
        {"model.uri": "gs://models/m"},
        "spec.model.uri",
        "hf://, s3://, pvc://, file://",
    ),
    _wrong("no scheme", {"model.uri": "models/smollm2"}, "spec.model.uri", "begins with a scheme"),
    _wrong("no bucket", {"model.uri": "s3:///smollm2"}, "spec.model.uri", "is missing after ://"),
    _wrong("relative file", {"model.uri": "file://models/m"}, "spec.model.uri", "an absolute path"),
    _wrong(
        "file of weights",
        {"model.uri": "s3://models/m/model.safetensors"},
        "spec.model.uri",
        "name the folder",
    ),
    _wrong("GGUF file", {"model.uri": "s3://models/m.gguf"}, "spec.model.uri", "name the folder"),
    _wrong(
        "revision outside a hub", {"model.revision": "main"}, "spec.model.revision", "remove it"
    ),
    _wrong(
        "remote code",
        {"model.trustRemoteCode": True},
        "spec.model.trustRemoteCode",
        "isn't built yet",
    ),
]

_URIS = [
    _wrong(
        "password in a URI",
        {"dataset.uri": "s3://key:secret@data/a.jsonl"},
        "spec.dataset.uri",
        "storage.secretName",
    ),
    _wrong(
        "signed URI",
        {"dataset.uri": "s3://data/a.jsonl?X-Amz-Signature=abc"},
        "spec.dataset.uri",
        "holds no @, ? or #",
    ),
    _wrong(
        "blank in a URI",
        {"dataset.uri": "s3://data/my file.jsonl"},
        "spec.dataset.uri",
        "no blanks",
    ),
    _wrong(
        "placeholder in a URI", {"output.uri": "s3://${BUCKET}/x"}, "spec.output.uri", "placeholder"
    ),
    _wrong(
        "empty path segment", {"output.uri": "s3://artifacts//x"}, "spec.output.uri", "plain path"
    ),
    _wrong(
        "parent folder",
        {"dataset.uri": "file:///data/../etc/a.csv"},
        "spec.dataset.uri",
        "plain path",
    ),
    _wrong("output on disk", {"output.uri": "file:///data/out"}, "spec.output.uri", "s3://BUCKET"),
    _wrong(
        "output in the model",
        {"output.uri": "s3://models/smollm2/tuned"},
        "spec.output.uri",
        "name another prefix",
    ),
    _wrong("no output", {"output": REMOVED}, "spec.output", "Required value"),
    _wrong("endless URI", {"model.uri": "s3://a/" + "x" * 1024}, "spec.model.uri", "1024"),
    _wrong("long output", {"output.uri": "s3://a/" + "x" * 512}, "spec.output.uri", "at most 512"),
]

_DATASET = [
    _wrong("no template", {"dataset.template": REMOVED}, "spec.dataset.template", "{text}"),
    _wrong(
        "constant template",
        {"dataset.template": "hello"},
        "spec.dataset.template",
        "write {column}",
    ),
    _wrong(
        "Jinja template",
        {"dataset.template": "{{phrase}} {{tone}}"},
        "spec.dataset.template",
        "single braces",
    ),
    _wrong(
        "open brace",
        {"dataset.template": "{phrase {tone}"},
        "spec.dataset.template",
        "neither {column}",
    ),
    _wrong(
        "position", {"dataset.template": "{0} {tone}"}, "spec.dataset.template", "neither {column}"
    ),
    _wrong(
        "blank before a column",
        {"dataset.template": "{ phrase} {tone}"},
        "spec.dataset.template",
        "neither {column}",
    ),
    _wrong(
        "format",
        {"dataset.template": "{phrase!r} {tone:>9}"},
        "spec.dataset.template",
        "neither {column}",
    ),
    _wrong(
        "JSON in the template",
        {"dataset.template": '{"text": {phrase}} {tone}'},
        "spec.dataset.template",
        "for literal braces",
    ),
    _wrong(
        "classes without a text",
        {"dataset.template": "Tone: {tone}"},
        "spec.dataset.template",
        "needs two columns",
    ),
    _wrong(
        "completion without a prompt",
        {"task": "generation", "dataset.template": " {text}", "dataset.lossOn": "Completion"},
        "spec.dataset.lossOn",
        "or set lossOn to All",
    ),
    _wrong("lossOn", {"dataset.lossOn": "Labels"}, "spec.dataset.lossOn", '"Completion"'),
    _wrong(
        "no rows to measure on", {"dataset.evalFraction": REMOVED}, "spec.dataset", "evalFraction"
    ),
    _wrong(
        "fraction of all", {"dataset.evalFraction": 1}, "spec.dataset.evalFraction", "less than 1"
    ),
    _wrong(
        "fraction in percent",
        {"dataset.evalFraction": 10},
        "spec.dataset.evalFraction",
        "less than 1",
    ),
    _wrong(
        "eval and evalFraction",
        {"dataset.train": "train[:90%]", "dataset.eval": "train[90%:]"},
        "spec.dataset.evalFraction",
        "keep one",
    ),
    _wrong(
        "stratified by a name over two lines",
        {"dataset.stratifyBy": "the\ntone"},
        "spec.dataset.stratifyBy",
        "rename",
    ),
]


_METHOD = [
    _wrong("unknown method", {"method.type": "dora"}, "spec.method.type", '"lora"'),
    _wrong(
        "rank 0", {"method.lora.rank": 0}, "spec.method.lora.rank", "greater than or equal to 1"
    ),
    _wrong("alpha 0", {"method.lora.alpha": 0}, "spec.method.lora.alpha", "greater than 0"),
    _wrong("dropout of all", {"method.lora.dropout": 1}, "spec.method.lora.dropout", "less than 1"),
    _wrong(
        "auto and names",
        {"method.lora.targetModules": ["auto", "q_proj"]},
        "spec.method.lora.targetModules",
        "stand alone",
    ),
    _wrong(
        "modules in one string",
        {"method.lora.targetModules": ["q_proj,v_proj"]},
        "spec.method.lora.targetModules[0]",
        "one module per item",
    ),
    _wrong(
        "no modules",
        {"method.lora.targetModules": []},
        "spec.method.lora.targetModules",
        "at least 1 items",
    ),
    _wrong(
        "module named twice",
        {"method.lora.targetModules": ["q_proj", "q_proj"]},
        "spec.method.lora.targetModules",
        "name each once",
    ),
    _wrong(
        "module in both lists",
        {"method.lora.targetModules": ["lm_head"], "method.lora.modulesToSave": ["lm_head"]},
        "spec.method.lora.modulesToSave",
        "in one of them",
    ),
    _wrong(
        "save auto",
        {"method.lora.modulesToSave": ["auto"]},
        "spec.method.lora.modulesToSave",
        "name the modules",
    ),
]

_TRAINING = [
    _wrong("no length", {"training.maxSteps": REMOVED}, "spec.training", "maxSteps or epochs"),
    _wrong("steps and epochs", {"training.epochs": 1}, "spec.training.epochs", "keep one"),
    _wrong("no steps", {"training.maxSteps": 0}, "spec.training.maxSteps", "greater than or equal"),
    _wrong("steps in words", {"training.maxSteps": "100"}, "spec.training.maxSteps", "integer"),
    _wrong("half a step", {"training.maxSteps": 1.5}, "spec.training.maxSteps", "integer"),
    _wrong(
        "rate in words",
        {"training.learningRate": "2e-4"},
        "spec.training.learningRate",
        "auto",
    ),
    *(
        _wrong(
            f"rate {value!r}", {"training.learningRate": value}, "spec.training.learningRate", ""
        )
        for value in (True, False, [], [0.1], {}, {"value": 0.1})
    ),
    _wrong(
        "rate 2",
        {"training.learningRate": 2},
        "spec.training.learningRate",
        "less than or equal to 1",
    ),
    _wrong("rate 0", {"training.learningRate": 0}, "spec.training.learningRate", "greater than 0"),
    _wrong("scheduler", {"training.scheduler": "step"}, "spec.training.scheduler", '"cosine"'),
    _wrong("optimiser", {"training.optimizer": "adam"}, "spec.training.optimizer", '"adamw_torch"'),
    _wrong(
        "constant rate with warm-up",
        {"training.scheduler": "constant", "training.warmupRatio": 0.1},
        "spec.training.warmupRatio",
        "use constant_with_warmup",
    ),
    _wrong(
        "warm-up of nothing",
        {"training.scheduler": "constant_with_warmup"},
        "spec.training.warmupRatio",
        "above 0",
    ),
    _wrong(
        "switch as YAML boolean", {"training.packing": False}, "spec.training.packing", "string"
    ),
    _wrong(
        "fp16 on CPU", {"training.precision": "fp16"}, "spec.training.precision", "placement.gpus"
    ),
    _wrong("fp8", {"training.precision": "fp8"}, "spec.training.precision", '"bf16"'),
    _wrong("negative seed", {"training.seed": -1}, "spec.training.seed", "greater than or equal"),
    _wrong("huge length", {"training.maxLength": 2000000}, "spec.training.maxLength", "1048576"),
    _wrong(
        "evaluation after the end",
        {"training.evalEverySteps": 101},
        "spec.training.evalEverySteps",
        "lower it",
    ),
    _wrong(
        "steps without rows",
        {
            "training.evalEverySteps": 10,
            "dataset.uri": "s3://datasets/phrases",
            "dataset.evalFraction": REMOVED,
            "dataset.test": "test",
        },
        "spec.training.evalEverySteps",
        "dataset.evalFraction",
    ),
]

_EVALUATION = [
    _wrong("no task", {"task": REMOVED}, "spec.task", "Required value"),
    _wrong("unknown task", {"task": "chat"}, "spec.task", '"generation"'),
    _wrong(
        "accuracy of a generator",
        {"task": "generation", "evaluation.metrics": ["accuracy"]},
        "spec.evaluation.metrics",
        "change task",
    ),
    _wrong("metric", {"evaluation.metrics": ["acc"]}, "spec.evaluation.metrics[0]", '"accuracy"'),
    _wrong("no metrics", {"evaluation.metrics": []}, "spec.evaluation.metrics", "at least 1 items"),
    _wrong(
        "twice", {"evaluation.metrics": ["f1", "f1"]}, "spec.evaluation.metrics", "name each once"
    ),
]

_REST = [
    _wrong("long name", {".metadata.name": "a" * 41}, "metadata.name", "at most 40 characters"),
    _wrong("dotted name", {".metadata.name": "tone.v2"}, "metadata.name", "no dots"),
    _wrong("name of a digit", {".metadata.name": "7b-tone"}, "metadata.name", "with a letter"),
    _wrong("no spec", {".spec": REMOVED}, "spec", "Required value"),
    _wrong("no node", {"placement.nodes": 0}, "spec.placement.nodes", "greater than or equal to 1"),
    _wrong("too many nodes", {"placement.nodes": 257}, "spec.placement.nodes", "equal to 256"),
    _wrong("too many GPUs", {"placement.gpus": 17}, "spec.placement.gpus", "equal to 16"),
    _wrong("pool", {"placement.pool": "GPU_A100"}, "spec.placement.pool", "a-z, 0-9 and -"),
    _wrong(
        "queue", {"placement.queueName": "team/a"}, "spec.placement.queueName", "a-z, 0-9 and -"
    ),
    _wrong(
        "secret", {"storage.secretName": "My Secret"}, "spec.storage.secretName", "- and . only"
    ),
    _wrong(
        "no checkpoints", {"checkpoints.keepLast": 0}, "spec.checkpoints.keepLast", "equal to 1"
    ),
    _wrong(
        "restarts", {"limits.maxRestarts": -1}, "spec.limits.maxRestarts", "greater than or equal"
    ),
    _wrong(
        "deadline in words",
        {"limits.activeDeadlineSeconds": "1h"},
        "spec.limits.activeDeadlineSeconds",
        "integer",
    ),
    _wrong("suspend in words", {"suspend": "yes"}, "spec.suspend", "boolean"),
    _wrong("delete some", {"deletionPolicy": "Some"}, "spec.deletionPolicy", "Unsupported value"),
    _wrong(
        "better by what isn't measured",
        {"promote": {"when": "IfBetter", "metric": "f1"}},
        "spec.promote.metric",
        "add the metric there",
    ),
    _wrong(
        "better by a script that there isn't",
        {"promote": {"when": "IfBetter", "metric": "script_score"}},
        "spec.promote.metric",
        "evaluation.script",
    ),
    _wrong(
        "gate of what isn't measured",
        {"promote": {"atLeast": {"rougeL": 0.5}}},
        "spec.promote.atLeast",
        "add the metric there",
    ),
    _wrong(
        "gate of no metric",
        {"promote": {"atLeast": {"F 1": 0.5}}},
        "spec.promote.atLeast",
        "named as the run reports it",
    ),
    _wrong(
        "better and worse",
        {"promote": {"when": "IfBetter", "minGain": 0.1, "tolerance": 0.1}},
        "spec.promote.tolerance",
        "set one of them",
    ),
    _wrong(
        "better always",
        {"promote": {"minGain": 0.1}},
        "spec.promote.when",
        "set when to IfBetter",
    ),
    _wrong("pin of no revision", {"promote": {"pin": "2"}}, "spec.promote.pin", "r2-5f2c1e9a"),
    _wrong("keep none", {"keepRevisions": 0}, "spec.keepRevisions", "equal to 1"),
    *(
        _wrong(title, {"retrain": {"schedule": schedule}}, "spec.retrain.schedule", words)
        for title, schedule, words in (
            ("schedule in words", "every night", "five fields of cron"),
            ("schedule with seconds", "0 0 3 * * *", "five fields of cron"),
            ("minute 61", "61 * * * *", "its first field) is 0 to 59"),
            ("hour 24", "0 24 * * *", "its second field) is 0 to 23"),
            ("day 32", "0 3 32 * *", "its third field) is 1 to 31"),
            ("month 13", "0 3 * 13 *", "its fourth field) is 1 to 12"),
            ("day of the week 8", "0 3 * * 8", "its fifth field) is 0 to 7"),
        )
    ),
    _wrong(
        "time zone in words",
        {"retrain": {"schedule": "0 3 * * *", "timeZone": "Central Europe"}},
        "spec.retrain.timeZone",
        "the tz database",
    ),
    _wrong(
        "two thresholds",
        {"retrain": {"minNewRows": 5, "minNewFraction": 0.1}},
        "spec.retrain.minNewFraction",
        "set one of them",
    ),
    _wrong(
        "always, and a threshold",
        {"retrain": {"schedule": "0 3 * * *", "when": "Always", "minNewRows": 5}},
        "spec.retrain.when",
        "Always trains whatever is new",
    ),
    _wrong(
        "always, and never",
        {"retrain": {"when": "Always"}},
        "spec.retrain.schedule",
        "set schedule",
    ),
    _wrong("unknown field", {"training.lr": 0.1}, "spec.training.lr", "unknown field"),
    _wrong("field in the wrong place", {"pool": "cpu"}, "spec.pool", "unknown field"),
    _wrong("snake case", {"training.max_steps": 5}, "spec.training.max_steps", "unknown field"),
    _wrong("null", {"dataset.uri": None}, "spec.dataset.uri", "Required value"),
]

WRONG_FINE_TUNE_JOBS = [
    *_MODEL,
    *_URIS,
    *_DATASET,
    *SPLITS,
    *_METHOD,
    *_TRAINING,
    *_EVALUATION,
    *_REST,
    *SEARCHES,
    *TRACKING,
    *WRONG_COMBINATIONS,
]

WRONG_ADAPTER_BUNDLES = [
    _wrong("no adapters", {"adapters": []}, "spec.adapters", "at least 1 items"),
    _wrong("adapter from nowhere", {"adapters": [{"name": "a"}]}, "spec.adapters[0]", "either"),
    _wrong(
        "same name",
        {"adapters": [{"name": "a", "uri": "s3://a/b"}, {"name": "a", "uri": "s3://a/c"}]},
        "spec.adapters[1]",
        "Duplicate value",
    ),
    _wrong("base from nowhere", {"base.uri": "gs://a/m"}, "spec.base.uri", "copy it to one"),
    _wrong("base's revision", {"base.revision": "main"}, "spec.base", "remove them"),
    _wrong("serving", {"serve": {"replicas": 2}}, "spec.serve", "isn't built yet"),
    _wrong("for a GPU", {"target": {"device": "cuda"}}, "spec.target.device", "leave target out"),
    _wrong("keeps all", {"keepLast": 11}, "spec.keepLast", "less than or equal to 10"),
]
