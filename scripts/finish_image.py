"""Run in an image at the end of its build, by its own Python: takes away what no program in it
needs (pip, setuptools, what apt keeps, setuid bits), and writes a bill of what is left.

`python finish_image.py NAME` works on /; the bill is CycloneDX, at BILL. Standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

BILL = "usr/share/doc/luthier/sbom.cdx.json"
# Debian's: venv brings pip and setuptools, as wheels.
_INSTALLERS = re.compile(r"python3(\.\d+)?-venv|python3-(pip|setuptools|wheel)(-whl)?")
# Of a base that isn't Debian's own Python, and what Debian's package managers keep.
_LEFTOVERS = (
    "usr/local/lib/python3*/ensurepip",
    "usr/lib/python3*/ensurepip",
    "usr/share/python-wheels",
    *(
        f"{place}/python3*/{kind}-packages/{name}"
        for place in ("usr/local/lib", "usr/lib", "opt/luthier/lib")
        for kind in ("site", "dist")
        for name in ("pip", "pip-*", "setuptools", "setuptools-*", "_distutils_hack", "wheel",
                     "wheel-*", "distutils-precedence.pth")
    ),
    *(f"{place}/pip*" for place in ("usr/local/bin", "usr/bin", "opt/luthier/bin")),
    "var/lib/apt/lists/*",
    "var/cache/apt/*",
    "var/cache/debconf/*-old",
    "var/log/*",
    "root/.cache",
)  # fmt: skip
_COMPILERS = re.compile(r"(.*-)?(gcc|g\+\+|cc|c\+\+|clang|ld|as|make|rustc|go|tcc)(-[\d.]+)?")
_BINARIES = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin", "bin", "sbin")


def strip(root: Path) -> None:
    """Remove installers and leftovers, and take setuid and setgid bits."""
    for pattern in _LEFTOVERS:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    for path, mode in _files(root):
        if mode & (stat.S_ISUID | stat.S_ISGID):
            path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))


def problems(root: Path) -> list[str]:
    """What an image should not have, and this one has."""
    found = [
        f"{path}: setuid or setgid"
        for path, mode in _files(root)
        if mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    found += [f"{path}: left" for pattern in _LEFTOVERS for path in root.glob(pattern)]
    for folder in _BINARIES:
        programs = root / folder
        if programs.is_dir() and not programs.is_symlink():
            names = (path for path in programs.iterdir() if _COMPILERS.fullmatch(path.name))
            found += [f"{path}: a compiler" for path in names]
    return sorted(found)


def bill(root: Path, name: str) -> dict[str, Any]:
    """A CycloneDX document of its Debian and Python packages. The same packages, the same bill."""
    components = [*_debian(root), *_python(root)]
    components.sort(key=lambda it: str(it["bom-ref"]))
    digest = hashlib.sha256(json.dumps(components).encode()).hexdigest()
    serial = f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": name, "name": name}},
        "components": components,
        "dependencies": [{"ref": name, "dependsOn": [it["bom-ref"] for it in components]}],
    }


def installed(root: Path) -> list[tuple[str, str, str]]:
    """(name, version, architecture) of the Debian packages."""
    status = root / "var/lib/dpkg/status"
    if not status.is_file():
        return []
    paragraphs = status.read_text(encoding="utf-8", errors="replace").split("\n\n")
    found = [HeaderParser().parsestr(it.lstrip()) for it in paragraphs if it.strip()]
    return [
        (it["Package"], it["Version"], it["Architecture"])
        for it in found
        if "ok installed" in (it["Status"] or "")
    ]


def _debian(root: Path) -> Iterator[dict[str, Any]]:
    distribution = "debian"
    release = root / "etc/os-release"
    if release.is_file() and (named := re.search(r"^ID=\"?(\w+)", release.read_text(), re.M)):
        distribution = named[1]
    for name, version, architecture in installed(root):
        purl = f"pkg:deb/{distribution}/{name}@{_quoted(version)}?arch={architecture}"
        yield _component(name, version, purl)


def _python(root: Path) -> Iterator[dict[str, Any]]:
    seen = set()
    for place in sorted(root.glob("opt/luthier/lib/python3*/site-packages")):
        for found in distributions(path=[str(place)]):
            name = re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower()
            purl = f"pkg:pypi/{name}@{_quoted(found.version)}"
            if purl not in seen:
                seen.add(purl)
                yield _component(name, found.version, purl)


def _component(name: str, version: str, purl: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


def _quoted(version: str) -> str:
    return version.replace("%", "%25").replace("+", "%2B").replace(":", "%3A")


def _files(root: Path) -> Iterator[tuple[Path, int]]:
    """Regular files with their modes; not those of other mounts (/proc, /sys)."""
    device = root.lstat().st_dev
    waiting = [root]
    while waiting:
        for path in waiting.pop().iterdir():
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                # Of a file an overlay tells the device that it really lies on.
                if status.st_dev == device:
                    waiting.append(path)
            elif stat.S_ISREG(status.st_mode):
                yield path, status.st_mode


def main() -> None:
    root, name = Path("/"), sys.argv[1]
    installers = [it for it, _, _ in installed(root) if _INSTALLERS.fullmatch(it)]
    if installers:
        subprocess.run(["dpkg", "--purge", *installers], check=True)
    strip(root)
    if found := problems(root):
        sys.exit("\n".join(found))
    target = root / BILL
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(root, name), indent=1))


if __name__ == "__main__":
    main()
