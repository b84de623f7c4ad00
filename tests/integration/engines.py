"""What Flux and Argo CD say of objects, by their own code, with the checks that we ship."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from integration.kube import Obj

from luthier_cluster import binaries
from luthier_cluster.binaries import Binary
from luthier_cluster.commands import run

GITOPS = Path(__file__).parents[2] / "examples" / "gitops"
_HEALTH = "resource.customizations.health."


@dataclass(frozen=True)
class Said:
    """The words of the engines about one object."""

    flux: str  # kstatus: what `wait` and `healthChecks` go by
    flux_message: str
    in_use: str  # by the `healthCheckExprs` of examples/gitops/flux/support-production.yaml
    argo: str  # by examples/gitops/argocd/argocd-cm.yaml
    argo_message: str


def ask(objects: Sequence[Obj]) -> list[Said]:
    """Each engine, once for all of them."""
    flux = _answers(binaries.FLUX_HEALTH, {"exprs": _expressions(), "objects": objects})
    argo = _answers(binaries.ARGO_HEALTH, {"lua": _scripts(), "objects": objects})
    return [
        Said(
            by_flux["kstatus"]["status"],
            by_flux["kstatus"]["message"],
            by_flux["exprs"]["status"],
            by_argo.get("status", ""),
            by_argo.get("message", ""),
        )
        for by_flux, by_argo in zip(flux, argo, strict=True)
    ]


def kstatus(obj: Obj) -> str:
    """What kstatus alone says: no expression can read an object without a status."""
    (answer,) = _answers(binaries.FLUX_HEALTH, {"objects": [obj]})
    return str(answer["kstatus"]["status"])


def _answers(engine: Binary, asked: Obj) -> list[Any]:
    answers: list[Any] = json.loads(run([binaries.ensure(engine)], input=json.dumps(asked)))
    return answers


@cache
def _scripts() -> dict[str, str]:
    """GROUP/KIND → Lua, as Argo CD reads the keys of argocd-cm."""
    data = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text())["data"]
    return {key.removeprefix(_HEALTH).replace("_", "/"): script for key, script in data.items()}


@cache
def _expressions() -> dict[str, Obj]:
    document = yaml.safe_load((GITOPS / "flux" / "support-production.yaml").read_text())
    return {it.pop("kind"): it for it in document["spec"]["healthCheckExprs"]}
