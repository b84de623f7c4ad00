"""What is read from the trainer's own output."""

from pathlib import Path

from luthier_cli.trainerlog import end_of, tail, warnings_of

FIRST = "     0.1s data: 3 rows\n     0.2s warning: of an earlier start\n"
SECOND = (
    "     0.1s warning: data: keys that teach nothing: weight\n"
    "     9.9s warning: data: keys that teach nothing: weight\n"
    "Traceback, warning: of others\n"
    "   123.4s your loss: 0.1s warning: forged\n"
    "   123.4s warning: merged: größe\n"
)


def test_warnings_of_this_start_each_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert (end_of(log), warnings_of(log, 0)) == (0, [])
    log.write_text(FIRST)
    begin = end_of(log)
    log.write_text(FIRST + SECOND)
    assert warnings_of(log, begin) == [
        "data: keys that teach nothing: weight",
        "merged: größe",
    ]
    assert len(warnings_of(log, 0)) == 3
    assert tail(log, 2).splitlines()[1] == "   123.4s warning: merged: größe"
