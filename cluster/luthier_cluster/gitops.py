"""The kinds of GitOps engines as their Go modules bring them."""

from __future__ import annotations

from pathlib import Path

from . import binaries

_FLUX = "config/crd/bases"
_SOURCE = "github.com/fluxcd/source-controller@v1.9.6"
_KUSTOMIZE = "github.com/fluxcd/kustomize-controller@v1.9.6"
# module@version → the files of the kinds that examples/gitops uses.
_CRDS = {
    _SOURCE: (f"{_FLUX}/source.toolkit.fluxcd.io_gitrepositories.yaml",),
    _KUSTOMIZE: (f"{_FLUX}/kustomize.toolkit.fluxcd.io_kustomizations.yaml",),
    # The version that binaries/argohealth is built of.
    "github.com/argoproj/argo-cd/v3@v3.2.12": ("manifests/crds/applicationset-crd.yaml",),
}


def crds() -> list[Path]:
    """Their CRDs' files, fetched if they aren't there. `CommandError` if they can't be had."""
    return [
        binaries.module_folder(module) / file for module, files in _CRDS.items() for file in files
    ]


def of_flux() -> list[Path]:
    """Folders of all the kinds that Flux's controllers want to find. `CommandError` likewise."""
    return [binaries.module_folder(module) / _FLUX for module in (_SOURCE, _KUSTOMIZE)]
