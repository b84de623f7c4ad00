"""A certificate authority of the cluster's own, by openssl, and what it signs."""

from __future__ import annotations

import shutil
from pathlib import Path

from .commands import run
from .layout import API_SERVICE, Layout

DAYS = "3650"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

AUTHORITY = """\
[req]
distinguished_name = name
x509_extensions = extensions
[name]
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
"""

LEAF = """\
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


def server_names(address: str) -> list[str]:
    """What the API server is called: by pods, by the components, and by this machine."""
    services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = ["localhost", *services, "kubernetes.default.svc.cluster.local"]
    addresses = [address, API_SERVICE, "127.0.0.1"]
    return [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)]


def create(layout: Layout) -> None:
    """ca, apiserver, kubelet-client (.crt and .key each) and sa.key, unless they exist.

    Made in a folder beside and renamed, so there are all of them or none.
    """
    folder = layout.credentials / "pki"
    if folder.exists():
        return
    half = folder.with_name(".pki")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True, mode=0o700)
    (half / "authority.cnf").write_text(AUTHORITY)
    run(
        ["openssl", "req", "-x509", *NEW_KEY, "-days", DAYS, "-subj", f"/CN=luthier-{layout.name}"]
        + ["-config", half / "authority.cnf", "-keyout", half / "ca.key", "-out", half / "ca.crt"]
    )
    names = ",".join(server_names(layout.address))
    server = LEAF.format(usage="serverAuth") + f"subjectAltName = {names}\n"
    _sign(half, "apiserver", "/CN=kube-apiserver", server)
    # The API server's own credentials towards the kubelet: without them, no `kubectl logs`.
    client = LEAF.format(usage="clientAuth")
    _sign(half, "kubelet-client", "/O=system:masters/CN=kube-apiserver", client)
    run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
        + ["-out", half / "sa.key"]
    )
    half.rename(folder)


def _sign(folder: Path, name: str, subject: str, extensions: str) -> None:
    request, key = folder / f"{name}.csr", folder / f"{name}.key"
    (folder / f"{name}.cnf").write_text(extensions)
    run(
        ["openssl", "req", "-new", *NEW_KEY, "-subj", subject, "-config", folder / "authority.cnf"]
        + ["-keyout", key, "-out", request]
    )
    run(
        ["openssl", "x509", "-req", "-in", request, "-days", DAYS, "-CAcreateserial"]
        + ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"]
        + ["-extfile", folder / f"{name}.cnf", "-out", folder / f"{name}.crt"]
    )
