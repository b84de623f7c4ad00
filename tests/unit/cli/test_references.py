"""Results on this machine that a manifest refers to."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import yaml
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, Manifest, changed
from unit.cli.command import luthier

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_cli.errors import CliError
from luthier_cli.order import Options, Order, check_all, order_of, read_manifests
from luthier_cli.paths import file_uri
from luthier_cli.references import just_made, newest_result, packages

SPEC = {name: FINE_TUNE_JOB["spec"][name] for name in ("model", "task", "dataset", "training")}


def publish(
    output: Path, revision: str, created: str, kind: str = "FineTuneJob", **spec: object
) -> Path:
    """A finished result of `tone`, as far as others look at it."""
    folder = output / "default" / "tone" / revision
    folder.mkdir(parents=True)
    manifest = {"run": {"kind": kind}, "created": created, "spec": SPEC | spec, "files": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def order(output: Path, *manifests: Manifest, allow_code: bool = False) -> Order:
    file = output / "all.yaml"
    file.write_text(yaml.safe_dump_all(manifests))
    options = Options(output=str(output), kind=manifests[0]["kind"], allow_code=allow_code)
    [read] = read_manifests(str(file), options)
    return order_of(read, options)


def test_the_newest_finished_result_is_taken(tmp_path: Path) -> None:
    publish(tmp_path, "r1-b", "2026-01-01T10:00:00+00:00")
    newest = publish(tmp_path, "r1-a", "2026-01-01T11:00:00+00:00")
    publish(tmp_path, "r1-c", "2026-01-01T12:00:00+00:00", kind="OptimizeJob")
    (tmp_path / "default" / "tone" / "r1-d").mkdir()  # one that is going on
    found = order(tmp_path, OPTIMIZE_JOB).results["tone"].source
    assert (found.uri, found.revision) == (file_uri(newest), "r1-a")
    digest = hashlib.sha256((newest / "manifest.json").read_bytes()).hexdigest()
    assert found.manifest_sha256 == digest


def test_of_the_same_second_the_later_one_is_newer(tmp_path: Path) -> None:
    second = "2026-01-01T10:00:00+00:00"
    later, earlier = publish(tmp_path, "r1-a", second), publish(tmp_path, "r1-b", second)
    os.utime(earlier / "manifest.json", (1, 1))
    found = newest_result(file_uri(tmp_path), "default", "tone")
    assert found
    assert found.source.uri == file_uri(later)


def test_what_has_just_been_run_comes_first(tmp_path: Path) -> None:
    newest = publish(tmp_path, "r1-a", "2026-01-01T10:00:00+00:00")
    manifest = order(tmp_path, OPTIMIZE_JOB).manifest
    status = {"revision": "r1-b", "artifact": {"uri": "s3://a/b/r1-b", "manifestSha256": "0"}}
    made = just_made(FineTuneJobSpec.model_validate(FINE_TUNE_JOB["spec"]), status)

    def taken(namespace: str, options: Options) -> str:
        return order_of(manifest, options, {(namespace, "tone"): made}).results["tone"].source.uri

    here = Options(output=str(tmp_path))
    assert taken("default", here) == "s3://a/b/r1-b"
    assert taken("default", Options(s3=True)) == "s3://a/b/r1-b"
    # Another namespace's is another one.
    assert taken("team-b", here) == file_uri(newest)


def test_what_lacks_is_told_before_the_first_is_run(tmp_path: Path) -> None:
    other = changed(OPTIMIZE_JOB, {"spec.source.fineTuneJobRef.name": "elsewhere"})
    file = tmp_path / "all.yaml"
    file.write_text(yaml.safe_dump_all([FINE_TUNE_JOB, OPTIMIZE_JOB, other]))
    options = Options(output=str(tmp_path), every=True)
    with pytest.raises(CliError, match="result of FineTuneJob elsewhere"):
        check_all(read_manifests(str(file), options), options)


def test_without_a_result_the_command_that_makes_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(CliError) as refused:
        order(tmp_path, OPTIMIZE_JOB, FINE_TUNE_JOB)
    assert "OptimizeJob tone takes the result of FineTuneJob tone, and there is none" in str(
        refused.value
    )
    command = f"luthier run {tmp_path}/all.yaml --kind ftj --name tone --output {tmp_path}"
    assert refused.value.remedy == f"make it first: {command}"

    done = luthier("run", str(tmp_path / "all.yaml"), "--kind", "opj", "--output", str(tmp_path))
    assert (done.returncode, command in done.stderr) == (2, True)


def test_results_in_s3_are_not_looked_up(tmp_path: Path) -> None:
    file = tmp_path / "opj.yaml"
    file.write_text(yaml.safe_dump(OPTIMIZE_JOB))
    [read] = read_manifests(str(file), Options(s3=True))
    with pytest.raises(CliError) as refused:
        order_of(read, Options(s3=True))
    assert "aren't looked up from here" in str(refused.value)
    assert "--output DIR" in refused.value.remedy


def test_what_is_no_manifest_is_named(tmp_path: Path) -> None:
    folder = publish(tmp_path, "r1-a", "2026-01-01T10:00:00+00:00", task="juggling")
    with pytest.raises(CliError, match="is of another version of Luthier"):
        order(tmp_path, OPTIMIZE_JOB)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CliError, match="is no manifest of a result"):
        order(tmp_path, OPTIMIZE_JOB)


def test_the_rows_of_what_is_taken_must_be_here_too(tmp_path: Path) -> None:
    rows = {"uri": "configmap://rows/train.csv", "template": "{a} {b}", "evalFraction": 0.1}
    publish(tmp_path, "r1-a", "2026-01-01T10:00:00+00:00", dataset=rows)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rows"},
        "data": {"train.csv": "a,b"},
    }
    with pytest.raises(CliError, match="no ConfigMap rows"):
        order(tmp_path, OPTIMIZE_JOB)
    assert order(tmp_path, OPTIMIZE_JOB, config_map).config_maps == {"rows": {"train.csv": b"a,b"}}
    # A bundle measures on them only if that decides about an adapter.
    assert order(tmp_path, ADAPTER_BUNDLE).config_maps == {}
    judged = changed(ADAPTER_BUNDLE, {"spec.maxMetricDrop": 0.1})
    with pytest.raises(CliError, match="no ConfigMap rows"):
        order(tmp_path, judged)


def test_a_folder_serves_as_the_adapter_of_a_bundle(tmp_path: Path) -> None:
    own = {"name": "own", "uri": "file:///adapters/own"}
    read = order(tmp_path, changed(ADAPTER_BUNDLE, {"spec.adapters": [own]})).manifest.spec
    assert read.to_json()["adapters"] == [own]


def test_packages_newest_first(tmp_path: Path) -> None:
    old = publish(tmp_path, "r1-a", "2026-01-01T10:00:00+00:00", kind="AdapterBundle")
    new = publish(tmp_path, "r1-b", "2026-01-01T11:00:00+00:00", kind="AdapterBundle")
    publish(tmp_path, "r1-c", "2026-01-01T12:00:00+00:00")
    assert packages(file_uri(tmp_path), "default", "tone") == [file_uri(new), file_uri(old)]
    assert packages("s3://bucket/x", "default", "tone") == []
