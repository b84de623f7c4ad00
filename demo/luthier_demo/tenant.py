"""A tenant's namespace as a platform team would set it up: restricted, with its own S3 key."""

import json
from typing import Any

from luthier_cluster import Cluster
from luthier_cluster.host_files import CLAIM, volume_and_claim

SECRET = "luthier-s3"  # noqa: S105 (a name)


def manifests(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The namespace, its S3 credentials, and its claim on the machine's folders."""
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
        *volume_and_claim(namespace),
    ]


def create(cluster: Cluster, namespace: str) -> None:
    """Apply the namespace's manifests. Can be repeated.

    Waits until the claim is bound: a pod that comes before it may wait minutes for its next try.
    """
    document = {"apiVersion": "v1", "kind": "List", "items": manifests(cluster, namespace)}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(document))
    bound = "--for=jsonpath={.status.phase}=Bound"
    cluster.kubectl("-n", namespace, "wait", f"pvc/{CLAIM}", bound, "--timeout=30s")
