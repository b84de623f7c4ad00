"""Builds the images of the Dockerfile: `python scripts/images.py operator|trainer|all`.

A running Docker engine builds where there is one, on the Dockerfile's own base; elsewhere
buildah does, on a Debian base made here by mmdebstrap, so that no registry is needed. An image
whose contents haven't changed is there already. A base is named by its digest, or made of
Debian's packages: today's, or with --snapshot those of a day. Progress goes to stderr; stdout gets
one JSON object, {target: {tag, file, sbom, bytes, ownBytes}}: `file` is a docker-archive, `sbom`
the bill of what is in it, as CycloneDX, which out/ has, too.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from luthier_cluster.commands import CommandError
from luthier_cluster.errors import ClusterError
from luthier_cluster.layout import cache_root
from luthier_cluster.locks import locked
from luthier_cluster.output import say, step
from luthier_cluster.packages import ensure_programs

REPOSITORY = Path(__file__).resolve().parent.parent
TARGETS = {"operator": "operator/luthier_operator", "trainer": "trainer/luthier_trainer"}
FINISH = REPOSITORY / "scripts/finish_image.py"
BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates", "libtcmalloc-minimal4")
# What pip needs to reach an index. Paths of this machine mean nothing inside, but for the CA.
PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")
# Seconds: a cold trainer image downloads and unpacks 5 GB.
BUILD_LIMIT = 3600.0
EXPORT_LIMIT = 1200.0
KEPT = 2  # archives of each target
BILL = "usr/share/doc/luthier/sbom.cdx.json"
OUT = REPOSITORY / "out"
SNAPSHOTS = "https://snapshot.debian.org/archive/debian"


def images_folder() -> Path:
    return cache_root() / "images"


def content_hash(target: str, base: str) -> str:
    """Twelve hex digits that change with whatever ends up in the image."""
    digest = hashlib.sha256(base.encode())
    files = [REPOSITORY / "Dockerfile", REPOSITORY / f"requirements/{target}.txt", FINISH]
    for root in ("crds/luthier_api", TARGETS[target]):
        files += sorted(
            path
            for path in (REPOSITORY / root).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
    for file in files:
        digest.update(f"\0{file.relative_to(REPOSITORY)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def pip_settings(files: Sequence[Path], environment: Mapping[str, str]) -> dict[str, str]:
    """Those of PIP_SETTINGS that this machine sets; a later file, then PIP_… wins, as in pip."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file)
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= dict(parser.items(section))
    for name in PIP_SETTINGS:
        if value := environment.get(f"PIP_{name.upper().replace('-', '_')}"):
            found[name] = value
    return {name: found[name] for name in PIP_SETTINGS if name in found}


def pip_conf(settings: Mapping[str, str], *, with_ca: bool) -> str:
    """The pip.conf that the build sees; /run/secrets/ca is where it finds the CA."""
    settings = dict(settings) | ({"cert": "/run/secrets/ca"} if with_ca else {})
    # A value of several lines (extra-index-url) goes on in indented ones.
    lines = [f"{name} = {value}".replace("\n", "\n    ") for name, value in settings.items()]
    return "\n".join(["[global]", *lines, ""])


@contextmanager
def build_secrets() -> Iterator[list[str]]:
    """Arguments that show the build this machine's pip settings and CA, for as long as it runs."""
    files = [Path("/etc/pip.conf"), Path("~/.pip/pip.conf"), Path("~/.config/pip/pip.conf")]
    settings = pip_settings([file.expanduser() for file in files], os.environ)
    bundle = Path(os.environ.get("PIP_CERT", CA_FILE))
    with tempfile.TemporaryDirectory(prefix="luthier-images-") as folder:
        conf = Path(folder, "pip.conf")
        conf.write_text(pip_conf(settings, with_ca=bundle.exists()))
        arguments = ["--secret", f"id=pip,src={conf}"]
        if bundle.exists():
            arguments += ["--secret", f"id=ca,src={bundle}"]
        yield arguments


def run(command: Sequence[str | Path], *, within: float) -> None:
    """Runs it with its output on stderr. CommandError when it fails or takes too long (seconds)."""
    words = [str(word) for word in command]
    # A group of its own: what a build step has started ends with it, too.
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd=REPOSITORY, process_group=0
    )
    try:
        status = process.wait(within)
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"{words[0]}: not done after {within:g} s") from error
    finally:
        end(process)
    if status != 0:
        raise CommandError(f"{' '.join(words)}: exit status {status}, see its output above")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends what still runs of its group, with the time to remove its own leftovers."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_layers(archive: Path) -> list[int]:
    """Bytes of each uncompressed layer of a docker-archive's first image, the base's first."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        if manifest is None:
            raise CommandError(f"{archive}: no docker-archive")
        return [tar.getmember(layer).size for layer in json.load(manifest)[0]["Layers"]]


def read_bill(archive: Path) -> bytes:
    """The bill of materials in a docker-archive's first image, of the topmost layer with one."""
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        layers = json.load(manifest)[0]["Layers"] if manifest else []
        for name in reversed(layers):
            with tarfile.open(fileobj=tar.extractfile(name)) as layer:
                for member in layer:
                    if member.name.lstrip("./") == BILL and (found := layer.extractfile(member)):
                        return found.read()
    raise CommandError(f"{archive}: no {BILL} in it")


class Docker:
    """A Docker engine with BuildKit."""

    def __init__(self, base: str | None) -> None:
        default = re.search(r"^ARG BASE=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.M)
        if default is None:
            raise CommandError("Dockerfile: no line ARG BASE=…")
        self.base = self._by_digest(base or default[1])

    @staticmethod
    def _by_digest(image: str) -> str:
        """A tag moves: what it means now is what is built on, and what the image's label says."""
        if "@sha256:" in image:
            return image
        run(["docker", "pull", "--quiet", image], within=EXPORT_LIMIT)
        form = ["--format", "{{index .RepoDigests 0}}"]
        return subprocess.check_output(
            ["docker", "image", "inspect", *form, image], text=True
        ).strip()

    @staticmethod
    def runs() -> bool:
        """Whether an engine answers (the client alone builds nothing)."""
        return shutil.which("docker") is not None and (
            subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
        )

    def build(self, target: str, tag: str, archive: Path) -> int:
        """Builds, writes the archive, and tells how many of its layers are the base's."""
        with build_secrets() as arguments, step(f"build {target}"):
            command = ["docker", "buildx", "build", "--load", "--network", "host", *arguments]
            what = ["--build-arg", f"BASE={self.base}", "--target", target, "--tag", tag, "."]
            run([*command, *what], within=BUILD_LIMIT)
        with step("write the archive"):
            run(["docker", "save", "--output", archive, tag], within=EXPORT_LIMIT)
        form = ["--format", "{{len .RootFS.Layers}}"]
        count = ["docker", "image", "inspect", *form, self.base]
        return int(subprocess.check_output(count, text=True))


def bootstrap(release: str, snapshot: str | None) -> list[str]:
    """The command that makes a base of Debian's packages: today's, or those of a day."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase"]
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man")]
    command += [f"--include={','.join(BASE_PACKAGES)}", *leave_out]
    if snapshot is None:
        return [*command, release]
    # Its Release files are of that day: they have expired since.
    expired = "--aptopt=Acquire::Check-Valid-Until false"
    return [*command, expired, release, "-", f"{SNAPSHOTS}/{snapshot}/"]


class Buildah:
    """buildah with a storage of our own below the cache, so that nobody's images are touched.

    Each target has its own, so that an operator needn't wait for a trainer.
    """

    def __init__(self, base: str | None, snapshot: str | None = None) -> None:
        programs = ["buildah"] if base else ["buildah", "mmdebstrap"]
        ensure_programs({name: name for name in programs})
        self.given = base
        self.snapshot = snapshot
        self.release = platform.freedesktop_os_release().get("VERSION_CODENAME", "stable")
        self.base = base or f"luthier.local/base:{self.release}-{self._recipe()}"

    def _recipe(self) -> str:
        return hashlib.sha256(
            "\0".join(bootstrap(self.release, self.snapshot)).encode()
        ).hexdigest()[:12]

    def build(self, target: str, tag: str, archive: Path) -> int:
        """Builds, writes the archive, and tells how many of its layers are the base's."""
        storage = Storage(images_folder() / f"storage-{target}")
        try:
            if self.given is None and not storage.has(self.base):
                self._make_base(storage)
            with build_secrets() as arguments, step(f"build {target}"):
                # chroot: needs no container runtime.
                command = ["build", "--layers", "--force-rm", "--isolation", "chroot", *arguments]
                what = ["--build-arg", f"BASE={self.base}", "--target", target, "--tag", tag, "."]
                storage.run([*command, "--network", "host", *what], within=BUILD_LIMIT)
            with step("write the archive"):
                where = f"docker-archive:{archive}:{tag}"
                storage.run(["push", "--quiet", tag, where], within=EXPORT_LIMIT)
        finally:
            storage.run(["rm", "--all"], within=60)
        return storage.count_layers(self.base)

    def _make_base(self, storage: Storage) -> None:
        root = images_folder() / f"base-{self._recipe()}.tar"
        with locked(root.with_suffix(".lock"), within=900):
            if not root.exists():
                with step(f"base: Debian {self.release} by mmdebstrap"):
                    half = images_folder() / ".base.tar"
                    run([*bootstrap(self.release, self.snapshot), half], within=900)
                    half.rename(root)
        with step("base as an image"):
            container = storage.ask(["from", "scratch"])
            storage.run(["add", "--quiet", container, root, "/"], within=300)
            storage.run(["commit", "--quiet", "--rm", container, self.base], within=300)


@dataclass(frozen=True)
class Storage:
    """buildah on the images and containers in one folder."""

    root: Path

    def has(self, image: str) -> bool:
        return bool(self.ask(["images", "--quiet", "--filter", f"reference={image}"]))

    def count_layers(self, image: str) -> int:
        form = "{{len .OCIv1.RootFS.DiffIDs}}"
        return int(self.ask(["inspect", "--type", "image", "--format", form, image]))

    def run(self, words: Sequence[str | Path], *, within: float) -> None:
        run(self._command(words), within=within)

    def ask(self, words: Sequence[str]) -> str:
        return subprocess.check_output(self._command(words), text=True).strip()

    def _command(self, words: Sequence[str | Path]) -> list[str | Path]:
        # buildah's own state lies in /run, as it must not outlive a reboot; one for each storage.
        state = f"/run/luthier/buildah-{hashlib.sha256(bytes(self.root)).hexdigest()[:8]}"
        return ["buildah", "--root", self.root, "--runroot", state, *words]


def ensure(target: str, engine: Docker | Buildah) -> dict[str, str | int]:
    """The target's image, built unless its archive is there already.

    `bytes` counts the uncompressed layers; `ownBytes` those above the base.
    """
    fingerprint = content_hash(target, engine.base)
    tag = f"luthier.local/{target}:{fingerprint}"
    archive = images_folder() / f"luthier-{target}-{fingerprint}.tar"
    about = archive.with_suffix(".json")
    images_folder().mkdir(parents=True, exist_ok=True)
    with locked(images_folder() / f".{target}.lock", within=BUILD_LIMIT):
        if about.exists():
            say(f"  {tag} is there already")
        else:
            say(tag)
            fresh = images_folder() / f".{target}.tar"
            fresh.unlink(missing_ok=True)
            base_layers = engine.build(target, tag, fresh)
            layers = read_layers(fresh)
            fresh.rename(archive)
            bill = archive.with_suffix(".cdx.json")
            bill.write_bytes(read_bill(archive))
            size = {"bytes": sum(layers), "ownBytes": sum(layers[base_layers:])}
            found = {"tag": tag, "file": str(archive), "sbom": str(bill), **size}
            about.write_text(json.dumps(found))
            forget_old(target)
        image: dict[str, str | int] = json.loads(about.read_text())
    OUT.mkdir(exist_ok=True)
    shutil.copyfile(str(image["sbom"]), OUT / f"luthier-{target}.cdx.json")
    own = int(image["ownBytes"]) / 1e6
    say(f"  {int(image['bytes']) / 1e6:,.0f} MB, {own:,.0f} MB of them above the base")
    return image


def forget_old(target: str) -> None:
    """Removes archives but for the newest ones: their layers make them again in seconds."""
    every = images_folder().glob(f"luthier-{target}-*.json")
    found = [about for about in every if not about.name.endswith(".cdx.json")]
    for about in sorted(found, key=lambda file: file.stat().st_mtime)[:-KEPT]:
        for suffix in (".tar", ".cdx.json"):
            about.with_suffix(suffix).unlink(missing_ok=True)
        about.unlink()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("target", choices=[*TARGETS, "all"], nargs="?", default="all")
    parser.add_argument("--base", help="base image: Debian or Ubuntu with Python 3.11 or newer")
    parser.add_argument(
        "--snapshot",
        metavar="DAY",
        help="with buildah: Debian's packages of then, 20260101T000000Z",
    )
    options = parser.parse_args(arguments)
    # SIGTERM ends the build as Ctrl-C does, so that its leftovers are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        engine = Docker(options.base) if Docker.runs() else Buildah(options.base, options.snapshot)
        wanted = list(TARGETS) if options.target == "all" else [options.target]
        images = {target: ensure(target, engine) for target in wanted}
    except (ClusterError, subprocess.CalledProcessError) as error:
        say(f"images: {error}")
        return 1
    except KeyboardInterrupt:
        say("images: interrupted; the next call goes on from the layers that are done")
        return 130
    print(json.dumps(images, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
