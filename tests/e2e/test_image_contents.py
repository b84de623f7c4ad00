"""What is in the image that the cluster runs, layer upon layer."""

import json
import re
import stat
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from luthier_demo import install

INSTALLERS = re.compile(
    r"/(ensurepip|python-wheels)(/|$)|/(site|dist)-packages/(pip|setuptools|wheel)([-/]|$)"
    r"|/bin/pip|^var/(lib/apt/lists|cache/apt)/."
)
COMPILERS = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|ld|as|make|tcc)(-[\d.]+)?")


def merged(archive: Path) -> tuple[dict[str, tarfile.TarInfo], dict[str, Any], dict[str, bytes]]:
    """(entries of the file system, the image's config, texts of some files)."""
    entries: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        [manifest] = json.load(member(tar, "manifest.json"))
        config = json.load(member(tar, manifest["Config"]))
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=member(tar, name)) as layer:
                for entry in layer:
                    path = PurePosixPath(entry.name.lstrip("./"))
                    if path.name.startswith(".wh."):
                        forget(entries, path)
                        continue
                    entries[str(path)] = entry
                    if path.name == "sbom.cdx.json":
                        texts[str(path)] = member(layer, entry.name).read()
    return entries, config["config"], texts


def forget(entries: dict[str, tarfile.TarInfo], whiteout: PurePosixPath) -> None:
    name = whiteout.name.removeprefix(".wh.")
    gone = str(whiteout.parent) if name == ".wh..opq" else str(whiteout.parent / name)
    for path in [it for it in entries if it == gone or it.startswith(f"{gone}/")]:
        del entries[path]


def member(tar: tarfile.TarFile, name: str) -> Any:
    found = tar.extractfile(name)
    assert found is not None
    return found


def test_nothing_that_a_running_container_has_no_use_for() -> None:
    _, archive = install.build_image("operator")  # there already, as the cluster runs it
    entries, config, texts = merged(archive)
    files = {path: entry for path, entry in entries.items() if entry.isfile()}
    assert len(files) > 1000
    assert [path for path, it in files.items() if it.mode & (stat.S_ISUID | stat.S_ISGID)] == []
    assert [path for path in files if INSTALLERS.search(path)] == []
    programs = [path for path in entries if PurePosixPath(path).parent.name in ("bin", "sbin")]
    assert programs
    assert [it for it in programs if COMPILERS.fullmatch(PurePosixPath(it).name)] == []

    assert config["User"] == "65532:65532"
    assert "PYTHONSAFEPATH=1" in config["Env"]

    [bill] = texts.values()
    packages = {it["name"] for it in json.loads(bill)["components"]}
    assert {"libc6", "kopf", "kubernetes", "pydantic"} <= packages
    assert packages.isdisjoint({"pip", "setuptools", "python3-venv", "python3-pip-whl"})
    assert archive.with_suffix(".cdx.json").read_bytes() == bill
