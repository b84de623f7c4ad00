"""Valid manifests, and changes to them by dotted path."""

import copy
from typing import Any

Manifest = dict[str, Any]
# In place of a value: take the field away.
REMOVED = object()

FINE_TUNE_JOB: Manifest = {
    "apiVersion": "luthier.dev/v1alpha1",
    "kind": "FineTuneJob",
    "metadata": {"name": "tone", "namespace": "default"},
    "spec": {
        "model": {"uri": "s3://models/smollm2"},
        "task": "classification",
        "dataset": {
            "uri": "s3://datasets/phrases.jsonl",
            "template": "{phrase}\nTone: {tone}",
            "evalFraction": 0.1,
        },
        "training": {"maxSteps": 100},
        "output": {"uri": "s3://artifacts/models"},
    },
}

OPTIMIZE_JOB: Manifest = {
    "apiVersion": "luthier.dev/v1alpha1",
    "kind": "OptimizeJob",
    "metadata": {"name": "tone", "namespace": "default"},
    "spec": {
        "source": {"fineTuneJobRef": {"name": "tone"}},
        "output": {"uri": "s3://artifacts/models"},
    },
}

ADAPTER_BUNDLE: Manifest = {
    "apiVersion": "luthier.dev/v1alpha1",
    "kind": "AdapterBundle",
    "metadata": {"name": "tones", "namespace": "default"},
    "spec": {
        "base": {"uri": "s3://models/smollm2"},
        "adapters": [{"name": "tone", "fineTuneJobRef": {"name": "tone"}}],
        "output": {"uri": "s3://artifacts/models"},
    },
}


def changed(manifest: Manifest, changes: dict[str, Any]) -> Manifest:
    """A copy with each `{"spec.training.seed": 1}` set, objects on the way made as needed."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node = result
        for name in parents:
            node = node.setdefault(name, {})
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
    return result
