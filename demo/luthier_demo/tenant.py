"""A tenant's namespace as a platform team would set it up: restricted, with its own S3 key."""

import json
from typing import Any

from luthier_cluster import Cluster

SECRET = "luthier-s3"  # noqa: S105 (a name)


def manifests(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The namespace and its S3 credentials."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {
                "AWS_ACCESS_KEY_ID": cluster.s3_access_key,
                "AWS_SECRET_ACCESS_KEY": cluster.s3_secret_key,
            },
        },
    ]


def create(cluster: Cluster, namespace: str, extra: list[dict[str, Any]] | None = None) -> None:
    """Apply the namespace's manifests, and `extra` ones."""
    items = [*manifests(cluster, namespace), *(extra or [])]
    document = {"apiVersion": "v1", "kind": "List", "items": items}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(document))
