"""Which of a file's resources `luthier run` takes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed
from unit.cli.command import luthier

from luthier_api.kinds import ADAPTER_BUNDLE as BUNDLE
from luthier_api.kinds import FINE_TUNE_JOB as FTJ
from luthier_api.kinds import OPTIMIZE_JOB as OPJ
from luthier_cli.errors import CliError
from luthier_cli.order import Options, read_manifests
from luthier_cli.shortcuts import shortcuts

OTHER = changed(FINE_TUNE_JOB, {"metadata.name": "other"})
ALL = (ADAPTER_BUNDLE, OPTIMIZE_JOB, FINE_TUNE_JOB)


def chosen(
    folder: Path, manifests: Sequence[Manifest], options: Options | None = None
) -> list[str]:
    file = folder / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    return [str(it) for it in read_manifests(str(file), options or Options())]


def test_the_only_one_needs_no_choice(tmp_path: Path) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert chosen(tmp_path, [config_map, OPTIMIZE_JOB]) == ["OptimizeJob tone"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (Options(name="other"), ["FineTuneJob other"]),
        (Options(kind="opj"), ["OptimizeJob tone"]),
        (Options(kind="AdapterBundle"), ["AdapterBundle tones"]),
        (Options(kind="finetunejobs", name="tone"), ["FineTuneJob tone"]),
        # What others refer to comes first, whatever the file's order.
        (
            Options(every=True),
            ["FineTuneJob tone", "FineTuneJob other", "OptimizeJob tone", "AdapterBundle tones"],
        ),
        (Options(every=True, kind="ftj"), ["FineTuneJob tone", "FineTuneJob other"]),
    ],
)
def test_choices(tmp_path: Path, options: Options, found: list[str]) -> None:
    assert chosen(tmp_path, [*ALL, OTHER], options) == found


@pytest.mark.parametrize(
    ("options", "words", "remedy"),
    [
        (Options(), "has 4 resources: AdapterBundle/tones, OptimizeJob/tone", "--all"),
        (Options(name="tone"), "has 2 resources", "--kind and --name"),
        (Options(name="third"), "no resource third in", "FineTuneJob/other"),
        (Options(kind="ab", name="tone"), "no AdapterBundle tone in", "AdapterBundle/tones"),
        (Options(kind="job"), "--kind job: no such kind", "OptimizeJob"),
        (Options(every=True, settings=["a.b=1"]), "--all runs several", "one by one"),
    ],
)
def test_what_is_no_choice(tmp_path: Path, options: Options, words: str, remedy: str) -> None:
    with pytest.raises(CliError) as refused:
        chosen(tmp_path, [*ALL, OTHER], options)
    assert words in str(refused.value)
    assert remedy in refused.value.remedy


def test_mistakes_of_all_are_told_before_the_first_is_run(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    wrong = changed(OPTIMIZE_JOB, {"spec.gates.metric": "f1"})
    file.write_text(yaml.safe_dump_all([wrong, changed(FINE_TUNE_JOB, {"spec.tusk": 1})]))
    done = luthier("run", str(file), "--all")
    assert done.returncode == 1
    assert "spec.gates.metric: metric and maxMetricDrop belong together" in done.stderr
    assert "spec.tusk: unknown field" in done.stderr


def test_where_files_of_this_machine_go(tmp_path: Path) -> None:
    there = tmp_path
    uri = f'"file://{there}"'
    by_uri = {"source": {"modelUri": "s3://m/m"}, "evaluation": {"task": "generation"}}

    assert shortcuts(FTJ, {}, there, there, strict=True) == [
        f"model.uri={uri}",
        f"dataset.uri={uri}",
    ]
    assert shortcuts(OPJ, by_uri, there, there, strict=True) == [
        f"source.modelUri={uri}",
        f"evaluation.dataset.uri={uri}",
    ]
    assert shortcuts(BUNDLE, {}, there, None, strict=True) == [f"base.uri={uri}"]
    assert shortcuts(OPJ, OPTIMIZE_JOB["spec"], there, there, strict=False) == []
    with pytest.raises(CliError, match="--model: this OptimizeJob names none"):
        shortcuts(OPJ, OPTIMIZE_JOB["spec"], there, None, strict=True)
    with pytest.raises(CliError, match="doesn't exist"):
        shortcuts(FTJ, {}, Path("/nowhere"), None, strict=True)
