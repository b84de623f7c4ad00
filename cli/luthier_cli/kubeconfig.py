"""Which kubeconfig is meant. Light: told without loading the Kubernetes client."""

import os
from pathlib import Path


def configured(kubeconfig: str | None = None, context: str | None = None) -> bool:
    """Whether a cluster was named, or a kubeconfig lies where kubectl looks."""
    if kubeconfig or context or os.environ.get("KUBECONFIG"):
        return True
    return (Path.home() / ".kube" / "config").exists()
