"""A certificate authority of the cluster's own, by openssl, and what it signs."""

from __future__ import annotations

import shutil
from pathlib import Path

from .commands import run
from .layout import API_SERVICE, Layout

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
DAYS = "-days 3650"

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
    """What the API server is called: by pods, by the components, and by this machine. Pure."""
    services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = ["localhost", *services, "kubernetes.default.svc.cluster.local"]
    addresses = [address, API_SERVICE, "127.0.0.1"]
    return [*(f"DNS:{name}" for name in names), *(f"IP:{address}" for address in addresses)]


def create(layout: Layout) -> None:
    """ca, apiserver, kubelet-client (.crt, .key) and sa (.key, .pub), unless they exist.

    Made in a folder beside and renamed, so there are all of them or none.
    """
    pki = layout.credentials / "pki"
    if pki.exists():
        return
    half = pki.with_name(".pki")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True, mode=0o700)

    (half / "authority.cnf").write_text(AUTHORITY)
    subject = f"-subj /CN=luthier-{layout.name} -config authority.cnf"
    _openssl(half, f"req -x509 {NEW_KEY} {DAYS} {subject} -keyout ca.key -out ca.crt")

    names = ",".join(server_names(layout.address))
    server = LEAF.format(usage="serverAuth") + f"subjectAltName = {names}\n"
    _sign(half, "apiserver", "/CN=kube-apiserver", server)
    # The API server's own credentials towards the kubelet: without them, no `kubectl logs`.
    client = LEAF.format(usage="clientAuth")
    _sign(half, "kubelet-client", "/O=system:masters/CN=kube-apiserver", client)

    _openssl(half, "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key")
    _openssl(half, "pkey -in sa.key -pubout -out sa.pub")
    half.rename(pki)


def _sign(pki: Path, name: str, subject: str, extensions: str) -> None:
    (pki / f"{name}.cnf").write_text(extensions)
    request = f"{NEW_KEY} -subj {subject} -config authority.cnf"
    _openssl(pki, f"req -new {request} -keyout {name}.key -out {name}.csr")
    authority = "-CA ca.crt -CAkey ca.key -CAcreateserial"
    signed = f"-in {name}.csr -extfile {name}.cnf -out {name}.crt"
    _openssl(pki, f"x509 -req {DAYS} {authority} {signed}")


def _openssl(folder: Path, arguments: str) -> None:
    run(["openssl", *arguments.split()], folder=folder)
