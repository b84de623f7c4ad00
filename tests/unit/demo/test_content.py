"""What scripts make is made once, whoever asks for it at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from luthier_demo import content

SCRIPT = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[2])
folder.mkdir(parents=True)
time.sleep(0.3)
(folder / "made").touch()
with open({log!r}, "a") as log:
    log.write("once ")
"""


def test_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(SCRIPT.format(log=str(log)))
    with ThreadPoolExecutor(3) as pool:
        found = set(pool.map(lambda _: content.folder("it", script), range(3)))
    assert log.read_text() == "once "
    [folder] = found
    assert (folder / "made").exists()
    assert list(folder.parent.iterdir()) == [folder]


def test_what_a_killed_one_left_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE", str(tmp_path / "cache"))
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(log=str(tmp_path / "log")))
    folder = content.folder("it", script)
    folder.rename(folder.with_suffix(".part"))
    assert content.folder("it", script) == folder
