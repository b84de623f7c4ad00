"""Spec and adapters → the order of a run that builds a bundle, and the run's objects. Pure."""

from luthier_api import sources
from luthier_api.adapterbundle import AdapterBundleSpec, AdapterBundleStatus, Bundling
from luthier_api.meta import part_of
from luthier_api.platform import Platform
from luthier_api.runspec import AdapterOrder, BundleOrder
from luthier_api.sources import Reads
from luthier_operator.adapterbundle.observe import Members
from luthier_operator.resources import Obj
from luthier_operator.run.build import build_run, run_order
from luthier_operator.run.model import Owner, Revision
from luthier_operator.run.sources import Taken


def build(
    owner: Owner,
    spec: AdapterBundleSpec,
    members: Members,
    previous: AdapterBundleStatus,
    revision: Revision,
    platform: Platform,
) -> list[Obj]:
    """The objects of a run in the order of their creation; the Job comes last."""
    return build_run(
        owner,
        spec,
        revision,
        platform,
        order=bundle_order(owner, spec, members, previous, revision, platform),
        reads=reads(spec, members),
    )


def bundle_order(
    owner: Owner,
    spec: AdapterBundleSpec,
    members: Members,
    previous: AdapterBundleStatus,
    revision: Revision,
    platform: Platform,
) -> BundleOrder:
    """The order for the trainer: the adapters that are there, at least one."""
    packages = _packages(previous)
    return BundleOrder(
        **dict(run_order(owner, spec, revision, platform)),
        bundling=bundling(spec),
        adapters=[
            AdapterOrder(name=name, source=it.ref)
            for name, it in members.items()
            if isinstance(it, Taken)
        ],
        previous=previous.current.uri if previous.current else None,
        keep_last=spec.keep_last,
        expendable=packages[spec.keep_last - 1 :],  # the new one is the first that is kept
    )


def bundling(spec: AdapterBundleSpec) -> Bundling:
    """The part of the spec that shapes the result."""
    return part_of(spec, Bundling)


def reads(spec: AdapterBundleSpec, members: Members) -> Reads:
    """What the run reads beside S3."""
    wanted = {it.job: it.spec for it in members.values() if isinstance(it, Taken) and it.spec}
    return sources.of_bundling(spec, wanted)


def _packages(previous: AdapterBundleStatus) -> list[str]:
    """The URIs of the packages so far, newest first."""
    current = [previous.current.uri] if previous.current else []
    older = [it.artifact_uri for it in previous.history if it.artifact_uri]
    return list(dict.fromkeys([*current, *older]))
