"""The rows of examples/wordclass, made from a WordNet of a few lines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parents[3] / "examples" / "wordclass"
LICENCE = "  1 This software and database is being provided to you, the LICENSEE, | by …\n"
GLOSSES = {
    "noun": ['the first thing of all; "here it is"', "what a verb says, too, word for word"],
    "verb": ["bring about the first change", "what a verb says, too, word for word"],
    "adj": ["like the first thing of all", "short"],
    "adv": ["in the manner of the first", "in the manner of another"],
}
PROGRAM = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import prepare_data as it
found = it.by_class(pathlib.Path(sys.argv[2]))
many = {name: [f"{name} {n}" for n in range(50)] for name in found}
print(json.dumps([found, it.draw(many, 40, 20, 7)]))
"""


def write(folder: Path) -> None:
    for name, glosses in GLOSSES.items():
        lines = [f"{n:08} 03 n 01 it 0 000 | {gloss}  \n" for n, gloss in enumerate(glosses)]
        (folder / f"data.{name}").write_text(LICENCE + "".join(lines))


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as the script changes the path that modules are found on."""
    command = [sys.executable, "-c", PROGRAM, str(EXAMPLE), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def made(folder: Path) -> Any:
    """Definitions by class, and the train and test rows that are drawn of many."""
    done = run(folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_shared_short_and_exemplified_definitions(tmp_path: Path) -> None:
    write(tmp_path)
    assert made(tmp_path)[0] == {
        "noun": ["the first thing of all"],
        "verb": ["bring about the first change"],
        "adjective": ["like the first thing of all"],
        "adverb": ["in the manner of another", "in the manner of the first"],
    }


def test_a_guess_is_right_once_in_four_times(tmp_path: Path) -> None:
    write(tmp_path)
    train, test = made(tmp_path)[1]
    for rows, each in ((train, 10), (test, 5)):
        labels = [row["label"] for row in rows]
        assert {name: labels.count(name) for name in labels} == dict.fromkeys(
            ("noun", "verb", "adjective", "adverb"), each
        )
        assert all(row["gloss"].startswith(row["label"]) for row in rows)
    assert not {row["gloss"] for row in train} & {row["gloss"] for row in test}
    assert made(tmp_path)[1] == [train, test]


def test_without_wordnet_the_remedy_is_told(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "data.noun is missing: apt-get install wordnet-base" in done.stderr
