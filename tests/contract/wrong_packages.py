"""OptimizeJobs and AdapterBundles that must be refused, by field."""

from contract.wrong import wrong

WRONG_OPTIMIZE_JOBS = [
    wrong("two sources", {"source.modelUri": "s3://models/m"}, "spec.source", "name one source"),
    wrong("no source", {"source": {}}, "spec.source", "name one source"),
    wrong(
        "adapter alone",
        {"source.adapterUri": "s3://a/b"},
        "spec.source.adapterUri",
        "needs modelUri",
    ),
    wrong(
        "provider of another device",
        {"target": {"device": "cuda", "provider": "CPUExecutionProvider"}},
        "spec.target.provider",
        "leave provider out",
    ),
    wrong("auto and int8", {"precisions": ["auto", "int8"]}, "spec.precisions", "stands alone"),
    wrong("twice", {"precisions": ["int8", "int8"]}, "spec.precisions", "name each once"),
    wrong("size", {"gates.maxSize": "300 MB"}, "spec.gates.maxSize", "300M or 1.5Gi"),
    wrong("drop of nothing", {"gates.maxMetricDrop": 0.1}, "spec.gates.metric", "belong together"),
    wrong(
        "model from nowhere",
        {"source": {"modelUri": "gs://models/m"}},
        "spec.source.modelUri",
        "copy it to one of them",
    ),
    *(
        wrong(
            f"model in the claim {claim}",
            {"source": {"modelUri": f"pvc://{claim}/m"}},
            "spec.source.modelUri",
            "a PersistentVolumeClaim",
        )
        for claim in ("My_Claim", "-a", "a..")
    ),
    wrong(
        "rows in a claim",
        {
            "evaluation": {
                "task": "generation",
                "dataset": {"uri": "pvc://My_Claim/a.csv", "template": "{text}"},
            }
        },
        "spec.evaluation.dataset.uri",
        "a PersistentVolumeClaim",
    ),
    wrong(
        "revision in a bucket",
        {"source": {"modelUri": "s3://models/m", "revision": "main"}},
        "spec.source",
        "remove them",
    ),
    wrong(
        "gate without rows",
        {"source": {"modelUri": "s3://models/m"}, "gates.maxPerplexityIncrease": 0.1},
        "spec.gates",
        "set evaluation",
    ),
    wrong(
        "evaluation of one's own",
        {
            "evaluation": {
                "task": "generation",
                "dataset": {"uri": "s3://datasets/rows", "template": "{text}"},
                "script": {"configMapRef": {"name": "eval", "key": "eval.py"}, "entrypoint": "f"},
            }
        },
        "spec.evaluation.script",
        "remove script",
    ),
    wrong(
        "chat template of one's own",
        {
            "evaluation": {
                "task": "generation",
                "dataset": {
                    "uri": "s3://datasets/chats.jsonl",
                    "columns": {"messages": "messages"},
                    "chatTemplate": {"text": "{{ messages }}"},
                    "evalFraction": 0.1,
                },
            }
        },
        "spec.evaluation.dataset.chatTemplate",
        "save it with the model's tokenizer",
    ),
    wrong("block", {"int4": {"blockSize": 33}}, "spec.int4.blockSize", "supported values"),
    wrong("two nodes", {"placement.nodes": 2}, "spec.placement.nodes", "an OptimizeJob runs in"),
    wrong("two GPUs", {"placement.gpus": 2}, "spec.placement.gpus", "an OptimizeJob uses one GPU"),
]

WRONG_ADAPTER_BUNDLES = [
    wrong("no adapters", {"adapters": []}, "spec.adapters", "at least 1 items"),
    wrong("adapter from nowhere", {"adapters": [{"name": "a"}]}, "spec.adapters[0]", "either"),
    wrong(
        "same name",
        {"adapters": [{"name": "a", "uri": "s3://a/b"}, {"name": "a", "uri": "s3://a/c"}]},
        "spec.adapters[1]",
        "Duplicate value",
    ),
    wrong("base from nowhere", {"base.uri": "gs://a/m"}, "spec.base.uri", "copy it to one"),
    wrong("base in a claim", {"base.uri": "pvc://_/m"}, "spec.base.uri", "a PersistentVolumeClaim"),
    wrong("base's revision", {"base.revision": "main"}, "spec.base", "remove them"),
    wrong("serving", {"serve": {"replicas": 2}}, "spec.serve", "isn't built yet"),
    wrong("for a GPU", {"target": {"device": "cuda"}}, "spec.target.device", "leave target out"),
    wrong("keeps all", {"keepLast": 11}, "spec.keepLast", "less than or equal to 10"),
    wrong("two nodes", {"placement.nodes": 2}, "spec.placement.nodes", "an AdapterBundle runs in"),
    wrong("two GPUs", {"placement.gpus": 2}, "spec.placement.gpus", "an AdapterBundle uses one"),
]
