"""The AdapterBundle, its adapters' sources, and what is around it, as models."""

from dataclasses import replace

from luthier_api.adapterbundle import (
    AdapterBundleSpec,
    AdapterBundleStatus,
    BundledAdapter,
    BundledRevision,
)
from luthier_api.optimizejob import SourceRef
from luthier_operator.resources import ADAPTER_BUNDLES, Obj
from luthier_operator.run import model
from luthier_operator.run.model import Around
from luthier_operator.run.observe import assemble, is_building, parse_spec, parse_status
from luthier_operator.run.sources import Source, Taken, held, source_of_job

Members = dict[str, Source]  # by the adapter's name, in the spec's order
Observed = model.Observed[AdapterBundleSpec, AdapterBundleStatus, Members]


def observe(obj: Obj, around: Around) -> Observed:
    """Parse everything at the border."""
    spec, invalid = parse_spec(AdapterBundleSpec, obj)
    previous = parse_status(AdapterBundleStatus, obj)
    namespace = obj["metadata"]["namespace"]
    before = {it.name: source_of(it) for it in previous.adapters}
    members = {
        adapter.name: _member(adapter, namespace, before.get(adapter.name), around)
        for adapter in (spec.adapters if spec else [])
    }
    observed: Observed = assemble(
        ADAPTER_BUNDLES,
        obj,
        around,
        spec=spec,
        invalid=invalid,
        previous=previous,
        sources=members,
    )
    if is_building(observed):
        members = {name: held(it, before.get(name)) for name, it in members.items()}
        return replace(observed, sources=members)
    return observed


def source_of(adapter: BundledRevision) -> SourceRef | None:
    """Where an adapter was taken from; None while it is awaited."""
    if adapter.uri is None:
        return None
    return SourceRef(
        uri=adapter.uri, revision=adapter.revision, manifest_sha256=adapter.manifest_sha256
    )


def _member(
    adapter: BundledAdapter, namespace: str, before: SourceRef | None, around: Around
) -> Source:
    if adapter.fine_tune_job_ref is not None:
        name = adapter.fine_tune_job_ref.name
        return source_of_job(namespace, name, around.look_up(name), before)
    assert adapter.uri is not None
    return Taken(SourceRef(uri=adapter.uri))
