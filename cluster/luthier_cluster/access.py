"""Who may talk to the API server: tokens and kubeconfigs of the components."""

from __future__ import annotations

import base64
import json

from .layout import Layout
from .record import Record, write_private

# identity -> (user, groups). The API server's own bootstrap roles are bound to these.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": ("system:node:{node}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
    "dns": ("luthier:dns", ""),
}


def token_table(node: str, tokens: dict[str, str]) -> str:
    """The API server's --token-auth-file: token, user, uid, groups."""
    lines = []
    for identity, (user, groups) in USERS.items():
        user = user.format(node=node)
        lines.append(f'{tokens[identity]},{user},{identity},"{groups}"\n')
    return "".join(lines)


def kubeconfig(cluster: str, server: str, authority: bytes, token: str) -> dict[str, object]:
    """A kubeconfig whose one context is named after the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {
                "name": cluster,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(authority).decode(),
                },
            }
        ],
        "users": [{"name": cluster, "user": {"token": token}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
    }


def create(layout: Layout, record: Record) -> None:
    """Writes the token table and a kubeconfig for each identity (JSON is YAML, too)."""
    write_private(layout.credentials / "tokens.csv", token_table(layout.name, record.tokens))
    authority = (layout.credentials / "pki" / "ca.crt").read_bytes()
    for identity, token in record.tokens.items():
        content = kubeconfig(layout.name, layout.api_server, authority, token)
        write_private(layout.component_kubeconfig(identity), json.dumps(content, indent=1))
