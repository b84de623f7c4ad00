"""The documentation as a site: every page is on it, and every link leads somewhere."""

import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]


def build(root: Path) -> subprocess.CompletedProcess[str]:
    """`make docs` of the checkout `root`."""
    command = [sys.executable, str(root / "scripts" / "site.py")]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of the repository a page shows."""
    for name in ("docs", "examples", "charts", "scripts", "trainer"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "mkdocs.yml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_site_stands_by_itself(checkout: Path) -> None:
    done = build(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    site = checkout / "out" / "site"
    home = (site / "index.html").read_text()
    assert 'href="finetunejob.html"' in home
    assert 'href="docs/' not in home
    shown = (site / "files/examples/wordnet/finetunejob.yaml.html").read_text()
    assert "smollm2" in shown
    assert "<title>" in (site / "adr/0001-checkpoints-without-pickle.html").read_text()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("[gone](gone.md)", "docs/chat.md links to gone.md"),
        ("[outside](../../etc/passwd)", "docs/chat.md links to ../../etc/passwd"),
        ("[heading](search.md#gone)", "anchor does not exist"),
    ],
)
def test_a_link_to_nowhere_fails_it(checkout: Path, line: str, named: str) -> None:
    page = checkout / "docs" / "chat.md"
    page.write_text(f"{page.read_text()}\n{line}\n")
    done = build(checkout)
    assert done.returncode == 1
    assert named in done.stdout + done.stderr


def test_every_page_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """That leaves names of Python alone."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    pages = {
        PurePosixPath(path.relative_to(ROOT / "docs")).as_posix()
        for path in (ROOT / "docs").glob("**/*.md")
        if path.parent.name != "adr"  # its list leads to each
    }
    missing = pages - set(_leaves(nav))
    assert not missing, f"not in the nav of mkdocs.yml: {sorted(missing)}"


def test_every_decision_is_in_their_list() -> None:
    listed = (ROOT / "docs/adr/README.md").read_text()
    found = {path.name for path in (ROOT / "docs/adr").glob("0*.md")}
    assert not {name for name in found if f"({name})" not in listed}


def _leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    inside = nav.values() if isinstance(nav, dict) else nav
    return [leaf for part in inside for leaf in _leaves(part)]
