"""Orders for a run on this machine, from the contract's manifests."""

from collections.abc import Mapping, Sequence
from typing import Any

from contract.manifests import FINE_TUNE_JOB, Manifest, changed

from luthier_api.finetuning import FineTuning
from luthier_api.kinds import KINDS
from luthier_api.optimizejob import SourceRef
from luthier_api.runspec import S3Access
from luthier_cli import local
from luthier_cli.configmaps import ConfigMaps
from luthier_cli.localstate import AnyOrder
from luthier_cli.order import Manifest as Read
from luthier_cli.order import Order, Spec
from luthier_cli.references import Result

PLACE = local.Place(
    output="file:///out",
    owner="local",
    cache_dir="/cache",
    scratch_dir="/scratch",
    storage=S3Access(),
    receiver="http://127.0.0.1:1",
    token_file="/token",
)
RESULT = Result(
    SourceRef(uri="file:///out/team-a/tone/r1-a", revision="r1-a", manifest_sha256="1" * 64),
    FineTuning.model_validate(
        {name: FINE_TUNE_JOB["spec"][name] for name in ("model", "task", "dataset", "training")}
    ),
)


def build(
    manifest: Manifest = FINE_TUNE_JOB,
    place: local.Place = PLACE,
    *,
    config_maps: ConfigMaps | None = None,
    results: Mapping[str, Result] | None = None,
    packages: Sequence[str] = (),
    **spec: Any,
) -> AnyOrder:
    """The order for the trainer; `spec`: changes by dotted path, with __ for the dot."""
    changes = {f"spec.{path.replace('__', '.')}": value for path, value in spec.items()}
    kind = KINDS[manifest["kind"]]
    parsed = kind.spec_model().model_validate(changed(manifest, changes)["spec"])
    assert isinstance(parsed, Spec)
    read = Read(kind, parsed, "team-a", "tone", parsed.output.uri, "file", [])
    order = Order(read, config_maps or {}, {"tone": RESULT} if results is None else results)
    return local.build_order(order, place, packages)
