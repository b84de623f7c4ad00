"""What Tab offers, as a shell asks for it."""

import json
import subprocess
import sys
from pathlib import Path

from contract.manifests import OPTIMIZE_JOB
from unit.cli.command import environment, fine_tune_job, named

from luthier_cluster import Cluster


def offered(line: str, kubeconfig: Path | None = None) -> list[str]:
    """For the last word of `line`."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [Path(sys.executable).with_name("luthier")],
        env=environment(kubeconfig, _LUTHIER_COMPLETE="complete_bash", **asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_kinds_and_commands() -> None:
    assert offered("luthier list o") == ["opj"]
    assert "describe" in offered("luthier d")


def test_names_of_the_namespace(control_plane: Cluster, namespace: str) -> None:
    jobs = [fine_tune_job("tone", namespace), named(OPTIMIZE_JOB, "small", namespace)]
    control_plane.kubectl("apply", "-f", "-", input="\n---\n".join(map(json.dumps, jobs)))
    where = control_plane.kubeconfig
    assert sorted(offered(f"luthier watch -n {namespace} ", where)) == ["opj/small", "tone"]
    assert offered(f"luthier watch -n {namespace} t", where) == ["tone"]
    assert offered(f"luthier pull -n {namespace} opj/", where) == ["opj/small"]
    assert offered("luthier watch --context ", where)


def test_nothing_where_there_is_no_cluster(tmp_path: Path) -> None:
    nowhere = tmp_path / "config"
    nowhere.write_text("{}")
    for kubeconfig in (None, nowhere):
        assert offered("luthier watch t", kubeconfig) == []
