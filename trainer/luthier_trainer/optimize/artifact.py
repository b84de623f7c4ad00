"""A published package, as its manifest tells it."""

from collections.abc import Mapping
from typing import Any

from luthier_api.optimizejob import OptimizedArtifact
from luthier_api.runstatus import ArtifactRef


def artifact_of(manifest: Mapping[str, Any], reference: ArtifactRef) -> OptimizedArtifact:
    return OptimizedArtifact(
        uri=reference.uri,
        manifest_sha256=reference.manifest_sha256,
        precision=manifest["package"]["precision"],
        format=manifest["package"]["format"],
    )
