"""Images without a registry: a docker-archive is a tar of a tar and two JSON files.

Format: docker image spec v1.2 (manifest.json, one config, one layer).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

from .commands import run
from .layout import Layout

PAUSE = "luthier.local/pause:1"
HOST_ROOT = "luthier.local/host-root:1"

# A root without content: pods mount this machine's /usr, … into it.
HOST_ROOT_FOLDERS = {
    **dict.fromkeys(("usr", "etc", "proc", "sys", "dev", "var", "run", "home"), 0o755),
    "root": 0o755,
    "tmp": 0o1777,
}
HOST_ROOT_LINKS = {name: f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")}
HOST_ROOT_FILES = {
    # Programs ask for the name and home of the user that they run as.
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n",
    "etc/group": b"root:x:0:\nnonroot:x:65532:\n",
}


def layer(
    folders: dict[str, int], links: dict[str, str], files: dict[str, tuple[bytes, int]]
) -> bytes:
    """A tar with these folders (mode), links (target) and files (content, mode). Pure."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, mode in folders.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            tar.addfile(entry)
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def docker_archive(tag: str, content: bytes, config: dict[str, object]) -> bytes:
    """The image `tag` with one layer, as `docker load` and `ctr images import` read it. Pure."""
    digest = hashlib.sha256(content).hexdigest()
    image = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(image).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}.tar"]}]
    return layer(
        {},
        {},
        {
            "manifest.json": (json.dumps(manifest).encode(), 0o644),
            name: (image, 0o644),
            f"{digest}.tar": (content, 0o644),
        },
    )


def pause(program: bytes) -> bytes:
    """The image that holds a pod's namespaces: one static program."""
    content = layer({}, {}, {"pause": (program, 0o755)})
    return docker_archive(PAUSE, content, {"Entrypoint": ["/pause"], "User": "65535:65535"})


def host_root() -> bytes:
    """The image whose pods bring everything along as mounts of this machine's folders."""
    files = {name: (content, 0o644) for name, content in HOST_ROOT_FILES.items()}
    content = layer(HOST_ROOT_FOLDERS, HOST_ROOT_LINKS, files)
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return docker_archive(HOST_ROOT, content, {"Env": [f"PATH={path}"], "User": "65532:65532"})


def load(layout: Layout, archive: Path) -> None:
    """Imports a docker-archive into the node's containerd, where pods find it by its tag."""
    ctr = ["ctr", f"--address={layout.containerd_socket}", "--namespace=k8s.io"]
    run([*ctr, "images", "import", archive], within=600)


def loaded(layout: Layout) -> set[str]:
    """The tags that the node has."""
    ctr = ["ctr", f"--address={layout.containerd_socket}", "--namespace=k8s.io"]
    return set(run([*ctr, "images", "list", "--quiet"]).split())
