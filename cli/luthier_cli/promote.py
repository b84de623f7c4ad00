"""`luthier promote`: pin which result is in use, or say what to write in git."""

from luthier_api.kinds import FINE_TUNE_JOB
from luthier_cli.change import change, explained
from luthier_cli.errors import CliError
from luthier_cli.kube import Cluster
from luthier_cli.revisions import find, revisions_of, with_result
from luthier_cli.state import Resource
from luthier_cli.target import Target

# What GitOps engines leave on what they apply.
_MARKS = {
    "Argo CD": ("argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"),
    "Flux": ("kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"),
}
_MANAGERS = {
    "argocd-controller": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
}


def engine_of(resource: Resource) -> str | None:
    """The GitOps engine that applies it, and would take another pin back."""
    metadata = resource["metadata"]
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    for engine, names in _MARKS.items():
        if any(name in marks for name in names):
            return engine
    managers = {it.get("manager") for it in metadata.get("managedFields") or []}
    return next((engine for name, engine in _MANAGERS.items() if name in managers), None)


def lines_of(pin: str | None) -> str:
    """What the manifest is to say."""
    if pin is None:
        return "remove spec.promote.pin from the manifest"
    return f"spec:\n  promote:\n    pin: {pin}"


def promote(
    cluster: Cluster, target: Target, revision: str | None, *, only_print: bool
) -> tuple[str | None, str | None]:
    """Set the pin, or remove it (`revision` is None). Returns the pin, and why it wasn't set: the
    engine whose repository has to say it. Raises CliError."""
    if target.kind is not FINE_TUNE_JOB:
        raise CliError(
            f"{target} has no revisions to choose from",
            "promote the FineTuneJob that it follows: it takes what that one has in use",
        )
    with explained(cluster, target):
        resource = cluster.request("GET", target.path(cluster.namespace))
        pin = with_result(find(revisions_of(resource), revision)).name if revision else None
        engine = engine_of(resource)
        if only_print or engine is not None:
            return pin, engine or "--print"
        change(cluster, target, resource, {"spec": {"promote": {"pin": pin}}})
    return pin, None
