"""Models and data that can't be fetched, or whose access is named for nothing."""

from contract.wrong import wrong

SOURCES = [
    wrong("claim", {"model.uri": "pvc://My_Claim/m"}, "spec.model.uri", "a PersistentVolumeClaim"),
    wrong(
        "adapter from nowhere",
        {"model.adapter": {}},
        "spec.model.adapter",
        "either fineTuneJobRef or uri",
    ),
    wrong(
        "adapter from two places",
        {"model.adapter": {"uri": "s3://models/a", "fineTuneJobRef": {"name": "tone"}}},
        "spec.model.adapter",
        "either fineTuneJobRef or uri",
    ),
    wrong(
        "adapter on a hub",
        {"model.adapter": {"uri": "hf://owner/adapter"}},
        "spec.model.adapter.uri",
        "adapters are read from s3://",
    ),
    wrong("claim of data", {"dataset.uri": "pvc://_/a.csv"}, "spec.dataset.uri", "pvc://CLAIM"),
    wrong(
        "ConfigMap", {"dataset.uri": "configmap://data"}, "spec.dataset.uri", "configmap://NAME/KEY"
    ),
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
    wrong(
        "log.gz", {"dataset.uri": "s3://data/a.log.gz"}, "spec.dataset.uri", "convert it to .jsonl"
    ),
    wrong(
        "a star of the web",
        {"dataset.uri": "https://example.com/*.txt"},
        "spec.dataset.uri",
        "name the folder instead",
    ),
    wrong(
        "folders by a star",
        {"dataset.uri": "s3://data/*/a.txt"},
        "spec.dataset.uri",
        "name the folder instead",
    ),
    wrong(
        "a split of a star",
        {"dataset.uri": "s3://data/*.jsonl", "dataset.train": "dev"},
        "spec.dataset.train",
        "holds only the split train",
    ),
    wrong(
        "Parquet packed twice",
        {"dataset.uri": "s3://data/a.parquet.gz"},
        "spec.dataset.uri",
        "or .parquet",
    ),
    wrong(
        "data from nowhere",
        {"dataset.uri": "gs://data/a.csv"},
        "spec.dataset.uri",
        "copy it to one",
    ),
    wrong("dataset's revision", {"dataset.revision": "main"}, "spec.dataset.revision", "remove it"),
    wrong(
        "mixed revision",
        {"dataset.mix": [{"uri": "s3://data/b.csv", "revision": "main"}]},
        "spec.dataset.mix[0].revision",
        "remove it",
    ),
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
