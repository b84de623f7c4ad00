"""What a user sees when something is not as asked."""

import pytest

from luthier_cluster import cli
from luthier_cluster.cluster import Cluster


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(command in shown for command in cli.COMMANDS)


def test_a_bad_name_is_an_error_without_a_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["up", "--name", "No"]) == 1
    assert "error: cluster name 'No'" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_says_how_to_start_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["status", "--name", "not-there"]) == 1
    assert "up --name not-there" in capsys.readouterr().err


def test_an_unknown_flavour_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="control-plane, full"):
        Cluster("demo", "half")
