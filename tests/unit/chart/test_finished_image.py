"""What is taken out of an image at the end of its build, and the bill of what is left."""

import io
import json
import stat
import tarfile
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
STATUS = """\
Package: libc6
Status: install ok installed
Version: 2.36-9+deb12u1
Architecture: amd64
Description: libraries
 of several lines

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: perl
Status: install ok installed
Version: 1:5.36
Architecture: amd64
"""
SITE = "opt/luthier/lib/python3.11/site-packages"


@pytest.fixture(scope="module")
def finish() -> dict[str, Any]:
    return run_path(str(SCRIPTS / "finish_image.py"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system as a build leaves it."""
    files = {
        "var/lib/dpkg/status": STATUS,
        "etc/os-release": 'NAME="Debian"\nID=debian\n',
        f"{SITE}/pydantic_core-2.41.0.dist-info/METADATA": "Name: pydantic_core\nVersion: 2.41.0\n",
        f"{SITE}/torch-2.13.0+cpu.dist-info/METADATA": "Name: torch\nVersion: 2.13.0+cpu\n",
        f"{SITE}/setuptools-70.0.dist-info/METADATA": "Name: setuptools\nVersion: 70.0\n",
        f"{SITE}/setuptools/__init__.py": "",
        f"{SITE}/pipeline/__init__.py": "not pip",
        "usr/local/lib/python3.12/site-packages/pip/__init__.py": "",
        "usr/local/lib/python3.12/ensurepip/_bundled/pip.whl": "",
        "usr/share/python-wheels/pip.whl": "",
        "usr/local/bin/pip3": "",
        "var/lib/apt/lists/Packages": "",
        "var/cache/apt/archives/x.deb": "",
        "var/log/dpkg.log": "",
        "usr/bin/su": "",
        "usr/bin/wall": "",
        "usr/bin/python3": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "usr/bin/su").chmod(0o4755)
    (tmp_path / "usr/bin/wall").chmod(0o2755)
    (tmp_path / "bin").symlink_to("usr/bin")
    return tmp_path


def test_nothing_that_installs_is_left(finish: dict[str, Any], root: Path) -> None:
    assert any("su: setuid" in it for it in finish["problems"](root))
    finish["strip"](root)
    assert finish["problems"](root) == []
    left = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert left == {
        "var/lib/dpkg/status",
        "etc/os-release",
        f"{SITE}/pydantic_core-2.41.0.dist-info/METADATA",
        f"{SITE}/torch-2.13.0+cpu.dist-info/METADATA",
        f"{SITE}/pipeline/__init__.py",
        "usr/bin/su",
        "usr/bin/wall",
        "usr/bin/python3",
    }
    for name in ("su", "wall"):
        assert stat.S_IMODE((root / "usr/bin" / name).stat().st_mode) == 0o755


@pytest.mark.parametrize(
    "name", ["gcc", "gcc-12", "x86_64-linux-gnu-gcc", "cc", "clang-15", "ld", "as", "make", "g++"]
)
def test_a_compiler_stops_the_build(finish: dict[str, Any], root: Path, name: str) -> None:
    finish["strip"](root)
    (root / "usr/bin" / name).write_text("")
    assert finish["problems"](root) == [f"{root}/usr/bin/{name}: a compiler"]


def test_the_bill_is_cyclonedx_and_names_every_package(finish: dict[str, Any], root: Path) -> None:
    finish["strip"](root)
    bill = finish["bill"](root, "luthier-operator")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert [it["purl"] for it in bill["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64",
        "pkg:deb/debian/perl@1%3A5.36?arch=amd64",
        "pkg:pypi/pydantic-core@2.41.0",
        "pkg:pypi/torch@2.13.0%2Bcpu",
    ]
    assert finish["bill"](root, "luthier-operator") == bill


def test_the_bill_is_found_in_the_archive(tmp_path: Path) -> None:
    images, finish = (run_path(str(SCRIPTS / f"{name}.py")) for name in ("images", "finish_image"))
    assert images["BILL"] == finish["BILL"]
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        add(tar, "0/layer.tar", layer({finish["BILL"]: b"of the base", "etc/x": b""}))
        add(tar, "1/layer.tar", layer({f"./{finish['BILL']}": b"{}"}))
        add(tar, "2/layer.tar", layer({"opt/luthier/src/x.py": b""}))
        layers = [f"{number}/layer.tar" for number in range(3)]
        add(tar, "manifest.json", json.dumps([{"Layers": layers}]).encode())
    assert images["read_bill"](archive) == b"{}"


def layer(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            add(tar, name, content)
    return target.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_a_day_of_debian() -> None:
    bootstrap = run_path(str(SCRIPTS / "images.py"))["bootstrap"]
    today, day = bootstrap("trixie", None), bootstrap("trixie", "20260101T000000Z")
    assert today[-1] == "trixie"
    assert day[-3:] == [
        "trixie",
        "-",
        "https://snapshot.debian.org/archive/debian/20260101T000000Z/",
    ]
