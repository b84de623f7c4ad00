"""Programs of READMEs, run as they stand, where there is nothing but what their text names."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

# In front of the program: what isn't named can't be imported. What the standard library or the
# program's own folder has can be.
_ONLY = """
import re, sys
from importlib import metadata

allowed, todo = set(), {names!r}
while todo:
    name = todo.pop().lower().replace("_", "-")
    if name not in allowed:
        allowed.add(name)
        try:
            needed = [it for it in metadata.requires(name) or [] if "extra ==" not in it]
        except metadata.PackageNotFoundError:  # of another platform
            continue
        todo += [re.split(r"[^A-Za-z0-9_.-]", it)[0] for it in needed]
owners = metadata.packages_distributions()

class Only:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        ours = ["luthier"] if re.match("luthier_(trainer|api|cli|operator)$", top) else []
        found = [it.lower().replace("_", "-") for it in owners.get(top, ours)]
        hidden = found and not allowed.intersection(found)
        return None if hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Only(finder) for finder in sys.meta_path]
"""
_PROGRAM = re.compile(r"^(`{3,})python\n(.*?)\n\1$", re.DOTALL | re.MULTILINE)
_NEEDS = re.compile(r"`pip install ([^`]+)`(, and Luthier's trainer)?")


def answers(readme: Path, seconds: float = 900) -> list[str]:
    """What each program of a README prints, run in its folder."""
    text = readme.read_text()
    found = []
    for program in _PROGRAM.finditer(text):
        packages, ours = _NEEDS.findall(text[: program.start()])[-1]
        names = [*packages.split(), *(["luthier", "peft"] if ours else [])]
        ran = subprocess.run(
            [sys.executable, "-E", "-s", "-c", _ONLY.format(names=names) + program[2]],
            cwd=readme.parent,
            env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        found.append(ran.stdout.strip())
    assert found, text
    return found


def told(folder: Path) -> dict[str, object]:
    """The row in a folder's ask.json."""
    row: dict[str, object] = json.loads((folder / "ask.json").read_text())["row"]
    return row
