"""`luthier validate --platform`: luthier.yaml, and what it allows of manifests."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract.manifests import ADAPTER_BUNDLE, FINE_TUNE_JOB, OPTIMIZE_JOB, changed
from typer.testing import CliRunner
from unit.cli.command import luthier, named

from luthier_api.finetunejob import FineTuneJobSpec
from luthier_api.kinds import KINDS
from luthier_api.platform import parse_platform
from luthier_api.runsettings import RunSettings
from luthier_api.sources import of_fine_tuning, of_run
from luthier_cli import platformfile
from luthier_cli.main import app
from luthier_operator.run import policy

PLATFORM = """\
defaultPool: cpu
pools:
- name: cpu
  image: registry.example.com/trainer
- name: gpu
  image: registry.example.com/trainer
  namespaces: [rich]
  maxGpus: 1
namespaces:
  "*": {maxDurationSeconds: 100}
  team:
    queue: team
    allowed: {sources: ["s3://models/", "s3://datasets/"], serviceAccounts: [trainer]}
"""
OF_KINDS = [FINE_TUNE_JOB, OPTIMIZE_JOB, ADAPTER_BUNDLE]


@pytest.fixture
def platform(tmp_path: Path) -> Path:
    path = tmp_path / "luthier.yaml"
    path.write_text(PLATFORM)
    return path


def told(
    platform: Path, *arguments: str, manifests: list[dict[str, Any]] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """The report, and what it says by field."""
    given = ["-"] if manifests else []
    text = yaml.safe_dump_all(manifests or [])
    json_of = ("--offline", "--output", "json", *arguments)
    command = ["validate", "--platform", str(platform), *given, *json_of]
    done = CliRunner().invoke(app, command, input=text)
    report = json.loads(done.output)
    assert done.exit_code == (0 if report["valid"] else 1)
    return report, {it["field"]: f"{it['message']} → {it['remedy']}" for it in report["findings"]}


@pytest.mark.parametrize(
    ("namespace", "changes", "fields"),
    [
        ("team", {}, []),
        ("team", {"spec.placement": {"pool": "gpus"}}, ["spec.placement.pool"]),
        ("team", {"spec.placement": {"pool": "gpu"}}, ["spec.placement.pool"]),
        ("rich", {"spec.placement": {"pool": "gpu", "gpus": 1}}, []),
        ("rich", {"spec.placement": {"gpus": 1}}, ["spec.placement.gpus"]),
        ("team", {"spec.placement": {"queueName": "other"}}, ["spec.placement.queueName"]),
        ("rich", {"spec.placement": {"queueName": "other"}}, []),
        ("rich", {"spec.limits.activeDeadlineSeconds": 101}, ["spec.limits.activeDeadlineSeconds"]),
        ("team", {"spec.model.uri": "s3://others/model"}, ["spec.model.uri"]),
        ("rich", {"spec.model.uri": "s3://others/model"}, []),
        ("team", {"spec.dataset.uri": "file:///data/a.csv"}, ["spec.dataset.uri"]),
        (
            "team",
            {"spec.model.uri": "hf://o/m", "spec.storage": {"serviceAccountName": "admin"}},
            ["spec.storage.serviceAccountName", "spec.model.uri"],
        ),
    ],
)
def test_what_the_operator_would_refuse(
    platform: Path, namespace: str, changes: dict[str, Any], fields: list[str]
) -> None:
    manifest = changed(named(FINE_TUNE_JOB, "tone", namespace), changes)
    report, said = told(platform, manifests=[manifest])
    assert sorted(said) == sorted(fields)
    assert (
        f"and {platform} (namespace default where a manifest names none)"
        in (report["checkedAgainst"])
    )
    # The operator's own word, in whose order the first is told.
    spec = FineTuneJobSpec.read(manifest["spec"])
    allowed = parse_platform(yaml.safe_load(PLATFORM))
    refusal = policy.check(spec, of_fine_tuning(spec), namespace, allowed)
    assert (refusal is None) == (not fields)
    if refusal:
        field, words = refusal.message.removesuffix(".").split(": ", 1)
        assert said[field].replace(" → ", ": ") == words


def test_the_namespace_is_the_manifests_then_that_of_the_option(platform: Path) -> None:
    asks = {"spec.placement": {"pool": "gpu"}}
    manifest = changed(FINE_TUNE_JOB, asks | {"metadata": {"name": "tone"}})
    assert "namespace default may not use pool 'gpu'" in str(told(platform, manifests=[manifest]))
    assert told(platform, "-n", "rich", manifests=[manifest])[1] == {}
    theirs = changed(manifest, {"metadata.namespace": "team"})
    report, said = told(platform, "-n", "rich", manifests=[theirs])
    assert "namespace team may not use pool 'gpu' → name one of: cpu" in str(said)
    assert [it["line"] for it in report["findings"]] == [18]


@pytest.mark.parametrize("follower", [OPTIMIZE_JOB, ADAPTER_BUNDLE])
def test_what_is_read_of_a_fine_tune_job_beside_it(
    platform: Path, follower: dict[str, Any]
) -> None:
    job = changed(named(FINE_TUNE_JOB, "tone", "team"), {"spec.dataset.uri": "s3://others/rows"})
    elsewhere = changed(job, {"metadata.namespace": "rich"})
    mine = named(follower, "after", "team")
    _, said = told(platform, manifests=[mine, job])
    # Of the follower and of the job itself.
    assert sorted(said) == ["spec.dataset.uri", "spec.dataset.uri of FineTuneJob tone"]
    assert told(platform, manifests=[mine, elsewhere])[1] == {}


def test_every_kind_says_what_it_reads() -> None:
    assert [it["kind"] for it in OF_KINDS] == list(KINDS)
    for manifest in OF_KINDS:
        spec = KINDS[manifest["kind"]].spec_model().read(manifest["spec"])
        assert isinstance(spec, RunSettings)
        of_run(spec, {})
    with pytest.raises(TypeError, match="RunSettings"):
        of_run(RunSettings.model_construct(), {})


def test_a_wrong_manifest_is_told_as_ever_and_not_asked_of_the_platform(platform: Path) -> None:
    wrong = changed(FINE_TUNE_JOB, {"spec.placement": {"pool": "gpus", "gpu": 1}})
    assert list(told(platform, manifests=[wrong])[1]) == ["spec.placement.gpu"]


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ("maxGpus", "max_gpus", 8, "pools[1].max_gpus", "unknown field → did you mean maxGpus?"),
        (
            "defaultPool: cpu",
            "defaultPool: a",
            1,
            "defaultPool",
            "no pool 'a'; there are: cpu, gpu",
        ),
        ("queue: team", "pool: b", 12, "namespaces.team.pool", "no pool 'b'"),
        ("queue: team", "pool: gpu", 12, "namespaces.team.pool", "may not use pool 'gpu'"),
        ("name: gpu", "name: cpu", 5, "pools[1].name", "cpu is named twice"),
        ("maxGpus: 1", "maxGpus: many", 8, "pools[1].maxGpus", "integer"),
        ("[rich]", "[Rich]", 7, "pools[1].namespaces[0]", "a-z, 0-9 and -"),
        ("s3://models/", "models/", 13, "namespaces.team.allowed.sources[0]", "s3://BUCKET/PATH"),
    ],
)
def test_luthier_yaml_itself(
    platform: Path, old: str, new: str, line: int, field: str, words: str
) -> None:
    assert told(platform)[1] == {}
    assert old in PLATFORM
    platform.write_text(PLATFORM.replace(old, new, 1))
    report, said = told(platform)
    assert words in said[field]
    assert [(it["file"], it["line"]) for it in report["findings"]] == [(str(platform), line)]


def test_all_that_points_nowhere_is_told_at_once(platform: Path) -> None:
    text = PLATFORM.replace("defaultPool: cpu", "defaultPool: a").replace("queue: t", "pool: t")
    platform.write_text(text)
    assert list(told(platform)[1]) == ["defaultPool", "namespaces.team.pool"]


def test_manifests_are_checked_beside_a_wrong_luthier_yaml(platform: Path) -> None:
    platform.write_text("pools: []\n")
    wrong = changed(FINE_TUNE_JOB, {"spec.tusk": 1})
    report, said = told(platform, manifests=[wrong])
    assert {"pools", "defaultPool", "spec.tusk"} <= said.keys()
    assert str(platform) not in report["checkedAgainst"]


def test_a_config_map_holds_it_too() -> None:
    # As `helm template` and `kubectl get configmap -o yaml` show it.
    inner = PLATFORM.replace("maxGpus", "max_gpus").replace("\n", "\n    ").rstrip()
    text = f"apiVersion: v1\nkind: ConfigMap\ndata:\n  luthier.yaml: |\n    {inner}\n"
    platform, [finding] = platformfile.read("-", text)
    assert platform is None
    assert (finding.line, finding.field) == (12, "pools[1].max_gpus")
    assert "max_gpus" in text.splitlines()[finding.line - 1]


@pytest.mark.parametrize(
    "text", ["", "[]", "a: 1\n---\nb: 2", "kind: ConfigMap\ndata: {a: b}", "pools: [", "a: &a [*a]"]
)
def test_what_is_no_luthier_yaml(text: str) -> None:
    platform, findings = platformfile.read("x", text)
    assert platform is None
    assert findings


def test_for_people(platform: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "job.yaml"
    manifest.write_text(yaml.safe_dump(changed(FINE_TUNE_JOB, {"spec.placement.pool": "gpu"})))
    done = luthier("validate", "--platform", str(platform), "--offline", str(manifest))
    assert (
        f"{manifest}:18: spec.placement.pool: namespace default may not use pool 'gpu' → name one "
        "of: cpu"
    ) in done.stdout.replace("\n", " ")
    assert f"{platform}: luthier.yaml is valid" in done.stdout


def test_nothing_to_check() -> None:
    done = luthier("validate")
    assert done.returncode == 2
    assert "--platform" in done.stderr
    missing = luthier("validate", "--platform", "/nowhere/luthier.yaml")
    assert (missing.returncode, "can't read" in missing.stderr) == (2, True)
