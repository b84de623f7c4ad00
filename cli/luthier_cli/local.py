"""A manifest as a run on this machine: what the operator would hand to the trainer. Pure."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier_api.adapterbundle import AdapterBundleSpec, BundledAdapter, Bundling
from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.finetuning import FineTuning
from luthier_api.meta import part_of
from luthier_api.optimizejob import OptimizeJobSpec, Optimizing, SourceRef
from luthier_api.revision import bundle_hash, optimize_hash, revision_name, shape_hash
from luthier_api.runspec import (
    CONFIG_MAPS_PATH,
    AdapterOrder,
    BundleOrder,
    OptimizeOrder,
    ProgressTarget,
    RunIdentity,
    RunOrder,
    RunSpec,
    S3Access,
)
from luthier_api.tracking import Mlflow, Tracking, filled
from luthier_cli.configmaps import ConfigMaps
from luthier_cli.order import Manifest, Order
from luthier_cli.references import Result

# A run on this machine needs no fresh name: its state lies in the output folder.
_ATTEMPT = 1


@dataclass(frozen=True)
class Place:
    """Where on this machine a run works, and where it reports to."""

    output: str  # URI of the folder that holds NAMESPACE/NAME/REVISION/
    owner: str  # who runs it; another owner may not write over its results
    cache_dir: str
    scratch_dir: str
    storage: S3Access
    receiver: str  # base URL
    token_file: str
    config_maps_dir: str = CONFIG_MAPS_PATH
    hub_endpoint: str | None = None
    mlflow_uri: str | None = None  # of trackers that the manifest doesn't place
    report_seconds: float = 1.0


def build_order(
    order: Order, place: Place, packages: Sequence[str] = ()
) -> RunSpec | OptimizeOrder | BundleOrder:
    """What the operator would hand to the trainer, for this machine. `packages`: those of the
    bundle that are there, newest first.

    The revision's hash covers the output that the manifest declares: the same
    manifest has the same hash here and in a cluster, and in every folder; where it refers to
    other results, these count too. Only ConfigMaps
    count here too: code that was changed runs, and isn't given its old result. The uid is
    a function of owner, output and name, so that a second start goes on with the first.
    """
    match order.manifest.spec:
        case FineTuneJobSpec() as spec:
            return _fine_tuning(order, spec, place)
        case OptimizeJobSpec() as spec:
            return _optimizing(order, spec, place)
        case AdapterBundleSpec() as spec:
            return _bundling(order, spec, place, packages)


def _fine_tuning(order: Order, spec: FineTuneJobSpec, place: Place) -> RunSpec:
    fine_tuning = part_of(spec, FineTuning)
    adapter = spec.model.adapter
    start = None
    if adapter and adapter.fine_tune_job_ref:
        start = order.results[adapter.fine_tune_job_ref.name].source
    digest = shape_hash(fine_tuning, order.manifest.declared_output, start)
    return RunSpec(
        **_common(order, place, digest, spec.placement.gpus),
        fine_tuning=fine_tuning,
        checkpoints=spec.checkpoints,
        start_from=start,
        tracking=filled(spec.tracking, _trackers(place)) if spec.tracking else None,
    )


def _trackers(place: Place) -> Tracking | None:
    return Tracking(mlflow=Mlflow(uri=place.mlflow_uri)) if place.mlflow_uri else None


def _optimizing(order: Order, spec: OptimizeJobSpec, place: Place) -> OptimizeOrder:
    optimizing = part_of(spec, Optimizing)
    source = _source(spec, order.results)
    sources = [source]
    if spec.source.adapter_uri:
        sources.append(SourceRef(uri=spec.source.adapter_uri))
    # The hash of a hub's model has its revision; the order names that apart.
    if spec.source.revision:
        sources[0] = source.model_copy(update={"revision": spec.source.revision})
    digest = optimize_hash(optimizing, sources, order.manifest.declared_output)
    return OptimizeOrder(
        **_common(order, place, digest, spec.placement.gpus),
        optimizing=optimizing,
        source=source,
        source_revision=spec.source.revision,
        adapter_uri=spec.source.adapter_uri,
    )


def _source(spec: OptimizeJobSpec, results: Mapping[str, Result]) -> SourceRef:
    if spec.source.fine_tune_job_ref:
        return results[spec.source.fine_tune_job_ref.name].source
    assert spec.source.model_uri, "the schema wants one of them"
    return SourceRef(uri=spec.source.model_uri)


def _bundling(
    order: Order, spec: AdapterBundleSpec, place: Place, packages: Sequence[str]
) -> BundleOrder:
    bundling = part_of(spec, Bundling)
    adapters = {it.name: _adapter(it, order.results) for it in spec.adapters}
    digest = bundle_hash(bundling, adapters, order.manifest.declared_output)
    common = _common(order, place, digest, spec.placement.gpus)
    others = [uri for uri in packages if uri != common["output"]]
    return BundleOrder(
        **common,
        bundling=bundling,
        adapters=[AdapterOrder(name=name, source=source) for name, source in adapters.items()],
        previous=others[0] if others else None,
        keep_last=spec.keep_last,
        expendable=others[spec.keep_last - 1 :],  # the new one is the first that is kept
    )


def _adapter(adapter: BundledAdapter, results: Mapping[str, Result]) -> SourceRef:
    if adapter.fine_tune_job_ref:
        return results[adapter.fine_tune_job_ref.name].source
    assert adapter.uri, "the schema wants one of them"
    return SourceRef(uri=adapter.uri)


def _common(order: Order, place: Place, shape: str, gpus: int) -> dict[str, Any]:
    """The fields of a RunOrder."""
    manifest = order.manifest
    digest = _with_config_maps(shape, order.config_maps)
    revision = revision_name(1, digest)
    identity = "/".join((place.output.rstrip("/"), manifest.namespace, manifest.name))
    common = RunOrder(
        run=RunIdentity.model_validate(
            {
                "kind": manifest.kind.name,
                "namespace": manifest.namespace,
                "name": manifest.name,
                "uid": _uid(place, manifest),
                "revision": revision,
                "attempt": _ATTEMPT,
            }
        ),
        shape_hash=digest,
        output=f"{identity}/{revision}",
        storage=place.storage,
        progress=ProgressTarget(
            url=place.receiver,
            interval_seconds=place.report_seconds,
            token_file=place.token_file,
        ),
        cache_dir=place.cache_dir,
        scratch_dir=place.scratch_dir,
        gpus=gpus,
        # The user's own machine, with the user's own rights.
        file_roots=["/"],
        hub_endpoint=place.hub_endpoint,
        config_maps_dir=place.config_maps_dir,
    )
    return dict(common)


def _uid(place: Place, manifest: Manifest) -> str:
    identity = "/".join((place.owner, place.output, manifest.namespace, manifest.name))
    return str(uuid.uuid5(uuid.NAMESPACE_URL, identity))


def _with_config_maps(digest: str, config_maps: ConfigMaps) -> str:
    if not config_maps:
        return digest
    content = [
        [name, key, hashlib.sha256(value).hexdigest()]
        for name, keys in sorted(config_maps.items())
        for key, value in sorted(keys.items())
    ]
    return hashlib.sha256(json.dumps([digest, content]).encode()).hexdigest()
