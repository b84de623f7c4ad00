"""Long descriptions of programs and their one-line summaries.

Source: this Debian machine's own lists: the packages installed (`/var/lib/dpkg/status`) and,
where the package `appstream` is, its catalogue of programs (apt's `*_dep11_Components-*`).
Licence: a description is under its package's own (`/usr/share/doc/PACKAGE/copyright`); a
catalogue's under the free one that its program's metadata names. They are read from your
machine, and no rows come with this example. Another machine has other packages, and so other
rows; the same lists and seed give the same bytes.

A description or summary that occurs twice (libraries and their -dev) is taken once.
"""

import gzip
import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from shared import Row, options, write

STATUS = Path("/var/lib/dpkg/status")
LISTS = Path("/var/lib/apt/lists")
SHORTEST, LONGEST = 120, 900  # characters of a description

_FIELD = re.compile(r"^Description: (.+)\n((?: .*\n?)+)", re.M)


def from_packages(path: Path) -> Iterator[tuple[str, str]]:
    """(description, summary) of each package; deb822(5): a line of " ." is an empty one."""
    for stanza in path.read_text(encoding="utf-8").split("\n\n"):
        if found := _FIELD.search(stanza + "\n"):
            yield " ".join(found[2].replace("\n .\n", "\n").split()), found[1].strip()


def from_catalogue(path: Path) -> Iterator[tuple[str, str]]:
    """The same of each program, in English; its description is HTML."""
    import yaml

    with gzip.open(path, "rt", encoding="utf-8") as file:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        for entry in yaml.load_all(file, Loader=loader):
            description = (entry.get("Description") or {}).get("C")
            summary = (entry.get("Summary") or {}).get("C")
            if description and summary:
                text = html.unescape(re.sub(r"<[^>]*>", " ", description))
                yield " ".join(text.split()), summary.strip()


def rows() -> list[Row]:
    if not STATUS.exists():
        raise SystemExit(f"{STATUS} is missing: this example reads a Debian machine's packages")
    found = list(from_packages(STATUS))
    for path in sorted(LISTS.glob("*_dep11_Components-*.yml.gz")):
        found += from_catalogue(path)
    kept, seen = [], set()
    for text, summary in sorted(found):
        keys = {text.lower(), summary.lower()}
        if SHORTEST <= len(text) <= LONGEST and len(summary) >= 10 and not keys & seen:
            kept.append({"description": text, "summary": summary})
            seen |= keys
    return kept


if __name__ == "__main__":
    write(rows(), options(__doc__, 4000, 100))
