"""Where packages and bundles are built that go wrong: a namespace, a base and adapters in S3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.runs import Json, Run
from e2e.specs import BASE, TEMPLATE, rows
from e2e.tenants import namespace_for
from unit.trainer.bundle_support import SHAPES, make_adapter, make_base
from unit.trainer.tiny import tiny_tokenizer_of

from luthier_cluster import Cluster
from luthier_demo import content

WEIGHTS = "adapter_model.safetensors"
# name → shape; the same base takes them all.
GOOD = {"one": "plain", "two": "narrow", "three": "stabilized", "four": "one-layer"}
PLACED: Json = {
    "output": {"uri": "s3://artifacts/packages"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 2400},
}
OPTIMIZE: Json = {
    **PLACED,
    "precisions": ["fp32"],
    "benchmark": {"promptTokens": [16], "newTokens": 8, "repeats": 2},
}
BUNDLE: Json = {**PLACED, "precision": "fp32"}


@dataclass(frozen=True)
class Place:
    """A namespace, and what its runs read: in s3://models/TAG a base, whose adapters lie below
    s3://artifacts/TAG."""

    cluster: Cluster
    s3: Any
    namespace: str
    tag: str

    @property
    def base(self) -> str:
        return f"s3://models/{self.tag}"

    def adapter(self, name: str) -> str:
        return f"s3://artifacts/{self.tag}/{name}"

    def adapters(self, *names: str) -> Json:
        """Of a bundle's spec."""
        return {"adapters": [{"name": name, "uri": self.adapter(name)} for name in names]}

    def optimize(self, name: str) -> Run:
        """An OptimizeJob of the base."""
        spec = {**OPTIMIZE, "source": {"modelUri": self.base}}
        return Run(self.cluster, self.namespace, name, self.s3, spec, "OptimizeJob")

    def bundle(self, name: str) -> Run:
        """An AdapterBundle on the base, as yet without adapters."""
        spec = {**BUNDLE, "base": {"uri": self.base}}
        return Run(self.cluster, self.namespace, name, self.s3, spec, "AdapterBundle")


@contextmanager
def made(cluster: Cluster, s3: Any, name: str, folder: Path) -> Iterator[Place]:
    """A place, gone (with its pods) afterwards. The base and its adapters are in `folder` too."""
    base = make_base(folder / "base", tiny_tokenizer_of("llama"))
    for seed, (adapter, shape) in enumerate(GOOD.items()):
        make_adapter(base, folder / "adapters" / adapter, seed, **SHAPES[shape])
    with namespace_for(cluster, name) as namespace:
        place = Place(cluster, s3, namespace, namespace)
        content.upload(cluster, base, "models", place.tag)
        content.upload(cluster, folder / "adapters", "artifacts", place.tag)
        yield place


def start_training(place: Place) -> Run:
    """A FineTuneJob of another base."""
    lines = "".join(json.dumps(row) + "\n" for row in rows(40))
    place.s3.put_object(Bucket="datasets", Key=f"{place.tag}/train.jsonl", Body=lines.encode())
    run = Run(place.cluster, place.namespace, "trained", place.s3, BASE)
    data = {**TEMPLATE["dataset"], "uri": f"s3://datasets/{place.tag}"}
    run.apply({"task": "classification", "dataset": data})
    return run


def put(place: Place, uri: str, body: bytes) -> None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    place.s3.put_object(Bucket=bucket, Key=key, Body=body)


def flipped(body: bytes) -> bytes:
    """The same with another last byte."""
    return body[:-1] + bytes([body[-1] ^ 1])


def manifests(run: Run) -> set[str]:
    """URIs of the revisions that are published."""
    folder = run.output_uri.rpartition("/")[0]
    found = [key for key in run.objects(f"{folder}/") if key.endswith("/manifest.json")]
    return {f"s3://artifacts/{key.removesuffix('/manifest.json')}" for key in found}


def states(run: Run) -> dict[str, str]:
    """Of a bundle's adapters: the state, or why one is left out."""
    return {it["name"]: it.get("reason") or it["state"] for it in run.status["adapters"]}
