"""Runs the tests that a change can reach: those that import a changed file, nearest first.

A test is as far from a file as there are imports between them, those inside functions too. Other
files (charts, documents, examples) reach the tests of `_READERS`. Tests on a real node are left
out: they reach everything, and take minutes.
"""

import argparse
import ast
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Below these, a file's path is its module's name.
SOURCES = ("crds", "operator", "trainer", "cli", "cluster", "demo", "tests", ".")
LEFT_OUT = ("tests/e2e/", "tests/gpu/")
# Which tests read files that aren't Python.
_READERS = {
    "charts/": ["tests/unit/chart", "tests/contract"],
    "crds/": ["tests/contract", "tests/unit/api"],
    "docs/": ["tests/contract/test_documented.py"],
    "examples/": ["tests/contract"],
    "README.md": ["tests/contract/test_documented.py"],
    "requirements/": ["tests/unit/chart/test_images.py"],
    "Dockerfile": ["tests/unit/chart/test_images.py"],
}


def imports(tree: ast.AST, module: str) -> Iterator[str]:
    """Every name that may be a module, of all imports in a file."""
    package = module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def importers(files: Iterable[Path]) -> dict[Path, set[Path]]:
    """File → the files that import it. A conftest.py counts as imported by the tests below it."""
    files = list(files)
    modules = {_module(file): file for file in files}
    found: dict[Path, set[Path]] = defaultdict(set)
    for file in files:
        for name in _imported(file):
            if name in modules and modules[name] != file:
                found[modules[name]].add(file)
        if file.name == "conftest.py":
            found[file] |= {f for f in files if f != file and f.is_relative_to(file.parent)}
    return found


@cache
def _imported(file: Path) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_bytes())
    return frozenset(imports(tree, _module(file)))


def _module(file: Path) -> str:
    source = next(source for source in SOURCES if source == "." or file.is_relative_to(source))
    parts = file.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def distances(changed: Iterable[Path], importing: Mapping[Path, set[Path]]) -> dict[Path, int]:
    """Every file that a changed one reaches → the imports between them."""
    found = dict.fromkeys(changed, 0)
    queue = deque(found)
    while queue:
        file = queue.popleft()
        for other in importing.get(file, ()):
            if other not in found:
                found[other] = found[file] + 1
                queue.append(other)
    return found


def reached(changed: Iterable[Path], files: Iterable[Path]) -> dict[str, int]:
    """Test file or folder → its distance from what changed, nearest first."""
    changed = list(changed)
    python = [file for file in changed if file.suffix == ".py"]
    found = {
        str(file): distance
        for file, distance in distances(python, importers(files)).items()
        if file.name.startswith("test_") and not str(file).startswith(LEFT_OUT)
    }
    for file in changed:
        for start, tests in _READERS.items():
            if file.suffix != ".py" and str(file).startswith(start):
                found.update(dict.fromkeys(tests, 0))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def _git(*arguments: str) -> list[Path]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return [Path(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Exit code: pytest's; 0 when nothing is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--since", default="HEAD", help="a commit: changed since then (HEAD)")
    parser.add_argument("--within", type=int, default=2, help="imports between, at most (2)")
    parser.add_argument("--list", action="store_true", help="only list them")
    options = parser.parse_args()
    new = _git("ls-files", "--others", "--exclude-standard")
    changed = [*_git("diff", "--name-only", "--diff-filter=d", options.since), *new]
    files = [*_git("ls-files", "*.py"), *(file for file in new if file.suffix == ".py")]
    found = reached(changed, [file for file in files if (ROOT / file).exists()])
    near = [name for name, distance in found.items() if distance <= options.within]
    for name in near:
        print(f"  {found[name]}  {name}")
    if far := len(found) - len(near):
        print(f"  further away, not run: {far} test files (WITHIN={max(found.values())} runs them)")
    if options.list or not near:
        raise SystemExit(0)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not matrix", "-n", "auto"]
    raise SystemExit(subprocess.run([*command, "--dist", "worksteal", *near], cwd=ROOT).returncode)


if __name__ == "__main__":
    main()
