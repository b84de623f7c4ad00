"""The image script's pure parts: what pip is told inside a build, and when to build anew."""

import configparser
import re
import shutil
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def images() -> dict[str, Any]:
    return run_path(str(ROOT / "scripts/images.py"))


def test_pip_settings_of_files_and_environment(images: dict[str, Any], tmp_path: Path) -> None:
    site, user = tmp_path / "site.conf", tmp_path / "user.conf"
    site.write_text("[global]\nindex-url = https://site.example/simple\ncache-dir = /x\n")
    user.write_text("[install]\nindex-url = https://user.example/simple\nretries = 7\n")
    found = images["pip_settings"](
        [site, user, tmp_path / "none"], {"PIP_RETRIES": "9", "PIP_FIND_LINKS": "/here"}
    )
    assert found == {"index-url": "https://user.example/simple", "retries": "9"}


def test_pip_conf_is_one_that_pip_reads(images: dict[str, Any]) -> None:
    text = images["pip_conf"]({"extra-index-url": "https://a\nhttps://b"}, with_ca=True)
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    assert parser["global"]["extra-index-url"].split() == ["https://a", "https://b"]
    assert parser["global"]["cert"] == "/run/secrets/ca"
    assert "cert" not in images["pip_conf"]({}, with_ca=False)


def test_the_hash_follows_what_is_copied_and_nothing_else(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for folder in ("crds/luthier_api", "operator/luthier_operator", "requirements", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder)
    shutil.copy(ROOT / "Dockerfile", copy)
    content_hash = run_path(str(copy / "scripts/images.py"))["content_hash"]

    first = content_hash("operator", "base")
    (copy / "operator/luthier_operator/__pycache__").mkdir(exist_ok=True)
    (copy / "operator/luthier_operator/__pycache__/x.pyc").write_bytes(b"1")
    (copy / "requirements/trainer.txt").write_text("")
    assert content_hash("operator", "base") == first
    assert content_hash("operator", "another base") != first
    (copy / "crds/luthier_api/new.py").write_text("")
    assert content_hash("operator", "base") != first


@pytest.mark.parametrize("target", ["operator", "trainer"])
def test_locks_have_hashes_and_name_no_host(target: str) -> None:
    text = (ROOT / f"requirements/{target}.txt").read_text()
    assert "://" not in text
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert len(entries) > 20
    assert all("--hash=sha256:" in entry for entry in entries)


def test_images_get_the_versions_that_the_tests_ran_with() -> None:
    def versions(name: str) -> set[tuple[str, str]]:
        lines = re.findall(
            r"^([a-z0-9-]+)==(\S+)(.*)$", (ROOT / f"requirements/{name}.txt").read_text(), re.M
        )
        # What only another platform installs says nothing about this one.
        return {(n, v) for n, v, marker in lines if not re.search("win32|emscripten", marker)}

    tested = versions("dev")
    for target in ("operator", "trainer"):
        assert versions(target) <= tested, "run scripts/lock.sh"


def test_the_operators_lock_has_neither_torch_nor_boto3() -> None:
    text = (ROOT / "requirements/operator.txt").read_text()
    assert not re.search(r"^(torch|boto3|transformers|nvidia-\S+)==", text, re.M)
