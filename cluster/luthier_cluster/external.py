"""A cluster that somebody else runs, used only when it is named outright."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .kubectl import run_kubectl


@dataclass(frozen=True)
class ExternalCluster:
    """Its S3 comes from CLUSTER_S3_ENDPOINT, CLUSTER_S3_ACCESS_KEY, CLUSTER_S3_SECRET_KEY.

    It has no component that could be killed or restarted: fault tests look at `is_external`
    and refuse.
    """

    kubeconfig: Path
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    is_external = True
    flavour = "external"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ExternalCluster | None:
        """None without CLUSTER_KUBECONFIG; `ClusterError` where it names no file."""
        named = environment.get("CLUSTER_KUBECONFIG")
        if not named:
            return None
        kubeconfig = Path(named).expanduser()
        if not kubeconfig.is_file():
            raise ClusterError(f"CLUSTER_KUBECONFIG={named}: no such file")
        return cls(
            kubeconfig,
            environment.get("CLUSTER_S3_ENDPOINT", ""),
            environment.get("CLUSTER_S3_ACCESS_KEY", ""),
            environment.get("CLUSTER_S3_SECRET_KEY", ""),
        )

    def up(self) -> None:
        """Asks it for its readiness; starts nothing. `ClusterError` if it can't be reached."""
        self.kubectl("get", "--raw", "/readyz", within=30)

    def down(self) -> None:
        """Leaves it as it is: it isn't ours."""

    def kubectl(
        self, *arguments: str, input: str | None = None, within: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """kubectl with its kubeconfig. `ClusterError` with its message if it fails."""
        return run_kubectl(self.kubeconfig, arguments, input=input, within=within, check=check)
