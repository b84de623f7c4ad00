"""Each promise of docs/security.md names tests that there are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_promise_is_held_by_a_test() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    table = text.partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([a-z0-9_/]+\.py)(?:::(\w+))?`", row.split("|")[2])
        assert named, row
        for file, test in named:
            path = ROOT / "tests" / file
            assert path.exists(), f"{file}: {row}"
            if test:
                names = {getattr(node, "name", "") for node in ast.parse(path.read_text()).body}
                assert test in names, f"{file}::{test}: {row}"
