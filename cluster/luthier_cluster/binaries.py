"""The programs that no package brings, built by Go once and kept.

The cached file's name holds a hash of the module's files, the flags and Go's version:
a change builds anew, a rerun does nothing, and two checkouts don't fight.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .commands import CommandError, run
from .layout import cache_root
from .locks import locked
from .output import say, step

MODULES = Path(__file__).resolve().parent.parent / "binaries"

KUBERNETES_VERSION = "v1.34.4"
_MINOR = KUBERNETES_VERSION.split(".")[1]
HELM_VERSION = "v3.22.0"
KUEUE_VERSION = "v0.17.0"
JOBSET_VERSION = "v0.12.0"  # as in binaries/jobset/go.mod
KWOK_VERSION = "v0.8.0"


@dataclass(frozen=True)
class Binary:
    """A program, built from a module folder of ours or from a published `package@version`.

    `package`: which one, where the folder only says from which versions. `minutes` is what a cold
    build takes on two cores; `links` are the names by which the program is called as well.
    """

    name: str
    source: str
    minutes: float
    variables: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    package: str = "."

    @property
    def is_published(self) -> bool:
        return "@" in self.source


_VERSION = "k8s.io/component-base/version"
KUBERNETES = Binary(
    "kubernetes",
    "kubernetes",
    4,
    # Without these the API server and the node report v0.0.0.
    (
        f"{_VERSION}.gitVersion={KUBERNETES_VERSION}",
        f"{_VERSION}.gitMajor=1",
        f"{_VERSION}.gitMinor={_MINOR}",
        f"{_VERSION}.gitTreeState=clean",
    ),
    links=("kubectl",),
)
COREDNS = Binary("coredns", "coredns", 2.5)
PAUSE = Binary("pause", "pause", 0.1)
HELM = Binary(
    "helm",
    f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}",
    2,
    (
        f"helm.sh/helm/v3/internal/version.version={HELM_VERSION}",
        # What `helm template` takes for the cluster's version.
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
        f"helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor={_MINOR}",
    ),
)
KUEUE_MODULE = f"sigs.k8s.io/kueue@{KUEUE_VERSION}"
KUEUE = Binary(
    "kueue",
    f"sigs.k8s.io/kueue/cmd/kueue@{KUEUE_VERSION}",
    6,
    (f"sigs.k8s.io/kueue/pkg/version.GitVersion={KUEUE_VERSION}",),
)
# By a module of ours, which names it: `go install` would ask for a list of its versions.
JOBSET_MODULE = f"sigs.k8s.io/jobset@{JOBSET_VERSION}"
JOBSET = Binary("jobset", "jobset", 3, package="sigs.k8s.io/jobset")
KWOK = Binary("kwok", f"sigs.k8s.io/kwok/cmd/kwok@{KWOK_VERSION}", 3)
# What GitOps engines say of objects, by their own code.
FLUX_HEALTH = Binary("fluxhealth", "fluxhealth", 1)
ARGO_HEALTH = Binary("argohealth", "argohealth", 4)
# Flux itself, for those who run the complete matrices.
FLUX_SOURCE = Binary("source-controller", "flux", 4, package="github.com/fluxcd/source-controller")
FLUX_KUSTOMIZE = Binary(
    "kustomize-controller", "flux", 4, package="github.com/fluxcd/kustomize-controller"
)


def folder() -> Path:
    """Where the built programs lie, each under its name and a hash."""
    return cache_root() / "bin"


def tools() -> Path:
    """A folder for $PATH: `kubectl` and `helm` under their plain names."""
    return cache_root() / "tools"


def fingerprint(binary: Binary, go_version: str) -> str:
    """Twelve hex digits that change with whatever the built program depends on."""
    digest = hashlib.sha256("\0".join([go_version, binary.source, *binary.variables]).encode())
    if not binary.is_published:
        for file in sorted((MODULES / binary.source).iterdir()):
            digest.update(f"\0{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def ensure(binary: Binary) -> Path:
    """The program's file, built if it isn't there; `CommandError` if it can't be built."""
    file = folder() / f"{binary.name}-{fingerprint(binary, _go_version())}"
    if not file.exists():
        with locked(folder() / f".{binary.name}.lock", within=2400):
            if not file.exists():
                _build(binary, file)
    for link in (binary.name, *binary.links):
        _link(tools() / link, file)
    return file


@cache
def module_folder(module: str) -> Path:
    """Where Go keeps the sources of a published `module@version`, fetched if they aren't there.

    `CommandError` if they can't be had. Nobody may write there.
    """
    told = run(["go", "mod", "download", "-json", module], within=300)
    return Path(json.loads(told)["Dir"])


@cache
def _go_version() -> str:
    try:
        return run(["go", "env", "GOVERSION"]).strip()
    except CommandError as error:
        raise CommandError(
            f"{error}\nremedy: install Go 1.26 or newer (https://go.dev/dl/) and put it on PATH"
        ) from error


def _build(binary: Binary, file: Path) -> None:
    say(f"  building {binary.name}: once, about {binary.minutes:g} min on two cores")
    scratch = folder() / f".build-{binary.name}-{os.getpid()}"
    scratch.mkdir(parents=True)
    flags = ["-trimpath", "-ldflags", " ".join(["-s -w", *(f"-X {v}" for v in binary.variables)])]
    if binary.is_published:
        command = ["go", "install", *flags, binary.source]
        module, built = scratch, scratch / binary.name
    else:
        module, built = MODULES / binary.source, scratch / binary.name
        command = ["go", "build", *flags, "-o", str(built), binary.package]
    environment = os.environ | {"CGO_ENABLED": "0", "GOBIN": str(scratch)}
    try:
        with step(f"build {binary.name}"):
            _run_long(command, module, environment, log=folder() / f"{binary.name}.log")
        built.rename(file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _run_long(
    command: list[str], where: Path, environment: dict[str, str], log: Path, within: float = 2400
) -> None:
    """Runs with a sign of life every half minute and a limit; ended with us on an interrupt."""
    began = time.monotonic()
    with log.open("w") as stream:
        go = subprocess.Popen(command, cwd=where, env=environment, stdout=stream, stderr=stream)
        try:
            while True:
                try:
                    status = go.wait(30)
                    break
                except subprocess.TimeoutExpired:
                    say(f"    … {time.monotonic() - began:.0f} s")
                if time.monotonic() - began > within:
                    raise CommandError(f"{' '.join(command)}: not done after {within:g} s")
        finally:
            if go.poll() is None:
                go.terminate()
                go.wait()
    if status != 0:
        last = "\n".join(log.read_text().splitlines()[-15:])
        raise CommandError(f"{' '.join(command)}: exit status {status}\n{last}\nall of it: {log}")


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.rename(link)
