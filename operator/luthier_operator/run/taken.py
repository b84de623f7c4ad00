"""What others have taken of a FineTuneJob, by their status and spec."""

from collections.abc import Iterator

from luthier_api.adapterbundle import AdapterBundleStatus
from luthier_api.optimizejob import OptimizeJobStatus
from luthier_operator.resources import ADAPTER_BUNDLES, FINE_TUNE_JOBS, OPTIMIZE_JOBS
from luthier_operator.run.observe import parse_status
from luthier_operator.store import Store


def taken_in(store: Store, namespace: str) -> Iterator[str]:
    """The URIs that are in use by others of the namespace; it walks through all of them."""
    for key, obj in store.all(FINE_TUNE_JOBS):
        if key[0] == namespace:
            # What it goes on from.
            model, source = obj["spec"].get("model") or {}, obj["status"].get("source") or {}
            begun = (model.get("adapter") or {}, source)
            yield from (str(it["uri"]) for it in begun if "uri" in it)
    for key, obj in store.all(OPTIMIZE_JOBS):
        if key[0] == namespace:
            spec = obj["spec"].get("source") or {}
            yield from (str(spec[name]) for name in ("modelUri", "adapterUri") if name in spec)
            source = parse_status(OptimizeJobStatus, obj).source
            if source is not None:
                yield source.uri
    for key, obj in store.all(ADAPTER_BUNDLES):
        if key[0] == namespace:
            named = obj["spec"].get("adapters") or []
            yield from (str(it["uri"]) for it in named if "uri" in it)
            taken = parse_status(AdapterBundleStatus, obj).adapters
            yield from (it.uri for it in taken if it.uri is not None)
