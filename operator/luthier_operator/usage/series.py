"""The luthier_usage_* counters, in Prometheus' text format. Pure."""

from collections.abc import Iterable

from luthier_api.usage import Total
from luthier_operator.series import Family, escaped

_COUNTERS = {
    "gpu_seconds": "GPUs that pods asked for, times the time that they ran.",
    "cpu_seconds": "CPUs that pods asked for, times the time that they ran.",
    "trained_tokens": "Tokens learnt from, as trainers tell.",
    "stored_bytes": "Bytes uploaded to storage, as trainers tell.",
}


def text_of(totals: Iterable[Total]) -> bytes:
    """Sums since an account's first use, over runs, revisions and resources that are gone."""
    families = {
        name: Family(f"luthier_usage_{name}_total", "counter", text)
        for name, text in _COUNTERS.items()
    }
    for it in totals:
        kind, namespace, pool = (escaped(text) for text in (it.kind, it.namespace, it.pool))
        for name, family in families.items():
            labels = f'kind="{kind}",namespace="{namespace}",pool="{pool}"'
            family.add(labels, float(getattr(it, name)))
    lines = (line for family in families.values() for line in family.lines)
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")
