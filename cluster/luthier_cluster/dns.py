"""Cluster DNS: CoreDNS as a process of the node, behind the usual Service. Pure.

The Service has no selector; its EndpointSlice leads to the node's own address.
"""

from __future__ import annotations

import json
from typing import Any

from .layout import DNS_PORT, DNS_SERVICE, Layout

NAMESPACE = "kube-system"


def corefile(layout: Layout) -> str:
    """Names of the cluster alone: whatever else is asked for doesn't exist."""
    return f"""\
.:{DNS_PORT} {{
    bind {layout.address}
    errors
    health {layout.address}:8080
    ready {layout.address}:8181
    cache 30
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {layout.component_kubeconfig("dns")} {layout.name}
        pods insecure
        ttl 30
    }}
}}
"""


def manifests(layout: Layout) -> str:
    """Service, EndpointSlice, and the right to watch what DNS answers from."""
    ports = [
        {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": DNS_PORT},
        {"name": "dns-tcp", "protocol": "TCP", "port": 53, "targetPort": DNS_PORT},
    ]
    watched = [
        {"apiGroups": [""], "resources": ["services", "namespaces", "pods", "endpoints"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]},
    ]
    items: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kube-dns",
                "namespace": NAMESPACE,
                "labels": {"k8s-app": "kube-dns"},
            },
            "spec": {"clusterIP": DNS_SERVICE, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kube-dns",
                "namespace": NAMESPACE,
                "labels": {"kubernetes.io/service-name": "kube-dns"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [layout.address]}],
            "ports": [
                {"name": port["name"], "protocol": port["protocol"], "port": DNS_PORT}
                for port in ports
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "luthier-dns"},
            "rules": [{**rule, "verbs": ["list", "watch"]} for rule in watched],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "luthier-dns"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "luthier-dns",
            },
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "luthier:dns"}
            ],
        },
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
